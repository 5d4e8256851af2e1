#include "socket/stream.h"

#include "socket/kernel.h"

static ssize_t socket_recv(struct stream *stream, void *data, size_t len)
{
    return kernel_recv(stream->fd, data, len, 0);
}

static ssize_t socket_send(struct stream *stream, const struct iovec *parts, size_t count,
                           bool more)
{
    int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    if (count == 1)
        return kernel_send(stream->fd, parts->iov_base, parts->iov_len, flags);
    return kernel_sendmsg(stream->fd, parts, count, flags);
}

static ssize_t socket_sendfile(struct stream *stream, int in_fd, off_t *offset, size_t len)
{
    return kernel_sendfile(stream->fd, in_fd, offset, len);
}

static int socket_shutdown(struct stream *stream)
{
    return kernel_shutdown(stream->fd, SHUT_WR);
}

static void socket_close(struct stream *stream)
{
    kernel_close(stream->fd);
    stream->fd = -1;
}

/* SO_LINGER with no time: close(2) resets, socket(7). */
static void socket_reset(struct stream *stream)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    kernel_setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    socket_close(stream);
}

static const struct stream_operations socket_operations = {
    .recv = socket_recv,
    .send = socket_send,
    .sendfile = socket_sendfile,
    .shutdown = socket_shutdown,
    .close = socket_close,
    .reset = socket_reset,
};

void stream_init_socket(struct stream *stream, int fd)
{
    stream->operations = &socket_operations;
    stream->fd = fd;
}
