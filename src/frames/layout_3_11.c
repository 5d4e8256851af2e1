#include "frames/layout.h"

const struct frames_layout frames_layout_3_11 = {
    .version = 0x030B,
    .runtime = {.finalizing = 24, .interpreters_head = 40, .interpreters_main = 48},
    .interpreter = {.threads_head = 16},
    .thread = {.next = 8, .frame = 56, .thread_id = 152, .native_thread_id = 160},
    .cframe_current = 8,
    .frame = {.code = 32, .previous = 48, .instruction = 56, .owner = 69, .size = 120},
    .code = {.flags = 48,
             .first_line = 72,
             .file = 112,
             .name = 128,
             .linetable = 136,
             .first_traceable = 168,
             .instructions = 184,
             .size = 184},
    .text = {.state = 32, .kind_shift = 2, .ascii_size = 48, .compact_size = 72},
};
