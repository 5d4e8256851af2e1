#include "base/buffer.h"

#include <assert.h>
#include <errno.h>

#include "base/memory.h"

#define BUFFER_FIRST 256 /* bytes allocated at first, where `max` allows */

void buffer_init(struct buffer *buffer, size_t max)
{
    *buffer = (struct buffer){.max = max};
}

void buffer_release(struct buffer *buffer)
{
    memory_free(buffer->data);
    buffer_init(buffer, buffer->max);
}

/* The capacity to grow to: doubled until `need` fits, at most `max`. */
static size_t buffer_grown(const struct buffer *buffer, size_t need)
{
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : BUFFER_FIRST;
    while (capacity < need && capacity <= buffer->max / 2)
        capacity *= 2;
    if (capacity < need || capacity > buffer->max)
        capacity = buffer->max;
    return capacity;
}

int buffer_reserve(struct buffer *buffer, size_t len)
{
    size_t used = buffer_len(buffer);
    if (len > buffer->max || used > buffer->max - len)
        return -ENOBUFS;
    if (len <= buffer->capacity - buffer->end)
        return 0;
    if (used + len > buffer->capacity) {
        char *data = memory_resize_array(buffer->data, buffer_grown(buffer, used + len), 1);
        if (!data)
            return -ENOMEM;
        buffer->data = data;
        buffer->capacity = buffer_grown(buffer, used + len);
    }
    if (buffer->start > 0)
        memmove(buffer->data, buffer->data + buffer->start, used);
    buffer->start = 0;
    buffer->end = used;
    return 0;
}

int buffer_append(struct buffer *buffer, struct slice bytes)
{
    int result = buffer_reserve(buffer, bytes.len);
    if (result < 0 || bytes.len == 0)
        return result;
    memcpy(buffer->data + buffer->end, bytes.data, bytes.len);
    buffer->end += bytes.len;
    return 0;
}

void buffer_consume(struct buffer *buffer, size_t len)
{
    assert(len <= buffer_len(buffer));
    buffer->start += len;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}
