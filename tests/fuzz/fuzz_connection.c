/* A whole connection: arbitrary bytes, cut anywhere, through the real states over a stream in
 * memory that takes little at a time and fails now and then. Whatever comes: each request that
 * reaches the handler ends once, what was lent is given back, and nothing follows an answer that
 * said "Connection: close". */
#include "pieces.h"

#include <errno.h>

#include "server/exchange_state.h"
#include "server/output.h"
#include "server/worker_state.h"

#define OUT_MAX (8u << 20)

/* The site that is asked: its worker lives for the whole run. */
static struct site {
    struct worker *worker;
    int begun;
    int ended;
    int lent;
    struct exchange *kept;
} site;

static char large[6000];

static void give_back(void *object)
{
    (*(int *)object)--;
}

static void send_some(struct exchange *exchange, struct slice data)
{
    if (data.len > exchange_room(exchange))
        data.len = (size_t)exchange_room(exchange);
    if (exchange_send(exchange, data, (struct lender){give_back, &site.lent}) == EXCHANGE_KEPT)
        site.lent++;
}

static void finish(struct exchange *exchange)
{
    site.ended++;
    site.kept = NULL;
    exchange_finish(exchange);
}

/* Read what is here; an error or the end is as good as any other answer. */
static void read_some(struct exchange *exchange)
{
    char data[100];
    while (exchange_read(exchange, data, sizeof(data)) > 0)
        continue;
}

static void send_head(struct exchange *exchange, int status, int64_t length)
{
    struct response_fields facts = {0};
    exchange_send_head(exchange, status, SLICE("Fine"), NULL, 0, &facts, length);
}

/* What to do is in the path: "/r" reads, "/s" streams, ... */
static void on_request(void *context, struct exchange *exchange)
{
    struct slice path = exchange_head(exchange)->path;
    char what = path.len > 1 ? path.data[1] : 'h';
    (void)context;
    site.begun++;
    if (what == 'r')
        read_some(exchange);
    if (what == 'x') {
        site.ended++;
        exchange_refuse(exchange, HTTP_INTERNAL_ERROR);
        return;
    }
    send_head(exchange, what == 'n' ? 204 : 200, what == 's' || what == 'a' ? -1 : 6000);
    send_some(exchange, SLICE("some"));
    if (what == 'k' && !site.kept) {
        site.kept = exchange;
        return;
    }
    if (what == 'a') {
        site.ended++;
        exchange_abort(exchange);
        return;
    }
    if (what == 'f')
        exchange_flush(exchange);
    send_some(exchange, slice_of(large, sizeof(large)));
    finish(exchange);
}

static void on_writable(void *context, struct exchange *exchange)
{
    (void)context;
    send_some(exchange, SLICE("more"));
    finish(exchange);
}

static void on_abort(void *context, struct exchange *exchange)
{
    (void)context;
    (void)exchange;
    site.ended++;
    site.kept = NULL;
}

/* Small limits, so that they are reached. */
static void start(void)
{
    struct error err;
    struct worker_config config = {.limits = limits_default,
                                   .handler = {on_request, on_writable, on_abort, NULL},
                                   .access_log_fd = -1};
    config.limits.request_line = 200;
    config.limits.request_field_size = 200;
    config.limits.request_fields = 10;
    config.limits.request_head = 600;
    config.limits.request_body = 2000;
    config.limits.body_memory = 300;
    config.limits.output_pending = 1000;
    memset(large, 'L', sizeof(large));
    CHECK(worker_new(&site.worker, &config, &err) == 0);
}

static bool is_open(void)
{
    return !list_is_empty(&site.worker->connections);
}

/* How the stream behaves next. */
static void set_mood(struct memory_stream *memory, uint32_t mood)
{
    static const int failures[] = {ECONNRESET, EPIPE, EINTR, EAGAIN};
    memory->recv_limit = mood & 1 ? 1 + (mood >> 8) % 50 : 0;
    memory->send_limit = mood & 2 ? (mood >> 16) % 700 : SIZE_MAX;
    memory->fail = (mood & 0xfc) == 0 ? failures[(mood >> 24) % 4] : 0;
}

static void serve(struct connection *connection, uint32_t ready)
{
    if (is_open())
        connection_on_ready(&connection->watch, ready);
    worker_serve(site.worker, NULL);
    worker_serve(site.worker, NULL);
}

static void check_output(const struct memory_stream *memory)
{
    struct slice out = buffer_slice(&memory->out);
    static const char close_line[] = "Connection: close\r\n", head[] = "HTTP/1.1 ";
    if (out.len == 0)
        return;
    CHECK(out.len < sizeof(head) || memcmp(out.data, head, sizeof(head) - 1) == 0);
    const char *last = memmem(out.data, out.len, close_line, sizeof(close_line) - 1);
    if (last)
        CHECK(!memmem(last, (size_t)(out.data + out.len - last), head, sizeof(head) - 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory_stream memory;
    struct address peer = {0};
    if (size == 0)
        return 0;
    if (!site.worker)
        start();
    uint32_t seed = data[0];
    site.begun = site.ended = site.lent = 0;
    memory_stream_init(&memory, OUT_MAX);
    struct connection *connection = connection_open_stream(site.worker, &memory.stream, &peer);
    CHECK(connection);
    for (size_t at = 1; at < size;) {
        size_t len = next_piece(&seed);
        len = len < size - at ? len : size - at;
        CHECK(buffer_append(&memory.in, slice_of((const char *)data + at, len)) == 0);
        at += len;
        set_mood(&memory, data[0] & 0x80 ? (uint32_t)(at * 2654435761u) ^ seed : 4);
        serve(connection, LOOP_READABLE | LOOP_WRITABLE);
    }
    set_mood(&memory, 4);
    serve(connection, LOOP_READABLE | LOOP_WRITABLE);
    memory.in_ended = true;
    serve(connection, LOOP_READABLE | LOOP_WRITABLE | LOOP_PEER_ENDED);
    check_output(&memory);
    if (is_open())
        connection_close(connection);
    worker_serve(site.worker, NULL);
    CHECK(site.begun == site.ended && site.lent == 0 && memory.closed);
    memory_stream_release(&memory);
    return 0;
}
