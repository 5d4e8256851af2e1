#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "socket/kernel.h"
#include "trace/reader.h"
#include "trace/recorder.h"

/* The errno that the next call of any kind fails with; 0: it is made. Armed only around a call
 * under test. */
static int code_to_fail;

static int fails(void)
{
    errno = code_to_fail;
    return code_to_fail;
}

#define WRAP(type, name, parameters, arguments)        \
    type __real_##name parameters;                     \
    type __wrap_##name parameters;                     \
    type __wrap_##name parameters                      \
    {                                                  \
        return fails() ? -1 : __real_##name arguments; \
    }

WRAP(int, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(int, bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
WRAP(int, connect, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
WRAP(int, listen, (int fd, int backlog), (fd, backlog))
WRAP(int, accept, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
WRAP(int, accept4, (int fd, struct sockaddr *addr, socklen_t *len, int flags),
     (fd, addr, len, flags))
WRAP(ssize_t, recv, (int fd, void *data, size_t len, int flags), (fd, data, len, flags))
WRAP(ssize_t, send, (int fd, const void *data, size_t len, int flags), (fd, data, len, flags))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
WRAP(ssize_t, sendfile64, (int fd, int in_fd, off_t *offset, size_t count),
     (fd, in_fd, offset, count))
WRAP(int, shutdown, (int fd, int how), (fd, how))
WRAP(int, getsockopt, (int fd, int level, int option, void *value, socklen_t *len),
     (fd, level, option, value, len))
WRAP(int, setsockopt, (int fd, int level, int option, const void *value, socklen_t len),
     (fd, level, option, value, len))
WRAP(int, getsockname, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
WRAP(int, getpeername, (int fd, struct sockaddr *addr, socklen_t *len), (fd, addr, len))
WRAP(int, socketpair, (int family, int type, int protocol, int fds[2]),
     (family, type, protocol, fds))
WRAP(ssize_t, recvfrom,
     (int fd, void *data, size_t len, int flags, struct sockaddr *addr, socklen_t *addr_len),
     (fd, data, len, flags, addr, addr_len))
WRAP(ssize_t, sendto,
     (int fd, const void *data, size_t len, int flags, const struct sockaddr *addr,
      socklen_t addr_len),
     (fd, data, len, flags, addr, addr_len))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
WRAP(int, poll, (struct pollfd * fds, nfds_t count, int timeout_ms), (fds, count, timeout_ms))

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_fcntl64(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    int value = va_arg(args, int);
    va_end(args);
    return fails() ? -1 : __real_fcntl64(fd, command, value);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *value = va_arg(args, void *);
    va_end(args);
    return fails() ? -1 : __real_ioctl(fd, request, value);
}

static struct recording *recording;
static struct reader *reader;
static char folder[] = "/tmp/zolal-kernel-XXXXXX";

static int begin(void **state)
{
    (void)state;
    code_to_fail = 0;
    if (recording_create(&recording, 0, NULL) < 0 || recorder_attach(recording) < 0)
        return -1;
    return reader_open(&reader, recording_path(recording), 0, NULL);
}

static int end(void **state)
{
    (void)state;
    recorder_detach();
    reader_close(reader);
    recording_close(recording, true);
    return 0;
}

static int make_folder(void **state)
{
    (void)state;
    return !mkdtemp(folder) || setenv("XDG_RUNTIME_DIR", folder, 1);
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* The next recorded call, which must be this one with this result. */
static struct reader_event recorded(enum trace_operation op, int fd, int64_t result)
{
    struct reader_event event;
    assert_int_equal(reader_next(reader, &event), 1);
    assert_int_equal(event.event.kind, TRACE_CALL);
    assert_int_equal(event.event.op, op);
    assert_int_equal(event.event.fd, fd);
    assert_int_equal(event.event.result, result);
    return event;
}

static struct sockaddr_in loopback(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

/* The eleven operations and what a server needs besides, over a real connection, each recorded. */
static void test_the_life_of_a_connection(void **state)
{
    struct sockaddr_in addr = loopback(), peer = {0};
    socklen_t len = sizeof(addr);
    char data[16];
    int value = 1, got = 0;
    (void)state;

    int listener = kernel_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(listener >= 0);
    struct reader_event event = recorded(TRACE_SOCKET, -1, listener);
    int32_t args[3];
    memcpy(args, event.args, sizeof(args));
    assert_int_equal(args[0], AF_INET);

    assert_int_equal(kernel_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &value, sizeof(int)), 0);
    event = recorded(TRACE_SETSOCKOPT, listener, 0);
    memcpy(args, event.args, sizeof(args));
    assert_int_equal(args[0], SOL_SOCKET);
    assert_int_equal(args[1], SO_REUSEADDR);
    assert_int_equal(args[2], 1);

    len = sizeof(got);
    assert_int_equal(kernel_getsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &got, &len), 0);
    assert_int_equal(got, 1);
    recorded(TRACE_GETSOCKOPT, listener, 0);

    assert_int_equal(kernel_bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    event = recorded(TRACE_BIND, listener, 0);
    assert_memory_equal(event.args, &addr, sizeof(addr));
    len = sizeof(addr);
    assert_int_equal(kernel_getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    assert_int_not_equal(addr.sin_port, 0);
    recorded(TRACE_GETSOCKNAME, listener, 0);
    assert_int_equal(kernel_listen(listener, 5), 0);
    assert_int_equal(recorded(TRACE_LISTEN, listener, 0).event.argument, 5);
    assert_int_equal(kernel_accept4(listener, NULL, NULL, SOCK_CLOEXEC), -EAGAIN);
    recorded(TRACE_ACCEPT4, listener, -EAGAIN);

    int client = kernel_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    recorded(TRACE_SOCKET, -1, client);
    assert_int_equal(kernel_connect(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
    event = recorded(TRACE_CONNECT, client, 0);
    assert_memory_equal(event.args, &addr, sizeof(addr));
    len = sizeof(peer);
    int server = kernel_accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
    assert_true(server >= 0);
    assert_int_equal(fcntl(server, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    event = recorded(TRACE_ACCEPT4, listener, server);
    assert_memory_equal(event.args, &peer, sizeof(peer));

    assert_int_equal(kernel_send(client, "abc", 3, MSG_NOSIGNAL), 3);
    assert_int_equal(recorded(TRACE_SENDTO, client, 3).event.argument, 3);
    assert_int_equal(kernel_recv(server, data, sizeof(data), 0), 3);
    assert_int_equal(recorded(TRACE_RECVFROM, server, 3).event.argument, sizeof(data));
    char de[] = "de", f[] = "f";
    struct iovec parts[] = {{de, 2}, {f, 1}};
    assert_int_equal(kernel_sendmsg(server, parts, 2, MSG_NOSIGNAL), 3);
    event = recorded(TRACE_SENDMSG, server, 3);
    uint64_t lengths[2];
    assert_int_equal(event.args_len, sizeof(lengths));
    memcpy(lengths, event.args, sizeof(lengths));
    assert_true(lengths[0] == 2 && lengths[1] == 1);
    assert_int_equal(kernel_read(client, data, sizeof(data)), 3);
    recorded(TRACE_READ, client, 3);
    assert_memory_equal(data, "def", 3);
    assert_int_equal(kernel_write(client, "x", 1), 1);
    recorded(TRACE_WRITE, client, 1);

    assert_int_equal(kernel_shutdown(client, SHUT_WR), 0);
    assert_int_equal(recorded(TRACE_SHUTDOWN, client, 0).event.argument, SHUT_WR);
    assert_int_equal(kernel_recv(server, data, sizeof(data), 0), 1);
    recorded(TRACE_RECVFROM, server, 1);
    assert_int_equal(kernel_recv(server, data, sizeof(data), 0), 0);
    recorded(TRACE_RECVFROM, server, 0);
    int fds[] = {client, server, listener};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(kernel_close(fds[i]), 0);
        recorded(TRACE_CLOSE, fds[i], 0);
        assert_int_equal(kernel_close(fds[i]), -EBADF);
        recorded(TRACE_CLOSE, fds[i], -EBADF);
    }
}

static void test_accept_and_sendfile(void **state)
{
    struct sockaddr_in addr = loopback();
    socklen_t len = sizeof(addr);
    char data[16], path[] = "/tmp/zolal-kernel-file-XXXXXX";
    off_t offset = 2;
    (void)state;
    int file = mkstemp(path);
    unlink(path);
    assert_int_equal(write(file, "0123456789", 10), 10);
    int listener = kernel_socket(AF_INET, SOCK_STREAM, 0);
    kernel_bind(listener, (struct sockaddr *)&addr, sizeof(addr));
    kernel_getsockname(listener, (struct sockaddr *)&addr, &len);
    kernel_listen(listener, 1);
    int client = kernel_socket(AF_INET, SOCK_STREAM, 0);
    kernel_connect(client, (struct sockaddr *)&addr, sizeof(addr));
    int server = kernel_accept(listener, NULL, NULL);
    assert_true(server >= 0);
    for (int i = 0; i < 6; i++) {
        struct reader_event event;
        assert_int_equal(reader_next(reader, &event), 1);
    }
    recorded(TRACE_ACCEPT, listener, server);
    assert_int_equal(kernel_sendfile(server, file, &offset, 5), 5);
    assert_int_equal(offset, 7);
    struct reader_event event = recorded(TRACE_SENDFILE, server, 5);
    uint64_t numbers[2];
    int32_t in_fd;
    memcpy(numbers, event.args, 16);
    memcpy(&in_fd, event.args + 16, 4);
    assert_true(numbers[0] == 5 && numbers[1] == 2 && in_fd == file);
    assert_int_equal(kernel_recv(client, data, sizeof(data), 0), 5);
    assert_memory_equal(data, "23456", 5);
    kernel_close(server);
    kernel_close(client);
    kernel_close(listener);
    close(file);
}

/* Datagrams with their addresses. */
static void test_datagrams(void **state)
{
    struct sockaddr_in addr = loopback(), from = {0};
    socklen_t len = sizeof(addr);
    char data[16];
    (void)state;
    int receiver = kernel_socket(AF_INET, SOCK_DGRAM, 0);
    int sender = kernel_socket(AF_INET, SOCK_DGRAM, 0);
    recorded(TRACE_SOCKET, -1, receiver);
    recorded(TRACE_SOCKET, -1, sender);
    assert_int_equal(kernel_bind(receiver, (struct sockaddr *)&addr, sizeof(addr)), 0);
    recorded(TRACE_BIND, receiver, 0);
    assert_int_equal(kernel_getsockname(receiver, (struct sockaddr *)&addr, &len), 0);
    recorded(TRACE_GETSOCKNAME, receiver, 0);
    assert_int_equal(kernel_sendto(sender, "abc", 3, 0, (struct sockaddr *)&addr, len), 3);
    struct reader_event event = recorded(TRACE_SENDTO, sender, 3);
    assert_int_equal(event.event.argument, 3);
    assert_int_equal(event.args_len, sizeof(addr));
    assert_memory_equal(event.args, &addr, sizeof(addr));
    assert_int_equal(kernel_getpeername(sender, (struct sockaddr *)&from, &len), -ENOTCONN);
    assert_int_equal(recorded(TRACE_GETPEERNAME, sender, -ENOTCONN).args_len, 0);
    len = sizeof(from);
    assert_int_equal(
        kernel_recvfrom(receiver, data, sizeof(data), 0, (struct sockaddr *)&from, &len), 3);
    event = recorded(TRACE_RECVFROM, receiver, 3);
    assert_int_equal(event.event.argument, sizeof(data));
    assert_memory_equal(event.args, &from, sizeof(from));
    assert_int_equal(from.sin_addr.s_addr, addr.sin_addr.s_addr);
    assert_int_equal(kernel_connect(sender, (struct sockaddr *)&addr, sizeof(addr)), 0);
    recorded(TRACE_CONNECT, sender, 0);
    assert_int_equal(kernel_getpeername(sender, (struct sockaddr *)&from, &len), 0);
    assert_memory_equal(recorded(TRACE_GETPEERNAME, sender, 0).args, &addr, sizeof(addr));
    kernel_close(sender);
    kernel_close(receiver);
}

/* A pair; its messages with a descriptor; waiting for it; its copy and its flags. */
static void test_a_pair(void **state)
{
    int pair[2], passed = 0;
    char data[16], head[] = "head", control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {head, 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    (void)state;
    assert_int_equal(kernel_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct reader_event event = recorded(TRACE_SOCKETPAIR, -1, 0);
    int32_t args[5];
    memcpy(args, event.args, sizeof(args));
    assert_true(args[0] == AF_UNIX && args[3] == pair[0] && args[4] == pair[1]);

    struct pollfd polled[2] = {{.fd = pair[0], .events = POLLIN},
                               {.fd = pair[1], .events = POLLOUT}};
    assert_int_equal(kernel_poll(polled, 1, 0), 0);
    event = recorded(TRACE_POLL, pair[0], 0);
    assert_int_equal(event.event.argument, 1);
    assert_int_equal(event.args_len, sizeof(int32_t) + sizeof(polled[0]));
    assert_int_equal(kernel_poll(polled, 2, -1), 1);
    event = recorded(TRACE_POLL, -1, 1);
    struct pollfd seen[2];
    memcpy(args, event.args, sizeof(int32_t));
    memcpy(seen, event.args + sizeof(int32_t), sizeof(seen));
    assert_int_equal(args[0], -1);
    assert_true(seen[1].fd == pair[1] && seen[1].revents == POLLOUT);
    assert_int_equal(kernel_poll(NULL, 0, 0), 0);
    assert_int_equal(recorded(TRACE_POLL, -1, 0).args_len, sizeof(int32_t));

    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), &pair[0], sizeof(int));
    assert_int_equal(kernel_sendmsg_message(pair[0], &message, 0), 4);
    recorded(TRACE_SENDMSG, pair[0], 4);
    part = (struct iovec){data, sizeof(data)};
    assert_int_equal(kernel_recvmsg(pair[1], &message, 0), 4);
    event = recorded(TRACE_RECVMSG, pair[1], 4);
    assert_int_equal(event.event.argument, 1);
    assert_int_equal(event.args_len, sizeof(uint64_t));
    assert_memory_equal(data, "head", 4);
    memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    assert_true(passed > 0);
    kernel_close(passed);
    recorded(TRACE_CLOSE, passed, 0);

    int copy = kernel_fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
    assert_true(copy > pair[0]);
    assert_int_equal(recorded(TRACE_FCNTL, pair[0], copy).event.argument, F_DUPFD_CLOEXEC);
    assert_int_equal(kernel_fcntl(copy, F_GETFD, 0), FD_CLOEXEC);
    recorded(TRACE_FCNTL, copy, FD_CLOEXEC);
    for (int32_t on = 1; on >= 0; on--) {
        assert_int_equal(kernel_set_nonblocking(copy, on), 0);
        event = recorded(TRACE_IOCTL, copy, 0);
        assert_int_equal(event.event.argument, FIONBIO);
        assert_memory_equal(event.args, &on, sizeof(on));
        assert_int_equal(kernel_fcntl(copy, F_GETFL, 0) & O_NONBLOCK, on ? O_NONBLOCK : 0);
        assert_int_equal(reader_next(reader, &event), 1);
    }
    kernel_close(copy);
    kernel_close(pair[0]);
    kernel_close(pair[1]);
}

/* Each failure is passed on as -errno, and recorded as that. */
static void test_failures(void **state)
{
    static const int codes[] = {EINTR, EAGAIN, EMFILE, ECONNRESET, ENOBUFS, EPERM};
    struct sockaddr_in addr = loopback();
    socklen_t len = sizeof(addr);
    char x[] = "x";
    struct iovec part = {x, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    struct pollfd polled = {.fd = 9, .events = POLLIN};
    char data[4];
    off_t offset = 0;
    int value = 0, pair[2];
    (void)state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        int code = code_to_fail = codes[i];
        struct sockaddr *sa = (struct sockaddr *)&addr;
        assert_int_equal(kernel_socket(AF_INET, SOCK_STREAM, 0), -code);
        recorded(TRACE_SOCKET, -1, -code);
        assert_int_equal(kernel_bind(9, sa, len), -code);
        recorded(TRACE_BIND, 9, -code);
        assert_int_equal(kernel_connect(9, sa, len), -code);
        recorded(TRACE_CONNECT, 9, -code);
        assert_int_equal(kernel_listen(9, 1), -code);
        recorded(TRACE_LISTEN, 9, -code);
        assert_int_equal(kernel_accept(9, sa, &len), -code);
        assert_int_equal(recorded(TRACE_ACCEPT, 9, -code).args_len, 0);
        assert_int_equal(kernel_accept4(9, sa, &len, 0), -code);
        assert_int_equal(recorded(TRACE_ACCEPT4, 9, -code).args_len, 0);
        assert_int_equal(kernel_recv(9, data, 4, 0), -code);
        recorded(TRACE_RECVFROM, 9, -code);
        assert_int_equal(kernel_send(9, data, 4, 0), -code);
        recorded(TRACE_SENDTO, 9, -code);
        assert_int_equal(kernel_sendmsg(9, &part, 1, 0), -code);
        recorded(TRACE_SENDMSG, 9, -code);
        assert_int_equal(kernel_sendfile(9, 8, &offset, 1), -code);
        recorded(TRACE_SENDFILE, 9, -code);
        assert_int_equal(kernel_shutdown(9, SHUT_WR), -code);
        recorded(TRACE_SHUTDOWN, 9, -code);
        assert_int_equal(kernel_getsockopt(9, SOL_SOCKET, SO_TYPE, &value, &len), -code);
        assert_int_equal(recorded(TRACE_GETSOCKOPT, 9, -code).args_len, 8);
        assert_int_equal(kernel_setsockopt(9, SOL_SOCKET, SO_TYPE, &value, 4), -code);
        recorded(TRACE_SETSOCKOPT, 9, -code);
        assert_int_equal(kernel_getsockname(9, sa, &len), -code);
        recorded(TRACE_GETSOCKNAME, 9, -code);
        assert_int_equal(kernel_getpeername(9, sa, &len), -code);
        recorded(TRACE_GETPEERNAME, 9, -code);
        assert_int_equal(kernel_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), -code);
        recorded(TRACE_SOCKETPAIR, -1, -code);
        assert_int_equal(kernel_recvfrom(9, data, 4, 0, sa, &len), -code);
        assert_int_equal(recorded(TRACE_RECVFROM, 9, -code).args_len, 0);
        assert_int_equal(kernel_sendto(9, data, 4, 0, sa, len), -code);
        recorded(TRACE_SENDTO, 9, -code);
        assert_int_equal(kernel_recvmsg(9, &message, 0), -code);
        recorded(TRACE_RECVMSG, 9, -code);
        assert_int_equal(kernel_poll(&polled, 1, 0), -code);
        recorded(TRACE_POLL, 9, -code);
        assert_int_equal(kernel_fcntl(9, F_DUPFD_CLOEXEC, 0), -code);
        recorded(TRACE_FCNTL, 9, -code);
        assert_int_equal(kernel_set_nonblocking(9, 1), -code);
        recorded(TRACE_IOCTL, 9, -code);
        code_to_fail = 0;
    }
    assert_int_equal(kernel_read(-1, data, 4), -EBADF);
    recorded(TRACE_READ, -1, -EBADF);
    assert_int_equal(kernel_write(-1, data, 4), -EBADF);
    recorded(TRACE_WRITE, -1, -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_life_of_a_connection, begin, end),
        cmocka_unit_test_setup_teardown(test_accept_and_sendfile, begin, end),
        cmocka_unit_test_setup_teardown(test_datagrams, begin, end),
        cmocka_unit_test_setup_teardown(test_a_pair, begin, end),
        cmocka_unit_test_setup_teardown(test_failures, begin, end),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
