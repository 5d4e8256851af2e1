/* The two ways in which an interpreter tells of its calls; for python_calls.c. */
#ifndef ZOLAL_PRELOAD_PYTHON_HOOKS_H
#define ZOLAL_PRELOAD_PYTHON_HOOKS_H

#include <stdbool.h>

#include "frames/frames.h"

/* All are called with the GIL held. False: it cannot be had. */
bool python_profile_begin(const struct frames *frames);
bool python_monitoring_begin(const struct frames *frames);

/* Has the calling thread our profile function? Needs no GIL. */
enum python_profile {
    PYTHON_PROFILE_OURS,
    PYTHON_PROFILE_NONE,
    PYTHON_PROFILE_THEIRS, /* one that the program has set */
};
enum python_profile python_profile_here(void);

#endif
