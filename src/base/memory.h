/* The only home of malloc(3) and its family in the core: a lint and a test hold that line. */
#ifndef ZOLAL_BASE_MEMORY_H
#define ZOLAL_BASE_MEMORY_H

#include <stddef.h>

/* `size` bytes set to zero, owned by the caller, or NULL. `size` must not be 0. */
void *memory_new(size_t size) __attribute__((malloc, warn_unused_result));

/* `count` * `size` bytes, not set, owned by the caller; NULL also when the product overflows. */
void *memory_new_array(size_t count, size_t size) __attribute__((malloc, warn_unused_result));

/* `old` (may be NULL) made `count` * `size` bytes large, its bytes kept. NULL: `old` is unchanged.
 */
void *memory_resize_array(void *old, size_t count, size_t size) __attribute__((warn_unused_result));

/* Give back what the functions above returned. NULL is allowed. */
void memory_free(void *memory);

#endif
