#include "frames/layout.h"

const struct frames_layout frames_layout_3_12 = {
    .version = 0x030C,
    .runtime = {.finalizing = 24, .interpreters_head = 40, .interpreters_main = 48},
    .interpreter = {.threads_head = 72},
    .thread = {.next = 8, .frame = 56, .thread_id = 136, .native_thread_id = 144},
    .frame = {.code = 0, .previous = 8, .instruction = 56, .owner = 70, .size = 120},
    .code = {.flags = 48,
             .first_line = 68,
             .file = 112,
             .name = 128,
             .linetable = 136,
             .version = 92,
             .first_traceable = 176,
             .instructions = 192,
             .size = 192},
    .text = {.state = 32, .kind_shift = 2, .ascii_size = 40, .compact_size = 56},
};
