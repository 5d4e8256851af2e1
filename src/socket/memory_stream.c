#include "socket/stream.h"

#include <errno.h>
#include <stdint.h>

/* The error that a test has asked for, once. */
static int memory_fail(struct memory_stream *memory)
{
    int code = memory->fail;
    memory->fail = 0;
    return -code;
}

static ssize_t memory_recv(struct stream *stream, void *data, size_t len)
{
    struct memory_stream *memory = (struct memory_stream *)stream;
    size_t here = buffer_len(&memory->in);
    if (memory->fail)
        return memory_fail(memory);
    if (here == 0)
        return memory->in_ended ? 0 : -EAGAIN;
    if (memory->recv_limit > 0 && len > memory->recv_limit)
        len = memory->recv_limit;
    len = len < here ? len : here;
    memcpy(data, buffer_slice(&memory->in).data, len);
    buffer_consume(&memory->in, len);
    return (ssize_t)len;
}

static ssize_t memory_send(struct stream *stream, const struct iovec *parts, size_t count,
                           bool more)
{
    struct memory_stream *memory = (struct memory_stream *)stream;
    size_t sent = 0;
    (void)more;
    if (memory->fail)
        return memory_fail(memory);
    if (memory->out_ended)
        return -EPIPE;
    for (size_t i = 0; i < count; i++) {
        size_t len = parts[i].iov_len < memory->send_limit ? parts[i].iov_len : memory->send_limit;
        int result = buffer_append(&memory->out, slice_of(parts[i].iov_base, len));
        if (result < 0)
            return sent > 0 ? (ssize_t)sent : result;
        memory->send_limit -= len;
        sent += len;
        if (len < parts[i].iov_len)
            break;
    }
    return sent > 0 ? (ssize_t)sent : -EAGAIN;
}

static ssize_t memory_sendfile(struct stream *stream, int in_fd, off_t *offset, size_t len)
{
    (void)stream;
    (void)in_fd;
    (void)offset;
    (void)len;
    return -EOPNOTSUPP;
}

static int memory_shutdown(struct stream *stream)
{
    struct memory_stream *memory = (struct memory_stream *)stream;
    if (memory->fail)
        return memory_fail(memory);
    memory->out_ended = true;
    return 0;
}

static void memory_close(struct stream *stream)
{
    ((struct memory_stream *)stream)->closed = true;
}

static void memory_reset(struct stream *stream)
{
    ((struct memory_stream *)stream)->was_reset = true;
    memory_close(stream);
}

static const struct stream_operations memory_operations = {
    .recv = memory_recv,
    .send = memory_send,
    .sendfile = memory_sendfile,
    .shutdown = memory_shutdown,
    .close = memory_close,
    .reset = memory_reset,
};

void memory_stream_init(struct memory_stream *memory, size_t max)
{
    *memory = (struct memory_stream){.stream = {&memory_operations, -1}, .send_limit = SIZE_MAX};
    buffer_init(&memory->in, max);
    buffer_init(&memory->out, max);
}

void memory_stream_release(struct memory_stream *memory)
{
    buffer_release(&memory->in);
    buffer_release(&memory->out);
}
