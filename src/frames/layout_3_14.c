#include "frames/layout.h"

const struct frames_layout frames_layout_3_14 = {
    .version = 0x030E,
    .runtime = {.finalizing = 784, .interpreters_head = 808, .interpreters_main = 816},
    .interpreter = {.threads_head = 7344},
    .thread = {.next = 8, .frame = 72, .thread_id = 152, .native_thread_id = 160},
    .frame = {.code = 0, .previous = 8, .instruction = 56, .owner = 74, .size = 152},
    .code = {.flags = 48,
             .first_line = 68,
             .file = 112,
             .name = 128,
             .linetable = 136,
             .version = 92,
             .first_traceable = 192,
             .instructions = 208,
             .size = 208},
    .text = {.state = 32, .kind_shift = 2, .ascii_size = 40, .compact_size = 56},
};
