#include "frames/layout.h"

const struct frames_layout frames_layout_3_10 = {
    .version = 0x030A,
    .runtime = {.finalizing = 16, .interpreters_head = 32, .interpreters_main = 40},
    .interpreter = {.threads_head = 8},
    .thread = {.next = 8, .frame = 24, .thread_id = 176},
    .frame = {.code = 32, .previous = 24, .instruction = 96, .size = 360},
    .code = {.flags = 36,
             .first_line = 40,
             .file = 104,
             .name = 112,
             .linetable = 120,
             .instructions = 48,
             .size = 176},
    .text = {.state = 32, .kind_shift = 2, .ascii_size = 48, .compact_size = 72},
};
