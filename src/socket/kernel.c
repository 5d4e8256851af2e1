#include "socket/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "trace/recorder.h"

#define LENGTHS_RECORDED 6
#define POLLED_RECORDED  5

int kernel_socket(int family, int type, int protocol)
{
    uint64_t t0 = trace_start();
    int fd = socket(family, type, protocol);
    int result = fd < 0 ? -errno : fd;
    int32_t args[3] = {family, type, protocol};
    trace_call_args(TRACE_SOCKET, -1, 0, result, t0, args, sizeof(args));
    return result;
}

int kernel_socketpair(int family, int type, int protocol, int fds[2])
{
    uint64_t t0 = trace_start();
    int result = socketpair(family, type, protocol, fds) < 0 ? -errno : 0;
    int32_t args[5] = {family, type, protocol, -1, -1};
    if (result == 0)
        memcpy(&args[3], fds, 2 * sizeof(int32_t));
    trace_call_args(TRACE_SOCKETPAIR, -1, 0, result, t0, args, sizeof(args));
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

ssize_t kernel_recvfrom(int fd, void *data, size_t len, int flags, struct sockaddr *addr,
                        socklen_t *addr_len)
{
    uint64_t t0 = trace_start();
    ssize_t n = recvfrom(fd, data, len, flags, addr, addr_len);
    ssize_t result = n < 0 ? -errno : n;
    trace_call_args(TRACE_RECVFROM, fd, len, result, t0, addr, peer_len(result, addr, addr_len));
    return result;
}

ssize_t kernel_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *addr,
                      socklen_t addr_len)
{
    uint64_t t0 = trace_start();
    ssize_t n = sendto(fd, data, len, flags, addr, addr_len);
    ssize_t result = n < 0 ? -errno : n;
    trace_call_args(TRACE_SENDTO, fd, len, result, t0, addr, addr_len);
    return result;
}

/* Record a call on a message with the lengths of its first parts. */
static void trace_message(enum trace_operation op, int fd, const struct msghdr *message,
                          int64_t result, uint64_t t0)
{
    uint64_t lengths[LENGTHS_RECORDED];
    size_t count = message->msg_iovlen;
    size_t recorded = count < LENGTHS_RECORDED ? count : LENGTHS_RECORDED;
    if (!recorder_here)
        return;
    for (size_t i = 0; i < recorded; i++)
        lengths[i] = message->msg_iov[i].iov_len;
    trace_call_args(op, fd, count, result, t0, lengths, recorded * sizeof(uint64_t));
}

ssize_t kernel_sendmsg_message(int fd, const struct msghdr *message, int flags)
{
    uint64_t t0 = trace_start();
    ssize_t n = sendmsg(fd, message, flags);
    ssize_t result = n < 0 ? -errno : n;
    trace_message(TRACE_SENDMSG, fd, message, result, t0);
    return result;
}

ssize_t kernel_sendmsg(int fd, const struct iovec *parts, size_t count, int flags)
{
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = count};
    return kernel_sendmsg_message(fd, &message, flags);
}

ssize_t kernel_recvmsg(int fd, struct msghdr *message, int flags)
{
    uint64_t t0 = trace_start();
    ssize_t n = recvmsg(fd, message, flags);
    ssize_t result = n < 0 ? -errno : n;
    trace_message(TRACE_RECVMSG, fd, message, result, t0);
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

int kernel_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    uint64_t t0 = trace_start();
    int result = getpeername(fd, addr, len) < 0 ? -errno : 0;
    trace_call_args(TRACE_GETPEERNAME, fd, 0, result, t0, addr, peer_len(result, addr, len));
    return result;
}

/* The timeout and the first descriptors, as trace/event.h lays them out. */
static void trace_poll(const struct pollfd *fds, size_t count, int timeout_ms, int64_t result,
                       uint64_t t0)
{
    char args[sizeof(int32_t) + POLLED_RECORDED * sizeof(struct pollfd)];
    size_t recorded = count < POLLED_RECORDED ? count : POLLED_RECORDED;
    int32_t timeout = timeout_ms;
    if (!recorder_here)
        return;
    memcpy(args, &timeout, sizeof(timeout));
    if (recorded > 0)
        memcpy(args + sizeof(timeout), fds, recorded * sizeof(*fds));
    trace_call_args(TRACE_POLL, count == 1 ? fds->fd : -1, count, result, t0, args,
                    sizeof(timeout) + recorded * sizeof(*fds));
}

int kernel_poll(struct pollfd *fds, size_t count, int timeout_ms)
{
    uint64_t t0 = trace_start();
    int ready = poll(fds, count, timeout_ms);
    int result = ready < 0 ? -errno : ready;
    trace_poll(fds, count, timeout_ms, result, t0);
    return result;
}

int kernel_fcntl(int fd, int command, int value)
{
    int32_t argument = value;
    uint64_t t0 = trace_start();
    int done = fcntl(fd, command, value);
    int result = done < 0 ? -errno : done;
    trace_call_args(TRACE_FCNTL, fd, (uint64_t)command, result, t0, &argument, sizeof(argument));
    return result;
}

int kernel_set_nonblocking(int fd, int on)
{
    int32_t value = on != 0;
    uint64_t t0 = trace_start();
    int result = ioctl(fd, FIONBIO, &value) < 0 ? -errno : 0;
    trace_call_args(TRACE_IOCTL, fd, FIONBIO, result, t0, &value, sizeof(value));
    return result;
}
