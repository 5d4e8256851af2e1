#include "frames/layout.h"

const struct frames_layout frames_layout_3_13 = {
    .version = 0x030D,
    .runtime = {.finalizing = 608, .interpreters_head = 632, .interpreters_main = 640},
    .interpreter = {.threads_head = 7344},
    .thread = {.next = 8, .frame = 72, .thread_id = 152, .native_thread_id = 160},
    .frame = {.code = 0, .previous = 8, .instruction = 56, .owner = 70, .size = 136},
    .code = {.flags = 48,
             .first_line = 68,
             .file = 112,
             .name = 128,
             .linetable = 136,
             .version = 92,
             .first_traceable = 184,
             .instructions = 200,
             .size = 200},
    .text = {.state = 32, .kind_shift = 2, .ascii_size = 40, .compact_size = 56},
};
