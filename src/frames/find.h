/* What both ways to find an interpreter have in common: it is held against what is known of it. */
#ifndef ZOLAL_FRAMES_FIND_H
#define ZOLAL_FRAMES_FIND_H

#include "frames/frames.h"

/* What symbols of an interpreter were found; an address of 0: that one was not. */
struct find_symbols {
    uint64_t version;    /* what Py_Version holds, 0x030B02F0: 3.11.2; 0: before 3.10 */
    uint64_t runtime;    /* _PyRuntime */
    uint64_t code_type;  /* PyCode_Type */
    uint64_t frame_type; /* PyFrame_Type */
};

/* Fill `frames`, whose `read` and `pid` are set, for the interpreter with these symbols. Returns 0,
 * or -ENOSYS with the version in place. */
int find_layout(struct frames *frames, const struct find_symbols *symbols);

#endif
