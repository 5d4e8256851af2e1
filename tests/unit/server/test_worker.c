/* A worker, its connections and exchanges, over real sockets: what a client sends and gets, with
 * every allocation and every system call failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/worker_state.h"
#include "socket/listener.h"

/* What fails: the call number `fault_at` (from 1) of the kinds in `fault_kinds`, with errno
 * `fault_code`. */
enum {
    FAULT_MEMORY = 1,
    FAULT_RECV = 2,
    FAULT_SEND = 4,
    FAULT_EPOLL_CTL = 8,
    FAULT_ACCEPT = 16,
    FAULT_EPOLL_WAIT = 32
};
static int fault_kinds, fault_at, fault_code;

static bool faulty(int kind)
{
    if (!(fault_kinds & kind) || fault_at <= 0 || --fault_at > 0)
        return false;
    errno = fault_code;
    return true;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
ssize_t __real_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);
ssize_t __real_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __real_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __real_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);

void *__wrap_calloc(size_t count, size_t size)
{
    return faulty(FAULT_MEMORY) ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return faulty(FAULT_MEMORY) ? NULL : __real_reallocarray(old, count, size);
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    return faulty(FAULT_RECV) ? -1 : __real_recv(fd, data, len, flags);
}

static int send_flags; /* of the last send */

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    send_flags = flags;
    return faulty(FAULT_SEND) ? -1 : __real_send(fd, data, len, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return faulty(FAULT_SEND) ? -1 : __real_sendmsg(fd, message, flags);
}

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    return faulty(FAULT_EPOLL_CTL) ? -1 : __real_epoll_ctl(epoll, operation, fd, event);
}

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    return faulty(FAULT_ACCEPT) ? -1 : __real_accept4(fd, addr, len, flags);
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    return faulty(FAULT_EPOLL_WAIT) ? -1 : __real_epoll_wait(epoll, events, most, timeout);
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

/* The peer of the worker, played in the worker's own thread around its waits. */
struct client {
    int fd;
    const char *to_send;
    size_t send_len;
    size_t step;     /* bytes sent between two waits; 0: all */
    bool half_close; /* end our side after the last byte */
    bool ended;
    int want;  /* answers after which the client leaves; 0: it waits for the end */
    int turns; /* left before the test gives up */
    size_t len;
    char got[1 << 16];
};

/* What the handler saw and did. */
struct site {
    struct worker *worker;
    struct client client;
    int requests;
    int aborts;
    int writables;
    int left; /* pieces of a stream to send */
    size_t body_len;
    char body[1 << 16];
    int read_error;
    int released;
    struct exchange *kept;
    int file;    /* shorter than what is sent of it */
    int flushed; /* what a flush of it returned */
    struct memory_stream streams[2];
    struct connection *beside; /* of the second stream */
};

static int count_answers(const struct client *client)
{
    int count = 0;
    const char *at = client->got;
    while ((at = strstr(at, "HTTP/1.1 ")))
        if (memcmp(at++, "HTTP/1.1 100", 12) != 0)
            count++;
    return count;
}

static void client_play(struct client *client)
{
    if (client->fd < 0)
        return;
    size_t step = client->step && client->step < client->send_len ? client->step : client->send_len;
    if (step > 0) {
        ssize_t n = __real_send(client->fd, client->to_send, step, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            client->to_send += n;
            client->send_len -= (size_t)n;
        }
        if (client->send_len == 0 && client->half_close)
            shutdown(client->fd, SHUT_WR);
    }
    ssize_t got;
    while ((got = __real_recv(client->fd, client->got + client->len,
                              sizeof(client->got) - 1 - client->len, MSG_DONTWAIT)) > 0)
        client->len += (size_t)got;
    client->got[client->len] = '\0';
    if (got == 0 || (got < 0 && errno != EAGAIN))
        client->ended = true;
    bool satisfied = client->want > 0 && count_answers(client) >= client->want;
    if (client->ended || satisfied) {
        close(client->fd);
        client->fd = -1;
        client->ended = true;
    }
}

/* Plays until the client has left and the worker has noticed; then nothing would wake the worker.
 */
static void *before_wait(void *context)
{
    struct site *played = context;
    client_play(&played->client);
    if (played->kept || (played->client.ended && worker_connections(played->worker) == 0))
        worker_stop(played->worker);
    return NULL;
}

static bool after_wait(void *context)
{
    struct site *played = context;
    client_play(&played->client);
    return --played->client.turns >= 0;
}

static void release(void *object)
{
    ++*(int *)object;
}

static void answer(struct exchange *exchange, int status, struct slice body, int64_t length)
{
    struct response_fields facts = {0};
    exchange_send_head(exchange, status, SLICE("Fine"), NULL, 0, &facts, length);
    exchange_send(exchange, body, (struct lender){0});
    exchange_finish(exchange);
}

/* Read all of the body, waiting for it. */
static void read_body(struct site *played, struct exchange *exchange)
{
    for (;;) {
        ssize_t n = exchange_read(exchange, played->body + played->body_len,
                                  sizeof(played->body) - played->body_len);
        if (n == -EAGAIN)
            n = worker_wait(played->worker, exchange, WORKER_WAIT_READABLE) == 0 ? 1 : -EPIPE;
        else if (n > 0)
            played->body_len += (size_t)n;
        if (n <= 0) {
            played->read_error = (int)n;
            return;
        }
    }
}

static char piece[30000];

/* Pieces of a stream until the client must take some. */
static void stream(struct site *played, struct exchange *exchange)
{
    while (played->left > 0) {
        struct lender lender = {release, &played->released};
        played->left--;
        if (exchange_send(exchange, slice_of(piece, sizeof(piece)), lender) < 0)
            played->left = 0;
        exchange_flush(exchange);
        if (exchange_pending(exchange) > 0)
            return;
    }
    exchange_finish(exchange);
}

/* A file that has become shorter since its size was asked for: finished, or flushed before that, or
 * kept to go on with. */
static void send_file(struct site *played, struct exchange *exchange, struct slice path)
{
    struct response_fields facts = {0};
    int64_t length = slice_equal(path, SLICE("/file-unsaid")) ? -1 : 100;
    exchange_send_head(exchange, 200, SLICE("Fine"), NULL, 0, &facts, length);
    exchange_send_file(exchange, played->file, 0, 90, (struct lender){release, &played->released});
    if (slice_equal(path, SLICE("/file-kept")))
        return;
    if (slice_equal(path, SLICE("/file-flushed")))
        played->flushed = exchange_flush(exchange);
    exchange_send(exchange, SLICE("ten bytes."), (struct lender){0});
    exchange_finish(exchange);
}

#define LONG_FIELD "Overwriting: what there was before, to the end of it and beyond that, too\r\n"

/* The connection ends, and another one is read: then the head is looked at. */
static void outlive_connection(struct site *played, struct exchange *exchange)
{
    const struct request_head *head = exchange_head(exchange);
    const struct slice other = SLICE("GET / HTTP/1.1\r\n" LONG_FIELD LONG_FIELD "Host: b\r\n\r\n");
    struct response_fields facts = {0};
    exchange_send_head(exchange, 200, SLICE("Fine"), NULL, 0, &facts, 5);
    played->streams[0].fail = ECONNRESET;
    assert_int_equal(exchange_flush(exchange), -EPIPE);
    assert_int_equal(buffer_append(&played->streams[1].in, other), 0);
    connection_on_ready(&played->beside->watch, LOOP_READABLE);
    assert_true(slice_equal(head->path, SLICE("/outlive")));
    assert_int_equal(head->field_count, 1);
    assert_true(slice_equal(head->fields[0].name, SLICE("Host")));
    assert_true(slice_equal(head->fields[0].value, SLICE("a")));
    exchange_finish(exchange);
}

static void on_request(void *context, struct exchange *exchange)
{
    struct site *played = context;
    struct slice path = exchange_head(exchange)->path;
    struct response_fields facts = {0};
    played->requests++;
    if (slice_equal(path, SLICE("/body"))) {
        read_body(played, exchange);
        answer(exchange, played->read_error ? 500 : 200, slice_of(played->body, played->body_len),
               -1);
    } else if (slice_equal(path, SLICE("/stream"))) {
        exchange_send_head(exchange, 200, SLICE("Fine"), NULL, 0, &facts, -1);
        played->left = 100;
        stream(played, exchange);
    } else if (slice_equal(path, SLICE("/refuse"))) {
        exchange_refuse(exchange, HTTP_INTERNAL_ERROR);
    } else if (slice_equal(path, SLICE("/abort"))) {
        exchange_send_head(exchange, 200, SLICE("Fine"), NULL, 0, &facts, -1);
        exchange_send(exchange, SLICE("part"), (struct lender){0});
        exchange_abort(exchange);
    } else if (slice_equal(path, SLICE("/short"))) {
        exchange_send_head(exchange, 200, SLICE("Fine"), NULL, 0, &facts, 10);
        exchange_send(exchange, SLICE("part"), (struct lender){0});
        exchange_finish(exchange);
    } else if (slice_equal(path, SLICE("/no-length"))) {
        answer(exchange, 200, SLICE("hello"), -1);
    } else if (slice_equal(path, SLICE("/unchanged"))) {
        answer(exchange, 304, SLICE(""), 0);
    } else if (slice_equal(path, SLICE("/unchanged-length"))) {
        facts = (struct response_fields){.has_content_length = true, .content_length = 5};
        exchange_send_head(exchange, 304, SLICE("Fine"), NULL, 0, &facts, -1);
        exchange_finish(exchange);
    } else if (slice_equal(path, SLICE("/keep"))) {
        played->kept = exchange;
    } else if (path.len >= 5 && memcmp(path.data, "/file", 5) == 0) {
        send_file(played, exchange, path);
    } else if (slice_equal(path, SLICE("/outlive"))) {
        outlive_connection(played, exchange);
    } else {
        answer(exchange, 200, SLICE("hello"), 5);
    }
}

static void on_writable(void *context, struct exchange *exchange)
{
    struct site *played = context;
    played->writables++;
    stream(played, exchange);
}

static void on_abort(void *context, struct exchange *exchange)
{
    struct site *played = context;
    (void)exchange;
    played->aborts++;
}

static struct site site;
static struct limits test_limits;
static enum persistence test_persistence;

/* One client's visit to a new worker. Returns what worker_run did, or an earlier failure. */
static int visit(const char *request, size_t len)
{
    struct worker_config config = {.limits = test_limits,
                                   .handler = {on_request, on_writable, on_abort, &site},
                                   .access_log_fd = -1,
                                   .persistence = test_persistence,
                                   .unlock = before_wait,
                                   .check = after_wait,
                                   .context = &site};
    struct address peer;
    int pair[2];
    struct error err = {0};
    site.requests = site.aborts = site.writables = site.left = site.read_error = 0;
    site.released = 0;
    site.body_len = site.client.len = 0;
    site.client.got[0] = '\0';
    site.kept = NULL;
    site.client.ended = false;
    site.client.to_send = request;
    site.client.send_len = len;
    if (site.client.turns == 0)
        site.client.turns = 20000;
    assert_int_equal(address_parse(&peer, "127.0.0.1:1", NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    site.client.fd = pair[0];
    int result = worker_new(&site.worker, &config, &err);
    if (result < 0) {
        assert_string_not_equal(err.text, "");
        close(pair[1]);
    } else {
        result = worker_adopt(site.worker, pair[1], &peer);
        if (result == 0)
            result = worker_run(site.worker, &err);
        worker_free(site.worker);
    }
    if (site.client.fd >= 0) {
        ssize_t got;
        while ((got = __real_recv(site.client.fd, site.client.got + site.client.len,
                                  sizeof(site.client.got) - 1 - site.client.len, 0)) > 0)
            site.client.len += (size_t)got;
        site.client.got[site.client.len] = '\0';
        close(site.client.fd);
    }
    return result;
}

static int setup(void **state)
{
    (void)state;
    memset(&site.client, 0, sizeof(site.client));
    test_limits = limits_default;
    test_persistence = PERSISTENCE_ALWAYS;
    test_limits.head_ms = test_limits.body_ms = test_limits.send_ms = 100;
    test_limits.keep_alive_ms = test_limits.linger_ms = 100;
    test_limits.graceful_ms = 50;
    fault_kinds = fault_at = 0;
    memset(piece, 'p', sizeof(piece));
    return 0;
}

#define VISIT(request) visit(request, sizeof(request) - 1)
#define HELLO          "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

static void assert_got(const char *text)
{
    if (!strstr(site.client.got, text))
        fail_msg("no %s in: %.300s", text, site.client.got);
}

static void test_a_request_is_answered(void **state)
{
    (void)state;
    site.client.want = 1;
    assert_int_equal(VISIT(HELLO), 0);
    assert_int_equal(site.requests, 1);
    assert_got("HTTP/1.1 200 Fine\r\nServer: zolal\r\nDate: ");
    assert_got("Content-Length: 5\r\n\r\nhello");
}

/* However the bytes are cut, the answers are the same. */
static void test_any_segmentation(void **state)
{
    static const char requests[] =
        HELLO "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n"
              "1234567" HELLO "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
              "chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: t\r\n\r\n" HELLO;
    (void)state;
    for (size_t step = 1; step < sizeof(requests); step += step < 40 ? 1 : 37) {
        site.client.step = step;
        site.client.want = 5;
        site.client.turns = 0;
        assert_int_equal(visit(requests, sizeof(requests) - 1), 0);
        assert_int_equal(site.requests, 5);
        assert_int_equal(count_answers(&site.client), 5);
        assert_int_equal(site.body_len, 12);
        assert_memory_equal(site.body, "1234567abcde", 12);
    }
}

static void test_a_body_larger_than_memory_is_spooled(void **state)
{
    static char request[30000];
    int len = snprintf(request, sizeof(request),
                       "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n");
    (void)state;
    for (int i = 0; i < 20000; i++)
        request[len + i] = (char)('a' + i % 26);
    test_limits.body_memory = 1000;
    site.client.step = 700;
    site.client.want = 1;
    assert_int_equal(visit(request, (size_t)len + 20000), 0);
    assert_int_equal(site.requests, 1);
    assert_int_equal(site.body_len, 20000);
    assert_memory_equal(site.body, request + len, 20000);
}

static void test_continue_is_sent_when_the_body_is_read(void **state)
{
    (void)state;
    site.client.half_close = true;
    assert_int_equal(VISIT("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: "
                           "100-continue\r\n\r\n"),
                     0);
    assert_got("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Fine\r\n");
    assert_int_equal(site.read_error, -EPIPE); /* the client left instead */
    assert_int_equal(VISIT("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: "
                           "100-continue\r\n\r\n"),
                     0);
    assert_null(strstr(site.client.got, "100 Continue"));
    assert_got("Connection: close\r\n");
}

static void test_silence_while_the_body_is_awaited(void **state)
{
    (void)state;
    assert_int_equal(VISIT("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: "
                           "100-continue\r\n\r\n"),
                     0);
    assert_got("HTTP/1.1 500 Fine\r\n");
    assert_true(site.read_error < 0);
}

static void test_patience_ends(void **state)
{
    (void)state;
    assert_int_equal(VISIT("GET / HTTP/1.1\r\nHo"), 0);
    assert_got("HTTP/1.1 408 ");
    assert_int_equal(VISIT("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n1"), 0);
    assert_got("HTTP/1.1 408 ");
    assert_int_equal(site.requests, 0);
    assert_int_equal(VISIT(""), 0);
    assert_int_equal(site.client.len, 0); /* closed without a word */
}

/* Which answers leave the connection open for the request behind theirs. */
static void test_persistence_of_an_answer(void **state)
{
    static const struct {
        const char *request;
        bool with_length; /* kept with PERSISTENCE_WITH_LENGTH */
    } rows[] = {
        {"GET / HTTP/1.1", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive", true},
        {"GET /no-length HTTP/1.1", false},
        {"HEAD /no-length HTTP/1.1", true},
        {"GET /unchanged HTTP/1.1", true},
        {"HEAD /unchanged HTTP/1.1", true},
        {"GET /unchanged-length HTTP/1.1", true},
    };
    char request[200];
    (void)state;
    for (size_t i = 0; i < 3 * sizeof(rows) / sizeof(rows[0]); i++) {
        test_persistence = (enum persistence)(i % 3);
        bool kept = test_persistence == PERSISTENCE_ALWAYS ||
                    (test_persistence == PERSISTENCE_WITH_LENGTH && rows[i / 3].with_length);
        int len =
            snprintf(request, sizeof(request), "%s\r\nHost: a\r\n\r\n" HELLO, rows[i / 3].request);
        site.client.want = kept ? 2 : 0;
        assert_int_equal(visit(request, (size_t)len), 0);
        assert_int_equal(site.requests, kept ? 2 : 1);
        assert_int_equal(strstr(site.client.got, "Connection: close\r\n") == NULL, kept);
    }
}

static void test_a_refusal_is_the_last_act(void **state)
{
    (void)state;
    assert_int_equal(VISIT("GET / HTTP/1.1\r\nHost : a\r\n\r\n" HELLO), 0);
    assert_int_equal(site.requests, 0);
    assert_got("HTTP/1.1 400 ");
    assert_got("Connection: close\r\n");
    assert_int_equal(count_answers(&site.client), 1);
    assert_int_equal(VISIT("GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n" HELLO), 0);
    assert_int_equal(site.requests, 1);
    assert_got("HTTP/1.1 500 ");
    assert_int_equal(count_answers(&site.client), 1);
}

/* The last bytes of a connection wait for its end, which follows at once; no others do. */
static void test_the_end_leaves_with_the_last_bytes(void **state)
{
    (void)state;
    assert_int_equal(VISIT("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), 0);
    assert_got("\r\n\r\nhello");
    assert_true(send_flags & MSG_MORE);
    site.client.want = 1;
    assert_int_equal(VISIT(HELLO), 0);
    assert_got("\r\n\r\nhello");
    assert_false(send_flags & MSG_MORE);
}

static void test_a_body_beyond_its_limit(void **state)
{
    (void)state;
    test_limits.request_body = 4;
    assert_int_equal(
        VISIT("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345" HELLO), 0);
    assert_got("HTTP/1.1 413 ");
    assert_int_equal(VISIT("POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"),
                     0);
    assert_got("HTTP/1.1 413 ");
    assert_int_equal(site.requests, 0);
}

static void test_an_incomplete_answer_does_not_look_whole(void **state)
{
    (void)state;
    assert_int_equal(VISIT("GET /abort HTTP/1.1\r\nHost: a\r\n\r\n" HELLO), 0);
    assert_got("4\r\npart\r\n");
    assert_null(strstr(site.client.got, "0\r\n\r\n"));
    assert_int_equal(site.requests, 1);
    assert_int_equal(VISIT("GET /short HTTP/1.1\r\nHost: a\r\n\r\n" HELLO), 0);
    assert_got("Content-Length: 10\r\n");
    assert_int_equal(site.requests, 1);
}

static void test_a_stream_waits_for_its_client(void **state)
{
    (void)state;
    /* The client reads 64 KiB and then no more: the kernel's buffers fill, the handler has to wait.
     */
    assert_int_equal(VISIT("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
    assert_int_equal(site.aborts, 1); /* send_ms */
    assert_true(site.left > 0);
    assert_int_equal(site.released, 100 - site.left);
}

static void test_a_kept_exchange_is_aborted_when_the_worker_ends(void **state)
{
    (void)state;
    assert_int_equal(VISIT("GET /keep HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
    assert_non_null(site.kept);
    assert_int_equal(site.aborts, 1);
}

/* A worker whose loop nobody turns. */
static void begin_without_loop(void)
{
    struct worker_config config = {.limits = test_limits,
                                   .handler = {on_request, on_writable, on_abort, &site},
                                   .access_log_fd = -1,
                                   .context = &site};
    struct error err = {0};
    assert_int_equal(worker_new(&site.worker, &config, &err), 0);
    site.requests = site.aborts = site.released = site.flushed = 0;
    site.kept = NULL;
}

/* Its new connection, on which these requests have come. */
static struct connection *connect_in_memory(struct memory_stream *memory, struct slice requests)
{
    struct address peer;
    assert_int_equal(address_parse(&peer, "127.0.0.1:1", NULL), 0);
    memory_stream_init(memory, 10000);
    assert_int_equal(buffer_append(&memory->in, requests), 0);
    struct connection *connection = connection_open_stream(site.worker, &memory->stream, &peer);
    connection_on_ready(&connection->watch, LOOP_READABLE);
    return connection;
}

/* What an aborted exchange was does not meet the next connection, whose request is refused. */
static void test_a_spare_exchange_is_as_new(void **state)
{
    (void)state;
    begin_without_loop();
    for (int i = 0; i < 4; i++) {
        struct memory_stream memory;
        struct slice request =
            i % 2 == 0 ? SLICE("GET /keep HTTP/1.1\r\nHost: a\r\n\r\n") : SLICE("nonsense\r\n\r\n");
        connection_close(connect_in_memory(&memory, request));
        worker_serve(site.worker, NULL);
        memory_stream_release(&memory);
    }
    assert_int_equal(site.aborts, 2);
    worker_free(site.worker);
}

static void test_a_head_outlives_its_connection_while_its_handler_runs(void **state)
{
    (void)state;
    begin_without_loop();
    site.beside = connect_in_memory(&site.streams[1], SLICE(""));
    connect_in_memory(&site.streams[0], SLICE("GET /outlive HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_true(site.streams[0].closed);
    worker_serve(site.worker, NULL);
    assert_int_equal(site.requests, 2);
    worker_free(site.worker);
    memory_stream_release(&site.streams[0]);
    memory_stream_release(&site.streams[1]);
}

#define FILE_HEAD "Content-Length: 100\r\n\r\n"

/* The client has got the first answer, and what there was of a file of ten bytes; then our end. */
static void assert_fell_short(struct memory_stream *memory, const char *head_end)
{
    struct slice out = buffer_slice(&memory->out);
    assert_int_equal(buffer_append(&memory->out, slice_of("", 1)), 0);
    const char *hello = strstr(out.data, "\r\n\r\nhello");
    assert_non_null(hello);
    const char *file = strstr(hello, head_end);
    assert_non_null(file);
    assert_string_equal(file + strlen(head_end), "ten bytes!");
    assert_int_equal(site.released, 1);
    assert_true(memory->out_ended);
    assert_false(memory->closed);
}

/* It may still send, and then ends the connection. */
static void assert_ends_with_client(struct memory_stream *memory, struct connection *connection)
{
    int requests = site.requests;
    assert_int_equal(buffer_append(&memory->in, SLICE(HELLO)), 0);
    connection_on_ready(&connection->watch, LOOP_READABLE);
    worker_serve(site.worker, NULL);
    assert_false(memory->closed);
    memory->in_ended = true;
    connection_on_ready(&connection->watch, LOOP_READABLE | LOOP_PEER_ENDED);
    assert_true(memory->closed);
    assert_false(memory->was_reset);
    assert_int_equal(site.requests, requests);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

/* `batches`: replies wait for the turn's end, else for the next call. */
static void check_file(struct slice requests, bool batches, const char *head_end)
{
    struct memory_stream memory;
    begin_without_loop();
    site.worker->batch_ticks = batches ? UINT64_MAX : 0;
    struct connection *connection = connect_in_memory(&memory, requests);
    worker_flush(site.worker);
    assert_fell_short(&memory, head_end);
    assert_ends_with_client(&memory, connection);
    worker_free(site.worker);
    memory_stream_release(&memory);
}

static void test_a_file_that_becomes_shorter_cuts_its_answer_alone(void **state)
{
    FILE *file = tmpfile();
    (void)state;
    fputs("ten bytes!", file);
    fflush(file);
    site.file = fileno(file);
    check_file(SLICE(HELLO GET("/file") HELLO), true, FILE_HEAD);
    assert_int_equal(site.requests, 3);
    check_file(SLICE(HELLO GET("/file") HELLO), false, FILE_HEAD);
    assert_int_equal(site.requests, 2);
    check_file(SLICE(HELLO GET("/file") "GET / HTT"), true, FILE_HEAD);
    check_file(SLICE(HELLO GET("/file-unsaid") HELLO), true, "chunked\r\n\r\n5a\r\n");
    check_file(SLICE(HELLO GET("/file-flushed") HELLO), true, FILE_HEAD);
    assert_int_equal(site.flushed, -EPIPE);
    assert_int_equal(site.requests, 2);
    check_file(SLICE(HELLO GET("/file-kept") HELLO), true, FILE_HEAD);
    assert_int_equal(site.aborts, 1);
    check_file(SLICE(HELLO GET("/file") GET("/keep")), true, FILE_HEAD);
    assert_int_equal(site.aborts, 1);
    fclose(file);
}

/* The next request waits for the handler meanwhile. */
static void test_a_file_that_becomes_shorter_before_a_ready_request(void **state)
{
    struct memory_stream memory;
    FILE *file = tmpfile();
    (void)state;
    fputs("ten bytes!", file);
    fflush(file);
    site.file = fileno(file);
    begin_without_loop();
    site.worker->batch_ticks = UINT64_MAX;
    struct connection *connection = connect_in_memory(&memory, SLICE(HELLO GET("/file")));
    site.worker->handler_busy = true;
    assert_int_equal(buffer_append(&memory.in, SLICE(HELLO)), 0);
    connection_on_ready(&connection->watch, LOOP_READABLE);
    assert_int_equal(connection->state, CONNECTION_READY);
    worker_flush(site.worker);
    site.worker->handler_busy = false;
    worker_serve(site.worker, NULL);
    assert_int_equal(site.requests, 2);
    assert_fell_short(&memory, FILE_HEAD);
    assert_ends_with_client(&memory, connection);
    worker_free(site.worker);
    memory_stream_release(&memory);
    fclose(file);
}

/* Only a reset says that an answer is not whole whose end is the connection's. */
static void test_a_file_that_becomes_shorter_where_the_end_says_its_length(void **state)
{
    struct memory_stream memory;
    FILE *file = tmpfile();
    (void)state;
    site.file = fileno(file);
    begin_without_loop();
    connect_in_memory(&memory, SLICE("GET /file-unsaid HTTP/1.0\r\n\r\n"));
    worker_flush(site.worker);
    assert_true(memory.was_reset);
    worker_free(site.worker);
    memory_stream_release(&memory);
    fclose(file);
}

static const char *const fault_visits[] = {
    HELLO HELLO,
    "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
    "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" HELLO,
    "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /abort HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nbad\r\n\r\n",
};

/* The Nth call of a kind fails, N = 1, 2, ... until none did: no crash, no leak, no descriptor
 * left, and no answer that is not one of ours. */
static void run_faults(int kinds, int code, size_t step)
{
    int before = descriptors_open();
    for (size_t i = 0; i < sizeof(fault_visits) / sizeof(fault_visits[0]); i++) {
        for (int n = 1;; n++) {
            assert_true(n < 2000);
            site.client.step = step;
            site.client.turns = 400;
            site.client.half_close = true;
            fault_kinds = kinds;
            fault_code = code;
            fault_at = n;
            visit(fault_visits[i], strlen(fault_visits[i]));
            bool happened = fault_at <= 0;
            fault_kinds = fault_at = 0;
            assert_int_equal(descriptors_open(), before);
            if (site.client.len > 0)
                assert_memory_equal(site.client.got, "HTTP/1.1 ", 9);
            if (!happened)
                break;
        }
    }
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    run_faults(FAULT_MEMORY, ENOMEM, 0);
    run_faults(FAULT_MEMORY, ENOMEM, 11);
}

static void test_every_system_call_fails_once(void **state)
{
    static const int codes[] = {EINTR, EAGAIN, ECONNRESET};
    (void)state;
    test_limits.head_ms = test_limits.body_ms = test_limits.send_ms = 20;
    test_limits.keep_alive_ms = test_limits.linger_ms = 20;
    run_faults(FAULT_RECV, ECONNRESET, 0);
    run_faults(FAULT_RECV, EINTR, 0);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        run_faults(FAULT_SEND, codes[i], 0);
    run_faults(FAULT_EPOLL_CTL, ENOSPC, 0);
    run_faults(FAULT_EPOLL_WAIT, EINTR, 0);
    run_faults(FAULT_EPOLL_WAIT, EBADF, 0);
}

static int messages;

static void on_message(void *context, const char *text)
{
    (void)context;
    (void)text;
    messages++;
}

/* A client that connects to a listener and talks to it around the worker's waits. */
static int listen_and_visit(struct worker_config *config)
{
    struct error err = {0};
    struct listener_options options = {.backlog = 8};
    struct address addr;
    struct worker *worker;
    assert_int_equal(address_parse(&addr, "127.0.0.1:0", NULL), 0);
    int fd = listener_open(&addr, &options, &err);
    assert_true(fd >= 0);
    assert_int_equal(worker_new(&worker, config, &err), 0);
    assert_int_equal(worker_listen(worker, fd, &addr, &err), 0);
    site.worker = worker;
    site.client.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(site.client.fd, &addr.sa, addr.len), 0);
    site.client.to_send = HELLO;
    site.client.send_len = sizeof(HELLO) - 1;
    site.client.want = 1;
    site.client.turns = 1000;
    site.requests = 0;
    int result = worker_run(worker, &err);
    worker_free(worker);
    return result;
}

/* Whether who is in the queue at a stop is answered before it, or left to who serves next. */
static unsigned answered_at_a_stop(bool leave_queue)
{
    struct worker_config config = {.limits = test_limits,
                                   .handler = {on_request, on_writable, on_abort, &site},
                                   .access_log_fd = -1};
    struct error err = {0};
    struct listener_options options = {.backlog = 8};
    struct address addr;
    struct worker *worker;
    assert_int_equal(address_parse(&addr, "127.0.0.1:0", NULL), 0);
    int fd = listener_open(&addr, &options, &err);
    int own_fd = dup(fd);
    assert_int_equal(worker_new(&worker, &config, &err), 0);
    assert_int_equal(worker_listener_fd(worker, 0), -1);
    assert_int_equal(worker_listen_adopted(worker, own_fd, &addr, leave_queue, &err), 0);
    assert_int_equal(worker_listener_fd(worker, 0), own_fd);
    assert_int_equal(worker_listener_fd(worker, 1), -1);
    site.worker = worker;
    site.requests = 0;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, &addr.sa, addr.len), 0);
    assert_int_equal(send(client, HELLO, sizeof(HELLO) - 1, 0), sizeof(HELLO) - 1);
    worker_stop(worker);
    assert_int_equal(worker_run(worker, &err), 0);
    worker_free(worker);
    int left = accept(fd, NULL, NULL);
    assert_true((left >= 0) == leave_queue);
    if (left >= 0)
        close(left);
    close(client);
    close(fd);
    return (unsigned)site.requests;
}

static void test_a_queue_can_be_left_to_who_serves_next(void **state)
{
    (void)state;
    assert_int_equal(answered_at_a_stop(false), 1);
    assert_int_equal(answered_at_a_stop(true), 0);
}

/* A worker that is stopped in its second wait, and when its client sends: before and after which
 * wait. What is sent before one is reported by it, what is sent after it is in the kernel alone. */
static struct {
    int fd, waits, before, after;
    bool has_body; /* that comes a wait later than its head */
} late;

#define LATE_HEAD "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n1"

static void *late_before_wait(void *context)
{
    (void)context;
    if (++late.waits == late.before)
        send(late.fd, HELLO, sizeof(HELLO) - 1, 0);
    if (late.has_body && late.waits == 3)
        send(late.fd, LATE_HEAD, sizeof(LATE_HEAD) - 1, 0);
    if (late.has_body && late.waits == 4)
        send(late.fd, "23", 2, 0);
    if (late.waits == 2)
        worker_stop(site.worker);
    return NULL;
}

static bool late_after_wait(void *context)
{
    (void)context;
    if (late.waits == late.after)
        send(late.fd, HELLO, sizeof(HELLO) - 1, 0);
    return true;
}

/* How many requests are answered; never with a reset. */
static int late_visit(int before, int after, bool has_body)
{
    struct worker_config config = {.limits = test_limits,
                                   .handler = {on_request, on_writable, on_abort, &site},
                                   .access_log_fd = -1,
                                   .unlock = late_before_wait,
                                   .check = late_after_wait};
    struct address peer;
    struct error err = {0};
    char text[2000];
    int pair[2];
    config.limits.graceful_ms = config.limits.head_ms = config.limits.keep_alive_ms = 0;
    config.limits.body_ms = 0;
    assert_int_equal(address_parse(&peer, "127.0.0.1:1", NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(worker_new(&site.worker, &config, &err), 0);
    late = (typeof(late)){.fd = pair[0], .before = before, .after = after, .has_body = has_body};
    site.requests = 0;
    assert_int_equal(worker_adopt(site.worker, pair[1], &peer), 0);
    assert_int_equal(worker_run(site.worker, &err), 0);
    worker_free(site.worker);
    ssize_t got;
    while ((got = __real_recv(pair[0], text, sizeof(text), 0)) > 0)
        continue;
    assert_int_equal(got, 0);
    close(pair[0]);
    return site.requests;
}

static void test_a_request_that_crosses_a_stop_is_answered(void **state)
{
    (void)state;
    assert_int_equal(late_visit(3, 0, false), 1); /* the first of its connection */
    assert_int_equal(late_visit(1, 2, false), 2); /* a connection that was kept */
    assert_int_equal(late_visit(1, 0, false), 1); /* the same, without another */
    assert_int_equal(late_visit(1, 0, true), 2);  /* its last look meets a request under way */
    assert_int_equal(late_visit(0, 0, false), 0); /* who never asks does not stop the stop */
}

static void test_running_out_of_descriptors_passes(void **state)
{
    struct worker_config config = {.limits = test_limits,
                                   .handler = {on_request, on_writable, on_abort, &site},
                                   .access_log_fd = -1,
                                   .unlock = before_wait,
                                   .check = after_wait,
                                   .on_message = on_message,
                                   .context = &site};
    static const int codes[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    (void)state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        messages = 0;
        fault_kinds = FAULT_ACCEPT;
        fault_at = 1;
        fault_code = codes[i];
        assert_int_equal(listen_and_visit(&config), 0);
        assert_int_equal(messages, 1);      /* said once */
        assert_int_equal(site.requests, 1); /* and the client was served afterwards */
    }
    messages = 0;
    fault_at = 1;
    fault_code = ECONNABORTED;
    assert_int_equal(listen_and_visit(&config), 0);
    assert_int_equal(messages, 0);
    assert_int_equal(site.requests, 1);
}

static void test_a_server_name_that_cannot_be_sent(void **state)
{
    struct worker_config config = {.limits = test_limits, .access_log_fd = -1, .server = "a\r\nb"};
    struct worker *worker;
    struct error err = {0};
    (void)state;
    assert_int_equal(worker_new(&worker, &config, &err), -EINVAL);
    assert_non_null(strstr(err.text, "field value"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_request_is_answered, setup),
        cmocka_unit_test_setup(test_any_segmentation, setup),
        cmocka_unit_test_setup(test_a_body_larger_than_memory_is_spooled, setup),
        cmocka_unit_test_setup(test_continue_is_sent_when_the_body_is_read, setup),
        cmocka_unit_test_setup(test_silence_while_the_body_is_awaited, setup),
        cmocka_unit_test_setup(test_patience_ends, setup),
        cmocka_unit_test_setup(test_persistence_of_an_answer, setup),
        cmocka_unit_test_setup(test_a_refusal_is_the_last_act, setup),
        cmocka_unit_test_setup(test_the_end_leaves_with_the_last_bytes, setup),
        cmocka_unit_test_setup(test_a_body_beyond_its_limit, setup),
        cmocka_unit_test_setup(test_an_incomplete_answer_does_not_look_whole, setup),
        cmocka_unit_test_setup(test_a_stream_waits_for_its_client, setup),
        cmocka_unit_test_setup(test_a_kept_exchange_is_aborted_when_the_worker_ends, setup),
        cmocka_unit_test_setup(test_a_spare_exchange_is_as_new, setup),
        cmocka_unit_test_setup(test_a_head_outlives_its_connection_while_its_handler_runs, setup),
        cmocka_unit_test_setup(test_a_file_that_becomes_shorter_cuts_its_answer_alone, setup),
        cmocka_unit_test_setup(test_a_file_that_becomes_shorter_before_a_ready_request, setup),
        cmocka_unit_test_setup(test_a_file_that_becomes_shorter_where_the_end_says_its_length,
                               setup),
        cmocka_unit_test_setup(test_every_allocation_fails_once, setup),
        cmocka_unit_test_setup(test_every_system_call_fails_once, setup),
        cmocka_unit_test_setup(test_a_queue_can_be_left_to_who_serves_next, setup),
        cmocka_unit_test_setup(test_a_request_that_crosses_a_stop_is_answered, setup),
        cmocka_unit_test_setup(test_running_out_of_descriptors_passes, setup),
        cmocka_unit_test_setup(test_a_server_name_that_cannot_be_sent, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
