/* A recording that grows: its file has holes, and a part of it is filled before it is written to.
 */
#ifndef ZOLAL_TRACE_GROWTH_H
#define ZOLAL_TRACE_GROWTH_H

#include <stdbool.h>
#include <stdint.h>

#include "trace/recording.h"

/* May more of it be filled? Not where it has all its chunks, and not when that has failed once. */
bool growth_is_open(const struct recording *recording);

/* Fill one more chunk. Returns true and sets `*order`, whose chunk `*order` is; false: there will
 * be no more (header->filled_up says why), or the thread that is at it takes too long. */
bool growth_add_chunk(struct recording *recording, uint64_t *order);

/* Make the first `end` bytes of the names such as may be written to; false: they cannot be. */
bool growth_names_to(struct recording *recording, uint32_t end);

/* Fill `len` bytes at `at` of the mapping, whoever pays. Returns 0 or -errno: ENOSPC where the disk
 * has no more, EINVAL where the kernel does not know how (before Linux 5.14). */
int growth_fill(struct recording *recording, size_t at, size_t len);

#endif
