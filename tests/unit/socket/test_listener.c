#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "socket/kernel.h"
#include "socket/listener.h"
#include "socket/stream.h"

/* The system call to fail, counted from 1 over all of them; 0: none. */
static int call_to_fail, code_to_fail;

static int fails(void)
{
    errno = code_to_fail;
    return call_to_fail > 0 && --call_to_fail == 0;
}

#define WRAP(name, parameters, arguments)              \
    int __real_##name parameters;                      \
    int __wrap_##name parameters;                      \
    int __wrap_##name parameters                       \
    {                                                  \
        return fails() ? -1 : __real_##name arguments; \
    }

WRAP(socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(bind, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
WRAP(listen, (int fd, int backlog), (fd, backlog))
WRAP(setsockopt, (int fd, int level, int option, const void *value, socklen_t len),
     (fd, level, option, value, len))
WRAP(chmod, (const char *path, mode_t mode), (path, mode))

static int descriptors_open(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static char folder[] = "/tmp/zolal-listener-XXXXXX";
static char unix_text[300];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(unix_text, sizeof(unix_text), "unix:%s/s", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static bool machine_has_v6(void)
{
    return access("/proc/net/if_inet6", F_OK) == 0;
}

static const struct listener_options options = {.backlog = 5};

static int open_at(const char *text, const struct listener_options *how, struct address *addr)
{
    struct error err = {0};
    assert_int_equal(address_parse(addr, text, &err), 0);
    int fd = listener_open(addr, how, &err);
    if (fd < 0)
        assert_string_not_equal(err.text, "");
    return fd;
}

static int connect_to(const struct address *addr)
{
    int fd = kernel_socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = kernel_connect(fd, &addr->sa, addr->len);
    if (result < 0)
        close(fd);
    return result < 0 ? result : fd;
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(kernel_getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void assert_serves(int listener, const struct address *addr)
{
    struct address peer;
    int client = connect_to(addr);
    assert_true(client >= 0);
    int server = listener_accept(listener, &peer);
    assert_true(server >= 0);
    assert_int_equal(fcntl(server, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(server, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    if (!address_is_unix(addr))
        assert_int_equal(option(server, IPPROTO_TCP, TCP_NODELAY), 1);
    close(server);
    close(client);
    assert_int_equal(listener_accept(listener, &peer), -EAGAIN);
}

static void test_every_family(void **state)
{
    const char *texts[] = {"127.0.0.1:0", unix_text, "unix:@zolal-unit-test", "[::1]:0", "[::]:0"};
    (void)state;
    for (size_t i = 0; i < (machine_has_v6() ? 5 : 3); i++) {
        struct address addr;
        int fd = open_at(texts[i], &options, &addr);
        assert_true(fd >= 0);
        if (!address_is_unix(&addr))
            assert_int_not_equal(address_port(&addr), 0);
        assert_serves(fd, &addr);
        listener_close(fd, &addr);
    }
    assert_int_equal(access(unix_text + 5, F_OK), -1);
}

static void test_dual_stack_or_v6_only(void **state)
{
    (void)state;
    if (!machine_has_v6()) {
        print_message("skipped: this machine has no IPv6\n");
        return;
    }
    for (int only = 0; only < 2; only++) {
        struct listener_options how = {.backlog = 5, .v6_only = only};
        struct address addr, v4;
        char text[64];
        int fd = open_at("[::]:0", &how, &addr);
        snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned)address_port(&addr));
        address_parse(&v4, text, NULL);
        int client = connect_to(&v4);
        if (only)
            assert_int_equal(client, -ECONNREFUSED);
        else
            assert_true(client >= 0);
        close(client);
        listener_close(fd, &addr);
    }
}

static void test_options_are_set(void **state)
{
    struct listener_options how = {.backlog = 5, .reuse_port = true, .defer_accept_s = 1};
    struct address addr;
    struct stat status;
    (void)state;
    int fd = open_at("127.0.0.1:0", &how, &addr);
    assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEADDR), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEPORT), 1);
    assert_true(option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 1);
    listener_close(fd, &addr);
    how = (struct listener_options){.backlog = 5, .unix_mode = 0600};
    fd = open_at(unix_text, &how, &addr);
    assert_int_equal(stat(unix_text + 5, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    listener_close(fd, &addr);
}

static void test_whose_file_a_unix_socket_may_replace(void **state)
{
    struct address addr, second;
    (void)state;
    int fd = open_at(unix_text, &options, &addr);
    assert_int_equal(open_at(unix_text, &options, &second), -EADDRINUSE); /* it is served */
    close(fd);                                                            /* as a crash leaves it */
    assert_int_equal(access(unix_text + 5, F_OK), 0);
    fd = open_at(unix_text, &options, &addr);
    assert_true(fd >= 0);
    listener_close(fd, &addr);
    int file = open(unix_text + 5, O_CREAT | O_WRONLY, 0600);
    close(file);
    assert_int_equal(open_at(unix_text, &options, &addr), -EADDRINUSE); /* somebody's file */
    assert_int_equal(unlink(unix_text + 5), 0);
}

static void test_who_has_the_port_is_said(void **state)
{
    struct address addr, second;
    struct error err = {0};
    char who[64];
    (void)state;
    int fd = open_at("127.0.0.1:0", &options, &addr);
    second = addr;
    assert_int_equal(listener_open(&second, &options, &err), -EADDRINUSE);
    snprintf(who, sizeof(who), "by process %d (", (int)getpid());
    if (!strstr(err.text, who))
        fail_msg("%s not in: %s", who, err.text);
    listener_close(fd, &addr);
}

static void test_a_privileged_port_says_what_to_do(void **state)
{
    struct address addr;
    struct error err = {0};
    (void)state;
    address_parse(&addr, "127.0.0.1:80", NULL);
    call_to_fail = 4; /* socket, two options, bind */
    code_to_fail = EACCES;
    assert_int_equal(listener_open(&addr, &options, &err), -EACCES);
    assert_non_null(strstr(err.text, "below 1024"));
    call_to_fail = 0;
}

/* Whichever call fails, its number is returned and nothing is left: no descriptor, no file. */
static void test_each_call_fails_in_turn(void **state)
{
    const struct listener_options how = {
        .backlog = 5, .reuse_port = true, .defer_accept_s = 1, .unix_mode = 0600};
    const char *texts[] = {"127.0.0.1:0", unix_text, "[::1]:0"};
    (void)state;
    for (size_t i = 0; i < (machine_has_v6() ? 3 : 2); i++) {
        int before = descriptors_open();
        for (int n = 1;; n++) {
            struct address addr;
            call_to_fail = n;
            code_to_fail = ENOBUFS;
            int fd = open_at(texts[i], &how, &addr);
            if (call_to_fail > 0) {
                call_to_fail = 0;
                assert_true(fd >= 0);
                assert_true(n > 3);
                listener_close(fd, &addr);
                break;
            }
            assert_int_equal(fd, -ENOBUFS);
            assert_int_equal(descriptors_open(), before);
            if (address_is_unix(&addr))
                assert_int_equal(access(unix_text + 5, F_OK), -1);
        }
    }
}

static void test_a_listener_from_elsewhere(void **state)
{
    struct address addr, found;
    struct error err = {0};
    (void)state;
    int fd = open_at("127.0.0.1:0", &options, &addr);
    fcntl(fd, F_SETFL, 0);
    fcntl(fd, F_SETFD, 0);
    assert_int_equal(listener_adopt(fd, &found, &err), 0);
    assert_int_equal(address_port(&found), address_port(&addr));
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    int client = connect_to(&addr);
    assert_int_equal(listener_adopt(client, &found, &err), -EINVAL);
    assert_non_null(strstr(err.text, "not a listening"));
    close(client);
    assert_int_equal(listener_adopt(-1, &found, &err), -EBADF);
    listener_close(fd, &addr);
}

/* A connected pair of streams through the table. */
static void test_a_stream_over_a_socket(void **state)
{
    struct stream one, other;
    int pair[2];
    char data[16];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    stream_init_socket(&one, pair[0]);
    stream_init_socket(&other, pair[1]);
    assert_int_equal(stream_recv(&one, data, sizeof(data)), -EAGAIN);
    char ab[] = "ab", c[] = "c";
    struct iovec parts[] = {{ab, 2}, {c, 1}};
    assert_int_equal(stream_send(&other, parts, 1, false), 2);
    assert_int_equal(stream_send(&other, parts, 2, false), 3);
    assert_int_equal(stream_recv(&one, data, sizeof(data)), 5);
    assert_memory_equal(data, "ababc", 5);
    assert_int_equal(stream_shutdown(&other), 0);
    assert_int_equal(stream_recv(&one, data, sizeof(data)), 0);
    stream_close(&other);
    assert_int_equal(other.fd, -1);
    assert_int_equal(stream_send(&one, parts, 1, false), -EPIPE); /* and no SIGPIPE */
    stream_reset(&one);
    assert_int_equal(one.fd, -1);
}

static void test_a_stream_in_memory(void **state)
{
    struct memory_stream memory;
    struct stream *stream = &memory.stream;
    char abc[] = "abc", def[] = "def";
    struct iovec parts[] = {{abc, 3}, {def, 3}};
    char data[16];
    (void)state;
    memory_stream_init(&memory, 100);
    assert_int_equal(stream_recv(stream, data, 16), -EAGAIN);
    buffer_append(&memory.in, SLICE("hello"));
    memory.recv_limit = 2;
    assert_int_equal(stream_recv(stream, data, 16), 2);
    memory.recv_limit = 0;
    assert_int_equal(stream_recv(stream, data, 16), 3);
    memory.in_ended = true;
    assert_int_equal(stream_recv(stream, data, 16), 0);
    memory.send_limit = 4;
    assert_int_equal(stream_send(stream, parts, 2, false), 4);
    assert_int_equal(stream_send(stream, parts, 2, false), -EAGAIN);
    assert_true(slice_equal(buffer_slice(&memory.out), SLICE("abcd")));
    memory.fail = ECONNRESET;
    assert_int_equal(stream_send(stream, parts, 2, false), -ECONNRESET);
    off_t offset = 0;
    assert_int_equal(stream_sendfile(stream, 0, &offset, 1), -EOPNOTSUPP);
    assert_int_equal(stream_shutdown(stream), 0);
    memory.send_limit = 10;
    assert_int_equal(stream_send(stream, parts, 1, false), -EPIPE);
    stream_reset(stream);
    assert_true(memory.closed && memory.was_reset);
    memory_stream_release(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_family),
        cmocka_unit_test(test_dual_stack_or_v6_only),
        cmocka_unit_test(test_options_are_set),
        cmocka_unit_test(test_whose_file_a_unix_socket_may_replace),
        cmocka_unit_test(test_who_has_the_port_is_said),
        cmocka_unit_test(test_a_privileged_port_says_what_to_do),
        cmocka_unit_test(test_each_call_fails_in_turn),
        cmocka_unit_test(test_a_listener_from_elsewhere),
        cmocka_unit_test(test_a_stream_over_a_socket),
        cmocka_unit_test(test_a_stream_in_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
