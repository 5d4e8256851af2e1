/* The walk itself, for both memories. */
#ifndef ZOLAL_FRAMES_WALK_H
#define ZOLAL_FRAMES_WALK_H

#include "frames/frames.h"

/* The frames of the thread whose PyThreadState is at `thread`, not 0, in another's memory. */
enum frames_end walk_remote(const struct frames *frames, uint64_t thread, struct frames_key *keys,
                            size_t max, size_t *count);

#endif
