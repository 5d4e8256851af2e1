/* A recording that grows: its file has holes, and a part of it is filled before it is written to.
 * Async-signal-safe; no lock: two threads may fill one part, and do it once. */
#ifndef ZOLAL_TRACE_GROWTH_H
#define ZOLAL_TRACE_GROWTH_H

#include <stdbool.h>
#include <stdint.h>

#include "trace/recording.h"

/* Make chunk `number` one that may be written to. False: it is a hole, and the recording grows no
 * more (header->filled_up says why). */
bool growth_has_chunk(struct recording *recording, uint32_t number);

/* The same of the first `end` bytes of the names. */
bool growth_has_names(struct recording *recording, uint32_t end);

/* Fill `len` bytes of the mapping at `memory`, whoever pays. Returns 0 or -errno: ENOSPC where the
 * disk has no more, EINVAL where the kernel does not know how (before Linux 5.14). */
int growth_fill(void *memory, size_t len);

/* How many bytes segment `number` is mapped with: its chunks, and a page of the next if there is
 * one.
 */
size_t growth_segment_size(const struct recording *recording, size_t front, uint32_t number);

#endif
