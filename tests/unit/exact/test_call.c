/* What is told of a call, of this process's own memory: a thread may read that as a tracer does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "exact/call.h"

static struct call call;
static struct call_told told;

static void begin(long number, const uint64_t args[6])
{
    memset(&call, 0, sizeof(call));
    call.kind = call_kind_of((uint64_t)number);
    assert_non_null(call.kind);
    memcpy(call.entered.args, args, sizeof(call.entered.args));
    call_begin(&call, getpid());
}

static void tell(int64_t result)
{
    memset(&told, 0xff, sizeof(told));
    call_tell(&call, getpid(), result, &told);
}

static uint64_t address(const void *pointer)
{
    return (uintptr_t)pointer;
}

static void test_an_address(void **state)
{
    struct sockaddr_in given = {.sin_family = AF_INET, .sin_port = htons(80)};
    (void)state;
    begin(SYS_connect, (uint64_t[6]){7, address(&given), sizeof(given)});
    tell(-ECONNREFUSED);
    assert_int_equal(told.outside.op, TRACE_CONNECT);
    assert_int_equal(told.outside.fd, 7);
    assert_int_equal(told.outside.result, -ECONNREFUSED);
    assert_int_equal(told.args_len, sizeof(given));
    assert_memory_equal(told.args, &given, sizeof(given));
    char large[200] = "";
    begin(SYS_bind, (uint64_t[6]){7, address(large), sizeof(large)});
    tell(0);
    assert_int_equal(told.args_len, 48);
}

static void test_an_address_that_is_found(void **state)
{
    char found[128] = "";
    uint32_t room = 16;
    (void)state;
    begin(SYS_accept4, (uint64_t[6]){3, address(found), address(&room), SOCK_CLOEXEC});
    room = 110; /* as the kernel says how many it would have taken */
    tell(4);
    assert_int_equal(told.args_len, 16);
    assert_int_equal(told.outside.argument, SOCK_CLOEXEC);
    tell(-EAGAIN);
    assert_int_equal(told.args_len, 0);
}

static void test_bytes(void **state)
{
    char line[FIRST_LINE_SIZE], bytes[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    (void)state;
    begin(SYS_recvfrom, (uint64_t[6]){3, address(bytes), sizeof(bytes), 0});
    tell(16);
    assert_int_equal(told.moved_len, 16);
    assert_int_equal(told.way, TRACE_RECEIVED);
    assert_int_equal(call_first_line(&call, &told, getpid(), line), 14);
    assert_memory_equal(line, "GET / HTTP/1.1", 14);
    begin(SYS_recvfrom, (uint64_t[6]){3, address(bytes), sizeof(bytes), MSG_PEEK});
    tell(16);
    assert_int_equal(call_first_line(&call, &told, getpid(), line), 0);
    begin(SYS_sendto, (uint64_t[6]){3, address(bytes), 16, 0});
    tell(-EPIPE);
    assert_int_equal(told.moved_len, 0);
}

static void test_parts(void **state)
{
    char first[8] = "first", second[4] = "two";
    struct iovec parts[] = {{first, sizeof(first)}, {second, sizeof(second)}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    (void)state;
    begin(SYS_sendmsg, (uint64_t[6]){3, address(&message), MSG_NOSIGNAL});
    tell(12);
    uint64_t lengths[2] = {8, 4};
    assert_int_equal(told.outside.argument, TRACE_LENGTH(2u, MSG_NOSIGNAL));
    assert_memory_equal(told.args, lengths, sizeof(lengths));
    assert_int_equal(told.moved, address(first));
    assert_int_equal(told.moved_len, 8);
}

static void test_sets(void **state)
{
    fd_set read, write;
    struct timeval wait = {1, 1500};
    int32_t timeout;
    struct {
        int32_t fd;
        int16_t events, found;
    } polled[2];
    (void)state;
    FD_ZERO(&read);
    FD_ZERO(&write);
    FD_SET(3, &read);
    FD_SET(5, &read);
    FD_SET(5, &write);
    begin(SYS_select, (uint64_t[6]){6, address(&read), address(&write), 0, address(&wait)});
    FD_CLR(3, &read);
    FD_CLR(5, &read);
    wait.tv_sec = 0;
    tell(1);
    memcpy(&timeout, told.args, 4);
    memcpy(polled, told.args + 4, sizeof(polled));
    assert_int_equal(told.args_len, 4 + sizeof(polled));
    assert_int_equal(timeout, 1002);
    assert_true(polled[0].fd == 3 && polled[0].events == 1 && polled[0].found == 0);
    assert_true(polled[1].fd == 5 && polled[1].events == 5 && polled[1].found == 4);
}

/* Nothing that a program passes makes us read where there is nothing. */
static void test_pointers_that_are_none(void **state)
{
    (void)state;
    for (long number = 0; number < 500; number++) {
        if (!call_kind_of((uint64_t)number))
            continue;
        for (int bad = 0; bad < 3; bad++) {
            uint64_t value = (uint64_t[]){0, 8, UINT64_MAX}[bad];
            begin(number, (uint64_t[6]){value, value, value, value, value, value});
            tell(bad == 1 ? 5 : -EFAULT);
            assert_true(told.args_len <= sizeof(told.args));
            char line[FIRST_LINE_SIZE];
            assert_int_equal(call_first_line(&call, &told, getpid(), line), 0);
        }
    }
}

static void test_what_is_watched(void **state)
{
    int pipe_fds[2], pair[2];
    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    begin(SYS_read, (uint64_t[6]){(uint64_t)pair[0]});
    assert_true(call_is_watched(&call, getpid()));
    begin(SYS_read, (uint64_t[6]){(uint64_t)pipe_fds[0]});
    assert_false(call_is_watched(&call, getpid()));
    begin(SYS_read, (uint64_t[6]){9999});
    assert_false(call_is_watched(&call, getpid()));
    begin(SYS_dup3, (uint64_t[6]){(uint64_t)pipe_fds[0], (uint64_t)pair[0]});
    assert_true(call_is_watched(&call, getpid()));
    for (int i = 0; i < 2; i++) {
        close(pipe_fds[i]);
        close(pair[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_address),
        cmocka_unit_test(test_an_address_that_is_found),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_pointers_that_are_none),
        cmocka_unit_test(test_what_is_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
