/* What an interpreter says of its own structs, from 3.13 on: _Py_DebugOffsets, with which
 * _PyRuntime begins (Include/internal/pycore_debug_offsets.h, in 3.13 pycore_runtime.h). */
#ifndef ZOLAL_FRAMES_PUBLISHED_H
#define ZOLAL_FRAMES_PUBLISHED_H

#include "frames/frames.h"

/* Hold `frames->layout` against what is published, and take over from it what may differ between
 * builds of one version. `version`: Py_Version. Returns 0; -ENOSYS: it is not the same layout, or a
 * build without a GIL; -errno of a read. */
int published_apply(struct frames *frames, uint64_t version);

#endif
