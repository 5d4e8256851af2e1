#include "socket/kernel.h"

#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "trace/recorder.h"

#define SENDMSG_LENGTHS_RECORDED 6

int kernel_socket(int family, int type, int protocol)
{
    uint64_t t0 = trace_start();
    int fd = socket(family, type, protocol);
    int result = fd < 0 ? -errno : fd;
    int32_t args[3] = {family, type, protocol};
    trace_call_args(TRACE_SOCKET, -1, 0, result, t0, args, sizeof(args));
    return result;
}

int kernel_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    uint64_t t0 = trace_start();
    int result = bind(fd, addr, len) < 0 ? -errno : 0;
    trace_call_args(TRACE_BIND, fd, len, result, t0, addr, len);
    return result;
}

int kernel_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    uint64_t t0 = trace_start();
    int result = connect(fd, addr, len) < 0 ? -errno : 0;
    trace_call_args(TRACE_CONNECT, fd, len, result, t0, addr, len);
    return result;
}

int kernel_listen(int fd, int backlog)
{
    uint64_t t0 = trace_start();
    int result = listen(fd, backlog) < 0 ? -errno : 0;
    trace_call(TRACE_LISTEN, fd, (uint64_t)(int64_t)backlog, result, t0);
    return result;
}

/* What the kernel wrote of a peer's address: nothing on failure. */
static size_t peer_len(int result, const struct sockaddr *addr, const socklen_t *len)
{
    return result >= 0 && addr && len ? *len : 0;
}

int kernel_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    uint64_t t0 = trace_start();
    int accepted = accept(fd, addr, len);
    int result = accepted < 0 ? -errno : accepted;
    trace_call_args(TRACE_ACCEPT, fd, 0, result, t0, addr, peer_len(result, addr, len));
    return result;
}

int kernel_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    uint64_t t0 = trace_start();
    int accepted = accept4(fd, addr, len, flags);
    int result = accepted < 0 ? -errno : accepted;
    trace_call_args(TRACE_ACCEPT4, fd, (uint64_t)flags, result, t0, addr,
                    peer_len(result, addr, len));
    return result;
}

ssize_t kernel_read(int fd, void *data, size_t len)
{
    uint64_t t0 = trace_start();
    ssize_t n = read(fd, data, len);
    ssize_t result = n < 0 ? -errno : n;
    trace_call(TRACE_READ, fd, len, result, t0);
    return result;
}

ssize_t kernel_write(int fd, const void *data, size_t len)
{
    uint64_t t0 = trace_start();
    ssize_t n = write(fd, data, len);
    ssize_t result = n < 0 ? -errno : n;
    trace_call(TRACE_WRITE, fd, len, result, t0);
    return result;
}

int kernel_close(int fd)
{
    uint64_t t0 = trace_start();
    int result = close(fd) < 0 ? -errno : 0;
    trace_call(TRACE_CLOSE, fd, 0, result, t0);
    return result == -EINTR ? 0 : result;
}

ssize_t kernel_recv(int fd, void *data, size_t len, int flags)
{
    uint64_t t0 = trace_start();
    ssize_t n = recv(fd, data, len, flags);
    ssize_t result = n < 0 ? -errno : n;
    trace_call(TRACE_RECVFROM, fd, len, result, t0);
    return result;
}

ssize_t kernel_send(int fd, const void *data, size_t len, int flags)
{
    uint64_t t0 = trace_start();
    ssize_t n = send(fd, data, len, flags);
    ssize_t result = n < 0 ? -errno : n;
    trace_call(TRACE_SENDTO, fd, len, result, t0);
    return result;
}

ssize_t kernel_sendmsg(int fd, const struct iovec *parts, size_t count, int flags)
{
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = count};
    uint64_t t0 = trace_start();
    ssize_t n = sendmsg(fd, &message, flags);
    ssize_t result = n < 0 ? -errno : n;
    if (!recorder_here)
        return result;
    uint64_t lengths[SENDMSG_LENGTHS_RECORDED];
    size_t recorded = count < SENDMSG_LENGTHS_RECORDED ? count : SENDMSG_LENGTHS_RECORDED;
    for (size_t i = 0; i < recorded; i++)
        lengths[i] = parts[i].iov_len;
    trace_call_args(TRACE_SENDMSG, fd, count, result, t0, lengths, recorded * sizeof(uint64_t));
    return result;
}

ssize_t kernel_sendfile(int fd, int in_fd, off_t *offset, size_t count)
{
    struct {
        uint64_t count, offset;
        int32_t in_fd;
    } args = {count, (uint64_t)*offset, in_fd};
    uint64_t t0 = trace_start();
    ssize_t n = sendfile(fd, in_fd, offset, count);
    ssize_t result = n < 0 ? -errno : n;
    trace_call_args(TRACE_SENDFILE, fd, count, result, t0, &args, 20);
    return result;
}

int kernel_shutdown(int fd, int how)
{
    uint64_t t0 = trace_start();
    int result = shutdown(fd, how) < 0 ? -errno : 0;
    trace_call(TRACE_SHUTDOWN, fd, (uint64_t)how, result, t0);
    return result;
}

/* level, option and, where it is an int, the value. */
static size_t option_args(int32_t args[3], int level, int option, const void *value, socklen_t len)
{
    args[0] = level;
    args[1] = option;
    if (!value || len < (socklen_t)sizeof(int32_t))
        return 2 * sizeof(int32_t);
    memcpy(&args[2], value, sizeof(int32_t));
    return 3 * sizeof(int32_t);
}

int kernel_getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    int32_t args[3];
    uint64_t t0 = trace_start();
    int result = getsockopt(fd, level, option, value, len) < 0 ? -errno : 0;
    size_t args_len = option_args(args, level, option, result < 0 ? NULL : value, *len);
    trace_call_args(TRACE_GETSOCKOPT, fd, *len, result, t0, args, args_len);
    return result;
}

int kernel_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    int32_t args[3];
    uint64_t t0 = trace_start();
    int result = setsockopt(fd, level, option, value, len) < 0 ? -errno : 0;
    size_t args_len = option_args(args, level, option, value, len);
    trace_call_args(TRACE_SETSOCKOPT, fd, len, result, t0, args, args_len);
    return result;
}

int kernel_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    uint64_t t0 = trace_start();
    int result = getsockname(fd, addr, len) < 0 ? -errno : 0;
    trace_call_args(TRACE_GETSOCKNAME, fd, 0, result, t0, addr, peer_len(result, addr, len));
    return result;
}
