/* A buffer: owned bytes with a declared maximum, written at its end and consumed from its front. */
#ifndef ZOLAL_BASE_BUFFER_H
#define ZOLAL_BASE_BUFFER_H

#include <stddef.h>

#include "base/slice.h"

/* Unread bytes are data[start .. end); `capacity` bytes are allocated and never more than `max`.
 * `data` is NULL until something is reserved. */
struct buffer {
    char *data;
    size_t start;
    size_t end;
    size_t capacity;
    size_t max;
};

/* An empty buffer of at most `max` bytes. Allocates nothing. */
void buffer_init(struct buffer *buffer, size_t max);

/* Free the bytes; the buffer is as after buffer_init. */
void buffer_release(struct buffer *buffer);

/* Make room for `len` more bytes behind `end` (moving unread bytes to the front, then growing by
 * doubling). Returns 0, -ENOBUFS when `max` would be passed, -ENOMEM. On failure nothing changed.
 */
int buffer_reserve(struct buffer *buffer, size_t len);

/* Copy `bytes` to the end. Returns as buffer_reserve. `bytes` must not point into the buffer. */
int buffer_append(struct buffer *buffer, struct slice bytes);

/* Forget the first `len` unread bytes; `len` <= buffer_len. */
void buffer_consume(struct buffer *buffer, size_t len);

static inline size_t buffer_len(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

/* The unread bytes; valid until the next reserve, append or release. */
static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return (struct slice){buffer->data + buffer->start, buffer->end - buffer->start};
}

#endif
