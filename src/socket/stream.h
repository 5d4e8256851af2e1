/* A stream: bytes to and from a peer, behind one small table, so that a plain socket, memory
 * (tests, fuzzing) and, later, TLS are one thing to the layers above. No function blocks. */
#ifndef ZOLAL_SOCKET_STREAM_H
#define ZOLAL_SOCKET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/buffer.h"

struct stream;

/* Each returns >= 0 or -errno; -EAGAIN: nothing now, the loop will say when. */
struct stream_operations {
    /* Read at most `len` bytes. 0: the peer has ended its side. */
    ssize_t (*recv)(struct stream *stream, void *data, size_t len);
    /* Write parts; returns the bytes taken, maybe fewer. Never raises SIGPIPE. `more`: a send, a
     * sendfile or the end follows at once when all is taken, so the last of it need not leave
     * before that (MSG_MORE, send(2)). */
    ssize_t (*send)(struct stream *stream, const struct iovec *parts, size_t count, bool more);
    /* Write bytes of a file, `*offset` moves. 0: the file ended. -EOPNOTSUPP or -EINVAL: this
     * stream or file cannot; read it and send. */
    ssize_t (*sendfile)(struct stream *stream, int in_fd, off_t *offset, size_t len);
    /* End our side: the peer reads an end of file after what was sent. */
    int (*shutdown)(struct stream *stream);
    /* Close; the stream must not be used any more. */
    void (*close)(struct stream *stream);
    /* Close such that the peer sees a reset: what it got is not whole. */
    void (*reset)(struct stream *stream);
};

/* `fd` is -1 for a stream that is no descriptor. */
struct stream {
    const struct stream_operations *operations;
    int fd;
};

/* A connected, non-blocking socket; the stream owns `fd` from now on. */
void stream_init_socket(struct stream *stream, int fd);

static inline ssize_t stream_recv(struct stream *stream, void *data, size_t len)
{
    return stream->operations->recv(stream, data, len);
}

static inline ssize_t stream_send(struct stream *stream, const struct iovec *parts, size_t count,
                                  bool more)
{
    return stream->operations->send(stream, parts, count, more);
}

static inline ssize_t stream_sendfile(struct stream *stream, int in_fd, off_t *offset, size_t len)
{
    return stream->operations->sendfile(stream, in_fd, offset, len);
}

static inline int stream_shutdown(struct stream *stream)
{
    return stream->operations->shutdown(stream);
}

static inline void stream_close(struct stream *stream)
{
    stream->operations->close(stream);
}

static inline void stream_reset(struct stream *stream)
{
    stream->operations->reset(stream);
}

/* A stream in memory: what the peer sent is appended to `in`, what we send is found in `out`. A
 * recv of an empty `in` is -EAGAIN, or 0 once `in_ended`; `send_limit` bytes are taken by sends in
 * all, then -EAGAIN; `fail` (an errno) makes the next call fail. Allocations are made by buffer.h.
 */
struct memory_stream {
    struct stream stream;
    struct buffer in;
    struct buffer out;
    size_t recv_limit; /* most bytes one recv returns; 0: no limit */
    size_t send_limit;
    bool in_ended;
    bool out_ended;
    bool closed;
    bool was_reset;
    int fail;
};

/* An open memory stream whose buffers hold at most `max` bytes each; memory_stream_release frees.
 */
void memory_stream_init(struct memory_stream *memory, size_t max);
void memory_stream_release(struct memory_stream *memory);

#endif
