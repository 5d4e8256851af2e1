/* The echo server over real sockets: its clients are played in its own thread, before each of its
 * waits; every allocation and every system call fails in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "echo/connection.h"
#include "socket/listener.h"

/* What fails: the call number `fault_at` (from 1) of the kind `fault_kind`, with `fault_code`. */
enum fault {
    FAULT_NONE,
    FAULT_MEMORY,
    FAULT_RECV,
    FAULT_SEND,
    FAULT_ACCEPT,
    FAULT_CTL,
    FAULT_WAIT,
    FAULT_CREATE,
    FAULT_EVENTFD
};
static enum fault fault_kind;
static int fault_at, fault_code;

static bool faulty(enum fault kind)
{
    if (fault_kind != kind || fault_at <= 0 || --fault_at > 0)
        return false;
    errno = fault_code;
    return true;
}

enum { CLIENTS = 2, LONG = 8 << 20, TURNS = 2000 };

/* Who speaks to the server. */
struct client {
    int fd;
    size_t to_send; /* bytes of `sent` */
    size_t sent;
    size_t got;
    bool reads;
    bool ends; /* half-closes after the last byte */
    bool reset;
    bool ended; /* by the server, or broken */
    bool wrong;
};

static struct {
    struct echo *echo;
    struct address addr;
    struct client clients[CLIENTS];
    bool (*is_over)(void);
    int turns;
    int connections, messages;
    size_t most_allocated; /* bytes of a buffer */
    size_t send_limit;     /* bytes that one send of the server takes; 0: as they are */
    int flood;      /* a descriptor of the server that always has more to read, and takes all */
    int flood_left; /* how often; then it ends */
    int in_a_row;   /* recvs of it */
    int most_in_a_row;
    size_t
        sent_before; /* by the first client, when it was looked at last, and how often that was */
    int same;        /* the same */
} site;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
ssize_t __real_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
int __real_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __real_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);

void *__wrap_calloc(size_t count, size_t size)
{
    return faulty(FAULT_MEMORY) ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    if (faulty(FAULT_MEMORY))
        return NULL;
    if (count * size > site.most_allocated)
        site.most_allocated = count * size;
    return __real_reallocarray(old, count, size);
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    site.in_a_row = fd == site.flood ? site.in_a_row + 1 : 0;
    if (site.in_a_row > site.most_in_a_row)
        site.most_in_a_row = site.in_a_row;
    if (fd == site.flood)
        return site.flood_left-- > 0 ? (ssize_t)len : 0;
    return faulty(FAULT_RECV) ? -1 : __real_recv(fd, data, len, flags);
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    if (fd == site.flood)
        return (ssize_t)len;
    if (site.send_limit > 0 && len > site.send_limit)
        len = site.send_limit;
    return faulty(FAULT_SEND) ? -1 : __real_send(fd, data, len, flags);
}

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    return faulty(FAULT_ACCEPT) ? -1 : __real_accept4(fd, addr, len, flags);
}

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    return faulty(FAULT_CTL) ? -1 : __real_epoll_ctl(epoll, operation, fd, event);
}

int __wrap_epoll_create1(int flags)
{
    return faulty(FAULT_CREATE) ? -1 : __real_epoll_create1(flags);
}

int __wrap_eventfd(unsigned count, int flags)
{
    return faulty(FAULT_EVENTFD) ? -1 : __real_eventfd(count, flags);
}

/* What stands at a place of a client's bytes. */
static char byte_at(size_t at)
{
    return (char)(at * 31 + (at >> 11));
}

static void client_send(struct client *client)
{
    char bytes[4096];
    while (client->sent < client->to_send) {
        size_t len = client->to_send - client->sent;
        len = len < sizeof(bytes) ? len : sizeof(bytes);
        for (size_t i = 0; i < len; i++)
            bytes[i] = byte_at(client->sent + i);
        ssize_t sent = __real_send(client->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            client->ended = client->reset = errno != EAGAIN;
            return;
        }
        client->sent += (size_t)sent;
        if (client->sent == client->to_send && client->ends)
            shutdown(client->fd, SHUT_WR); /* so that the end comes along with the last bytes */
    }
}

static void client_read(struct client *client)
{
    char bytes[4096];
    ssize_t len;
    while ((len = __real_recv(client->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        for (ssize_t i = 0; i < len; i++)
            client->wrong |= bytes[i] != byte_at(client->got++);
    if (len == 0 || errno != EAGAIN) {
        client->ended = true;
        client->reset = len < 0;
    }
}

static void play(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &site.clients[i];
        if (client->fd < 0 || client->ended)
            continue;
        client_send(client);
        if (client->reads && !client->ended)
            client_read(client);
    }
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    play();
    if (site.is_over() || --site.turns <= 0)
        echo_stop(site.echo);
    if (timeout < 0 || timeout > 10)
        timeout = 10; /* the clients are to be played again */
    return faulty(FAULT_WAIT) ? -1 : __real_epoll_wait(epoll, events, most, timeout);
}

static void on_connection(void *context, const struct address *peer)
{
    assert_ptr_equal(context, &site);
    assert_int_equal(peer->sa.sa_family, site.addr.sa.sa_family);
    site.connections++;
}

static void on_message(void *context, const char *text)
{
    (void)context;
    assert_non_null(strstr(text, "cannot accept more connections"));
    site.messages++;
}

static int descriptors_open(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void connect_client(struct client *client)
{
    client->fd = socket(site.addr.sa.sa_family, SOCK_STREAM, 0);
    assert_int_equal(connect(client->fd, &site.addr.sa, site.addr.len), 0);
}

/* A server on `text`, nobody connected. Returns 0 or -errno. */
static int begin(const char *text, bool (*is_over)(void))
{
    struct echo_config config = {
        .on_connection = on_connection, .on_message = on_message, .context = &site};
    struct listener_options options = {.backlog = 8};
    struct error err = {0};
    memset(&site, 0, sizeof(site));
    site.flood = -1;
    site.turns = TURNS;
    site.is_over = is_over;
    for (int i = 0; i < CLIENTS; i++)
        site.clients[i] = (struct client){.fd = -1, .reads = true};
    int result = echo_new(&site.echo, &config, &err);
    if (result < 0) {
        assert_int_equal(err.code, -result);
        return result;
    }
    assert_int_equal(address_parse(&site.addr, text, &err), 0);
    int fd = listener_open(&site.addr, &options, &err);
    assert_true(fd >= 0);
    result = echo_listen(site.echo, fd, &site.addr, &err);
    if (result < 0)
        echo_free(site.echo);
    return result;
}

static int run(void)
{
    struct error err = {0};
    int result = echo_run(site.echo, &err);
    assert_int_equal(err.code, -result);
    play(); /* what has come at the end */
    return result;
}

static void end(void)
{
    echo_free(site.echo);
    for (int i = 0; i < CLIENTS; i++)
        if (site.clients[i].fd >= 0)
            close(site.clients[i].fd);
}

static bool first_has_ended(void)
{
    return site.clients[0].ended;
}

static bool nobody_is_here(void)
{
    return site.connections > 0 && site.echo->acceptor.connections == 0;
}

static void check_whole(const struct client *client, size_t len)
{
    assert_false(client->wrong);
    assert_int_equal(client->got, len);
}

/* One client that half-closes behind its bytes. */
static void echo_once(const char *text, size_t len)
{
    struct client *client = &site.clients[0];
    assert_int_equal(begin(text, first_has_ended), 0);
    client->to_send = len;
    client->ends = true;
    connect_client(client);
    assert_int_equal(run(), 0);
    check_whole(client, len);
    assert_true(client->ended && !client->reset);
    assert_int_equal(site.connections, 1);
    end();
}

static void test_all_comes_back_and_then_the_end(void **state)
{
    (void)state;
    echo_once("127.0.0.1:0", 5);
    echo_once("127.0.0.1:0", ECHO_RECEIVE_SIZE);
    echo_once("127.0.0.1:0", LONG);
    echo_once("unix:@zolal-test-echo", 5);
    echo_once("unix:@zolal-test-echo", LONG);
}

static void test_a_send_may_take_little(void **state)
{
    struct client *client = &site.clients[0];
    (void)state;
    assert_int_equal(begin("unix:@zolal-test-echo", first_has_ended), 0);
    site.send_limit = 1000;
    client->to_send = 100000;
    client->ends = true;
    connect_client(client);
    assert_int_equal(run(), 0);
    check_whole(client, 100000);
    end();
}

/* Until the kernel takes nothing more of the first client. */
static bool first_is_stuck(void)
{
    site.same = site.clients[0].sent == site.sent_before ? site.same + 1 : 0;
    site.sent_before = site.clients[0].sent;
    if (site.same == 3)
        site.clients[0].reads = true;
    return first_has_ended();
}

static void test_a_client_that_does_not_read(void **state)
{
    struct client *client = &site.clients[0];
    (void)state;
    assert_int_equal(begin("unix:@zolal-test-echo", first_is_stuck), 0);
    client->reads = false;
    client->to_send = LONG;
    client->ends = true;
    connect_client(client);
    assert_int_equal(run(), 0);
    check_whole(client, LONG);
    assert_true(site.most_allocated >= 1 && site.most_allocated <= ECHO_RECEIVE_SIZE);
    end();
}

static void test_a_reset_is_quiet(void **state)
{
    struct linger none = {.l_onoff = 1};
    (void)state;
    assert_int_equal(begin("127.0.0.1:0", nobody_is_here), 0);
    struct client reset = {.fd = -1};
    connect_client(&reset);
    assert_int_equal(setsockopt(reset.fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), 0);
    close(reset.fd);
    assert_int_equal(run(), 0);
    assert_int_equal(site.messages, 0);
    assert_int_equal(site.echo->acceptor.connections, 0);
    end();
}

/* The first client's connection becomes one that has more to read, so often. Returns whether it has
 * just come to be. */
static bool flood(int times)
{
    const struct list *node = site.echo->connections.next;
    if (site.flood >= 0 || node == &site.echo->connections)
        return false;
    site.flood = list_entry(node, struct echo_connection, node)->watch.fd;
    site.flood_left = times;
    __real_send(site.clients[0].fd, "x", 1, 0);
    return true;
}

static bool second_was_served(void)
{
    if (flood(INT_MAX))
        connect_client(&site.clients[1]);
    return site.clients[1].got > 0;
}

static void test_one_that_always_has_more_does_not_starve_others(void **state)
{
    (void)state;
    assert_int_equal(begin("127.0.0.1:0", second_was_served), 0);
    site.clients[1].to_send = 1;
    connect_client(&site.clients[0]);
    assert_int_equal(run(), 0);
    check_whole(&site.clients[1], 1);
    assert_int_equal(site.clients[0].got, 0);
    assert_true(site.most_in_a_row >= ECHO_TURN &&
                site.most_in_a_row <= 3 * ECHO_TURN); /* of a few turns */
    end();
}

/* It has had its turn, and an event tells of its end before it would have the next. */
static bool flood_has_ended(void)
{
    if (site.connections > 0 && !flood(ECHO_TURN))
        __real_send(site.clients[0].fd, "x", 1, MSG_NOSIGNAL);
    return nobody_is_here();
}

static void test_one_ends_that_was_to_have_another_turn(void **state)
{
    (void)state;
    assert_int_equal(begin("127.0.0.1:0", flood_has_ended), 0);
    connect_client(&site.clients[0]);
    assert_int_equal(run(), 0);
    assert_int_equal(site.flood_left, -1);
    end();
}

/* An echo with one fault. Whoever was accepted has all back, or sees that it is not all. */
static int echo_with_fault(enum fault kind, int at, int code)
{
    struct client *client = &site.clients[0];
    fault_kind = kind;
    fault_at = at;
    fault_code = code;
    int result = begin("127.0.0.1:0", first_has_ended);
    if (result < 0)
        return result;
    client->to_send = 100000;
    if (kind == FAULT_MEMORY || kind == FAULT_CTL) { /* a buffer, and a wait for room */
        site.is_over = first_is_stuck;
        client->reads = false;
        client->to_send = LONG;
    }
    client->ends = true;
    connect_client(client);
    result = run();
    assert_false(client->wrong);
    if (result == 0) {
        assert_true(client->ended);
        assert_true(client->got == client->to_send || client->reset || code == ECONNRESET ||
                    code == EPIPE); /* which say that nobody is there */
    }
    end();
    return result;
}

static void test_every_failure_is_survived(void **state)
{
    static const struct {
        enum fault kind;
        int code;
    } rows[] = {{FAULT_MEMORY, ENOMEM}, {FAULT_RECV, ECONNRESET},     {FAULT_SEND, EPIPE},
                {FAULT_RECV, ENOBUFS},  {FAULT_SEND, ENOBUFS},        {FAULT_RECV, EINTR},
                {FAULT_SEND, EINTR},    {FAULT_ACCEPT, ECONNABORTED}, {FAULT_CTL, ENOSPC},
                {FAULT_WAIT, EBADF},    {FAULT_WAIT, EINTR},          {FAULT_CREATE, EMFILE},
                {FAULT_EVENTFD, EMFILE}};
    int before = descriptors_open();
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int at = 0;
        do {
            int result = echo_with_fault(rows[i].kind, ++at, rows[i].code);
            assert_true(result == 0 || result == -rows[i].code);
            assert_int_equal(descriptors_open(), before);
        } while (fault_at <= 0 && at < 100); /* until it came to no fault any more */
        assert_true(at > 1);
        fault_kind = FAULT_NONE;
    }
}

static void test_running_out_of_descriptors_passes(void **state)
{
    static const int codes[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    (void)state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_int_equal(echo_with_fault(FAULT_ACCEPT, 1, codes[i]), 0);
        assert_int_equal(site.messages, 1); /* said once */
        check_whole(&site.clients[0], 100000);
    }
    fault_kind = FAULT_NONE;
}

static bool never(void)
{
    return false;
}

static bool is_stopped_amid(void)
{
    if (site.clients[0].sent > 0 && site.turns < TURNS - 20)
        echo_stop(site.echo);
    return false;
}

/* What a stop cuts off is not taken for the whole; who has it all gets an orderly end. */
static void test_a_stop(void **state)
{
    (void)state;
    assert_int_equal(begin("127.0.0.1:0", never), 0);
    echo_stop(site.echo);
    assert_int_equal(run(), 0);
    end();
    assert_int_equal(begin("unix:@zolal-test-echo", is_stopped_amid), 0);
    site.clients[0].to_send = 5;
    site.clients[1].to_send = LONG;
    site.clients[1].reads = false;
    for (int i = 0; i < CLIENTS; i++)
        connect_client(&site.clients[i]);
    assert_int_equal(run(), 0);
    check_whole(&site.clients[0], 5);
    assert_true(site.clients[0].ended && !site.clients[0].reset);
    site.clients[1].reads = true;
    play();
    assert_true(site.clients[1].reset);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_comes_back_and_then_the_end),
        cmocka_unit_test(test_a_send_may_take_little),
        cmocka_unit_test(test_a_client_that_does_not_read),
        cmocka_unit_test(test_a_reset_is_quiet),
        cmocka_unit_test(test_one_that_always_has_more_does_not_starve_others),
        cmocka_unit_test(test_one_ends_that_was_to_have_another_turn),
        cmocka_unit_test(test_every_failure_is_survived),
        cmocka_unit_test(test_running_out_of_descriptors_passes),
        cmocka_unit_test(test_a_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
