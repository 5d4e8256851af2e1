/* Bytes of the interpreter's memory, read from the first to the last; of another's memory some at a
 * time. */
#ifndef ZOLAL_FRAMES_STREAM_H
#define ZOLAL_FRAMES_STREAM_H

#include "frames/memory.h"

struct frames_stream {
    const struct frames *frames;
    uint64_t address; /* of the first that has not been copied */
    uint64_t left;    /* bytes, after those copied */
    size_t at, len;   /* in `bytes`: the next, and how many there are */
    unsigned char bytes[512];
};

static inline void stream_begin(struct frames_stream *stream, const struct frames *frames,
                                uint64_t address, uint64_t len)
{
    stream->frames = frames;
    stream->address = address;
    stream->left = len;
    stream->at = stream->len = 0;
}

/* The next byte, or -1: there is none, or it cannot be read. It is only looked at: stream->at++
 * takes it. */
static inline int stream_peek(struct frames_stream *stream)
{
    if (stream->at < stream->len)
        return stream->bytes[stream->at];
    size_t len = stream->left < sizeof(stream->bytes) ? stream->left : sizeof(stream->bytes);
    stream->at = stream->len = 0;
    if (len == 0 || memory_copy(stream->frames, stream->address, stream->bytes, len) < 0)
        return -1;
    stream->address += len;
    stream->left -= len;
    stream->len = len;
    return stream->bytes[0];
}

/* The same, and takes it. */
static inline int stream_next(struct frames_stream *stream)
{
    int byte = stream_peek(stream);
    stream->at += byte >= 0;
    return byte;
}

#endif
