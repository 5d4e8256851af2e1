#include "server/connection.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "http/response_head.h"
#include "server/exchange_state.h"
#include "server/output.h"
#include "server/worker_state.h"
#include "socket/kernel.h"
#include "trace/recorder.h"

#define LINGER_BYTES_MAX (4u << 20)
#define OUTPUTS_SPARE    64

#define TO(state) (1u << CONNECTION_##state)

/* The life of a connection as data: what may follow, whose patience counts. Every state may end in
 * CLOSED. What wakes a state is what its patience waits for: WRITE and a blocked RUN wake when the
 * socket is writable, the others when it is readable; one edge-triggered registration reports both.
 */
static const struct {
    unsigned next;
    enum patience patience;
} connection_states[CONNECTION_STATE_COUNT] = {
    [CONNECTION_NEW] = {TO(IDLE), PATIENCE_NONE},
    [CONNECTION_IDLE] = {TO(READ_HEAD) | TO(READ_BODY) | TO(READY) | TO(RUN) | TO(WRITE),
                         PATIENCE_KEEP_ALIVE},
    [CONNECTION_READ_HEAD] = {TO(READ_BODY) | TO(READY) | TO(RUN) | TO(WRITE), PATIENCE_HEAD},
    [CONNECTION_READ_BODY] = {TO(READY) | TO(RUN) | TO(WRITE), PATIENCE_BODY},
    [CONNECTION_READY] = {TO(RUN), PATIENCE_NONE},
    [CONNECTION_RUN] = {TO(IDLE) | TO(WRITE), PATIENCE_NONE},
    [CONNECTION_WRITE] = {TO(IDLE) | TO(LINGER), PATIENCE_SEND},
    [CONNECTION_LINGER] = {0, PATIENCE_LINGER},
    [CONNECTION_CLOSED] = {0, PATIENCE_NONE},
};

void connection_start_patience(struct connection *connection)
{
    struct worker *worker = connection->worker;
    enum patience patience =
        connection->blocked ? PATIENCE_SEND : connection_states[connection->state].patience;
    if (patience == PATIENCE_NONE && connection->exchange && connection->exchange->awaits_body)
        patience = PATIENCE_BODY;
    if (worker->handler_busy)
        loop_update_time(&worker->loop); /* the application has taken its time since */
    if (patience == PATIENCE_KEEP_ALIVE && !connection->has_asked)
        patience = PATIENCE_HEAD; /* a client that has connected and says nothing */
    if (patience == PATIENCE_NONE)
        timer_stop(&connection->timer);
    else
        timer_start(&worker->patience[patience], &connection->timer, worker->loop.now_ms);
}

void connection_enter(struct connection *connection, enum connection_state state)
{
    unsigned allowed = connection_states[connection->state].next | TO(CLOSED);
    assert(allowed & (1u << state));
    (void)allowed;
    trace_subject(connection->id, connection->request);
    trace_state(connection->state, state);
    connection->state = (uint8_t)state;
    connection_start_patience(connection);
}

/* Wait for the next request. */
static void connection_enter_idle(struct connection *connection)
{
    connection->request = ++connection->worker->request_ids;
    connection->blank = 0;
    connection_enter(connection, CONNECTION_IDLE);
    if (connection->input.len == 0 && connection->kept.capacity > 0)
        buffer_release(&connection->kept);
}

/* A connection without a stream, in state NEW; NULL without memory. */
static struct connection *connection_new(struct worker *worker, const struct address *peer)
{
    struct connection *connection = memory_new(sizeof(*connection));
    if (!connection)
        return NULL;
    connection->worker = worker;
    connection->watch = (struct loop_watch){.fd = -1, .on_ready = connection_on_ready};
    list_init(&connection->node);
    list_init(&connection->dirty);
    list_init(&connection->again);
    timer_init(&connection->timer);
    buffer_init(&connection->kept,
                (size_t)worker->config.limits.request_head + WORKER_RECEIVE_SIZE);
    connection->peer = *peer;
    connection->id = ++worker->connection_ids;
    connection->forks = worker->forks;
    return connection;
}

/* Its stream is there: count it and wait for its first request. */
static void connection_begin(struct connection *connection)
{
    struct worker *worker = connection->worker;
    list_append(&worker->connections, &connection->node);
    worker->connection_count++;
    connection_enter_idle(connection);
}

int connection_open(struct worker *worker, int fd, const struct address *peer, unsigned listener)
{
    struct connection *connection = connection_new(worker, peer);
    if (!connection) {
        kernel_close(fd);
        return -ENOMEM;
    }
    stream_init_socket(&connection->socket, fd);
    connection->stream = &connection->socket;
    connection->watch.fd = fd;
    connection->listener = (uint16_t)listener;
    int result = loop_add(&worker->loop, &connection->watch,
                          LOOP_READABLE | LOOP_WRITABLE | LOOP_PEER_ENDED | LOOP_EDGE);
    if (result < 0) {
        stream_close(connection->stream);
        memory_free(connection);
        return result;
    }
    connection_begin(connection);
    /* With TCP_DEFER_ACCEPT the request is here already, tcp(7). */
    connection->readable = true;
    connection_advance(connection);
    return 0;
}

struct connection *connection_open_stream(struct worker *worker, struct stream *stream,
                                          const struct address *peer)
{
    struct connection *connection = connection_new(worker, peer);
    if (!connection)
        return NULL;
    connection->stream = stream;
    connection_begin(connection);
    return connection;
}

struct output *connection_output(struct connection *connection)
{
    struct worker *worker = connection->worker;
    if (connection->output)
        return connection->output;
    struct list *node = list_pop(&worker->spare_outputs);
    if (node) {
        worker->spare_output_count--;
        connection->output = list_entry(node, struct output, node);
    } else {
        connection->output = output_new();
    }
    return connection->output;
}

static void connection_give_back_output(struct connection *connection)
{
    struct worker *worker = connection->worker;
    struct output *output = connection->output;
    if (!output)
        return;
    connection->output = NULL;
    output_clear(output);
    if (worker->spare_output_count >= OUTPUTS_SPARE) {
        output_free(output);
        return;
    }
    list_prepend(&worker->spare_outputs, &output->node);
    worker->spare_output_count++;
}

/* The connection's hold on its exchange ends; a handler that keeps it is told, one that is running
 * finds out. */
static void connection_drop_exchange(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    if (!exchange)
        return;
    connection->exchange = NULL;
    exchange->connection = NULL;
    if (exchange->in_handler) {
        exchange_log_abort(exchange, connection->worker);
        return; /* given back when the handler returns */
    }
    if (exchange->kept && !exchange->over)
        worker_handle_abort(connection->worker, exchange);
    exchange_give_back(connection->worker, exchange);
}

/* A child that was forked while this connection was open may hold its socket for a moment more:
 * then a close alone neither tells the client nor takes the socket out of the epoll set, whose
 * events would come for a connection that is gone (epoll(7), questions and answers). */
static void connection_leave_children(struct connection *connection)
{
    struct worker *worker = connection->worker;
    if (connection->forks == worker->forks || worker->forgotten)
        return;
    loop_remove(&worker->loop, &connection->watch);
    if (!connection->cut) /* an orderly end would make a cut answer look whole */
        stream_shutdown(connection->stream);
}

void connection_close(struct connection *connection)
{
    struct worker *worker = connection->worker;
    if (connection->state == CONNECTION_CLOSED)
        return;
    connection->blocked = false;
    connection_enter(connection, CONNECTION_CLOSED);
    list_unlink(&connection->dirty);
    list_unlink(&connection->again);
    connection_leave_children(connection);
    if (connection->cut)
        stream_reset(connection->stream);
    else
        stream_close(connection->stream);
    list_unlink(&connection->node);
    list_append(&worker->closed, &connection->node);
    worker->connection_count--;
    connection->input = (struct slice){0};
    connection_drop_exchange(connection);
    connection_give_back_output(connection);
    worker_connection_closed(worker);
}

void connection_free(struct connection *connection)
{
    list_unlink(&connection->node);
    buffer_release(&connection->kept);
    memory_free(connection);
}

static void connection_consume(struct connection *connection, size_t len)
{
    connection->input.data += len;
    connection->input.len -= len;
    if (buffer_len(&connection->kept) > 0)
        buffer_consume(&connection->kept, len);
}

int connection_keep_input(struct connection *connection)
{
    if (connection->input.len == 0 || buffer_len(&connection->kept) > 0)
        return 0;
    int result = buffer_append(&connection->kept, connection->input);
    if (result < 0)
        return -ENOMEM;
    connection->input = buffer_slice(&connection->kept);
    return 0;
}

/* The bytes that were received are the connection's input, behind what there was of it. */
static int connection_add_input(struct connection *connection, struct slice bytes)
{
    if (connection->input.len == 0) {
        connection->input = bytes;
        return 0;
    }
    int result = buffer_append(&connection->kept, bytes);
    connection->input = buffer_slice(&connection->kept);
    return result;
}

/* Receive once. Returns the bytes, 0 when there is nothing now or nothing more (peer_ended), or -1:
 * the connection is closed. */
static ssize_t connection_receive(struct connection *connection)
{
    struct worker *worker = connection->worker;
    if (connection_keep_input(connection) < 0) {
        connection_close(connection);
        return -1;
    }
    trace_subject(connection->id, connection->request);
    ssize_t n = stream_recv(connection->stream, worker->receive, sizeof(worker->receive));
    if (n == -EAGAIN || n == -EINTR) {
        connection->readable = n == -EINTR;
        return 0;
    }
    if (n < 0 || connection_add_input(connection, slice_of(worker->receive, (size_t)n)) < 0) {
        connection_close(connection);
        return -1;
    }
    connection->peer_ended = n == 0;
    /* A read that got less than it asked for has emptied the socket, epoll(7); an end that is
     * already there would not be reported again. */
    connection->readable =
        n > 0 && ((size_t)n == sizeof(worker->receive) || connection->peer_ending);
    return n;
}

/* Queue "HTTP/1.1 400 Bad Request" and a line that says why. */
static int connection_write_refusal(struct connection *connection, struct output *output,
                                    enum http_refusal refusal, bool bodiless)
{
    const struct http_refusal_row *row = http_refusal_row(refusal);
    struct slice reason = slice_of_text(http_status_reason(row->status));
    struct slice text = slice_of_text(row->text);
    char digits[20];
    char *out = output_reserve(output, HTTP_STATUS_LINE_SIZE + reason.len);
    if (!out)
        return -ENOMEM;
    size_t digits_len = http_decimal_write(digits, text.len + 1);
    int failed = output_commit(output, status_line_write(out, row->status, reason));
    failed |= output_copy(output, worker_server_line(connection->worker));
    failed |= output_copy(output, worker_date_line(connection->worker));
    failed |= output_copy(output, SLICE("Content-Type: text/plain; charset=utf-8\r\n"
                                        "Connection: close\r\nContent-Length: "));
    failed |= output_copy(output, slice_of(digits, digits_len));
    failed |= output_copy(output, SLICE("\r\n\r\n"));
    if (!bodiless) {
        failed |= output_copy(output, text);
        failed |= output_copy(output, SLICE("\n"));
    }
    return failed;
}

void connection_queue_refusal(struct connection *connection, enum http_refusal refusal)
{
    struct exchange *exchange = connection->exchange;
    struct output *output = connection_output(connection);
    bool bodiless = exchange && exchange->id == connection->request && exchange->bodiless;
    connection->last = true;
    connection->unread = true;
    connection->sent_request = connection->request;
    /* Without memory for a whole refusal the reset says it. */
    if (!output || connection_write_refusal(connection, output, refusal, bodiless) < 0)
        connection->cut = true;
}

/* A line for a request that the handler never sees. */
static void connection_log_refusal(struct connection *connection,
                                   const struct http_refusal_row *row)
{
    struct worker *worker = connection->worker;
    struct exchange *exchange = connection->exchange;
    struct access_log_request request = {0};
    if (worker->access_log.fd < 0)
        return;
    bool begun = exchange && exchange->id == connection->request;
    access_log_note(&worker->access_log, &request, begun ? &exchange->head : NULL,
                    &connection->peer, worker_second(worker));
    access_log_add(&worker->access_log, &request, row->status, strlen(row->text) + 1);
}

void connection_refuse(struct connection *connection, enum http_refusal refusal)
{
    trace_subject(connection->id, connection->request);
    trace_request_begin(SLICE("-"), slice_of_text(http_refusal_row(refusal)->text));
    connection_queue_refusal(connection, refusal);
    trace_request_end(http_refusal_row(refusal)->status, 0);
    connection_log_refusal(connection, http_refusal_row(refusal));
    connection->input = (struct slice){0};
    buffer_consume(&connection->kept, buffer_len(&connection->kept));
    connection_drop_exchange(connection);
    if (connection->state != CONNECTION_WRITE)
        connection_enter(connection, CONNECTION_WRITE);
    connection_flush(connection);
}

void connection_again(struct connection *connection)
{
    if (!list_is_linked(&connection->again))
        list_append(&connection->worker->again, &connection->again);
}

/* Everything is sent and nothing more is served. */
static void connection_end(struct connection *connection)
{
    if (connection->cut) {
        connection_close(connection);
        return;
    }
    bool may_send = connection->unread || connection->input.len > 0 || connection->readable;
    if (connection->peer_ended || !may_send || stream_shutdown(connection->stream) < 0) {
        connection_close(connection);
        return;
    }
    /* A close with unread bytes would reset the connection and could take the answer with it:
     * RFC 9112 9.6. */
    connection->input = (struct slice){0};
    buffer_consume(&connection->kept, buffer_len(&connection->kept));
    connection_enter(connection, CONNECTION_LINGER);
    connection->sent_request = 0; /* counts what is thrown away from here on */
    /* Not now: this may be a flush before a call whose request lies in the receive buffer. */
    connection_again(connection);
}

/* Does a handler that kept the exchange wait for the room that there is now, or for its turn? */
static bool connection_owes_call(const struct connection *connection)
{
    const struct exchange *exchange = connection->exchange;
    if (connection->state != CONNECTION_RUN)
        return false;
    return exchange->awaits_turn || (exchange->awaits_room && exchange_pending(exchange) == 0);
}

/* The output has gone to the kernel. */
static void connection_drained(struct connection *connection)
{
    connection_give_back_output(connection);
    if (connection->state != CONNECTION_WRITE)
        return;
    if (connection->last) {
        connection_end(connection);
        return;
    }
    connection_enter_idle(connection);
    if (connection->input.len > 0 || connection->readable || connection->peer_ended)
        connection_again(connection);
}

int connection_flush(struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSED)
        return -EPIPE;
    list_unlink(&connection->dirty);
    struct output *output = connection->output;
    if (!output || output->pending == 0) {
        connection_drained(connection);
        return connection->state == CONNECTION_CLOSED ? -EPIPE : 0;
    }
    trace_subject(connection->id, connection->sent_request);
    ssize_t sent = output_send(output, connection->stream);
    if (sent < 0) {
        connection_close(connection);
        return -EPIPE;
    }
    bool was_blocked = connection->blocked;
    connection->blocked = output->pending > 0;
    if (was_blocked ? sent > 0 : connection->blocked)
        connection_start_patience(connection);
    if (!connection->blocked)
        connection_drained(connection);
    if (connection->state != CONNECTION_CLOSED && connection_owes_call(connection))
        connection_again(connection);
    return connection->state == CONNECTION_CLOSED ? -EPIPE : 0;
}

void connection_flush_later(struct connection *connection)
{
    struct worker *worker = connection->worker;
    if (connection->blocked || list_is_linked(&connection->dirty))
        return;
    if (list_is_empty(&worker->dirty))
        worker->dirty_since = clock_ticks();
    list_append(&worker->dirty, &connection->dirty);
}

void connection_exchange_over(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    if (exchange->body_state != BODY_WHOLE)
        connection->last = connection->unread = true;
    connection->exchange = NULL;
    exchange_give_back(connection->worker, exchange);
    bool full = connection->output &&
                connection->output->pending > connection->worker->config.limits.output_pending;
    if (connection->last || connection->blocked || full)
        connection_enter(connection, CONNECTION_WRITE);
    else
        connection_enter_idle(connection);
    connection_flush_later(connection);
}

/* The client has ended its side before a request was whole. */
static void connection_input_ended(struct connection *connection)
{
    bool partial =
        connection->state == CONNECTION_READ_HEAD || connection->state == CONNECTION_READ_BODY;
    if (partial)
        connection_refuse(connection, HTTP_INCOMPLETE_REQUEST);
    else if (connection->output && connection->output->pending > 0) {
        connection->last = true;
        connection_enter(connection, CONNECTION_WRITE);
        connection_flush_later(connection);
    } else {
        connection_close(connection);
    }
}

/* A request is whole, or its client waits for 100 (Continue). */
static bool connection_run(struct connection *connection)
{
    struct worker *worker = connection->worker;
    worker_handle(worker, connection);
    return connection->state == CONNECTION_IDLE;
}

/* The head is parsed: see to the body. Returns whether to go on. */
static bool connection_begin_body(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    uint64_t most = connection->worker->config.limits.request_body;
    connection->has_asked = true;
    exchange_begin(exchange);
    if (most > 0 && exchange->body_to_come > most) {
        connection_refuse(connection, HTTP_BODY_TOO_LARGE);
        return false;
    }
    if (exchange->body_state == BODY_WHOLE)
        return connection_run(connection);
    if (exchange->head.expect_continue && connection->input.len == 0) {
        exchange->body_state = BODY_AWAITED;
        return connection_run(connection);
    }
    size_t before = connection->input.len;
    struct slice input = connection->input;
    int result = exchange_feed_body(exchange, &input, true);
    if (result == 0 && exchange->body_state != BODY_WHOLE)
        result = exchange_keep_head(exchange) < 0 ? -HTTP_INTERNAL_ERROR : 0;
    if (result < 0) {
        connection_refuse(connection, (enum http_refusal) - result);
        return false;
    }
    connection_consume(connection, before - input.len);
    if (exchange->body_state == BODY_WHOLE)
        return connection_run(connection);
    connection_enter(connection, CONNECTION_READ_BODY);
    return true;
}

/* A client that has sent empty lines, and nothing behind them, has not begun a request. Returns
 * whether that is all there is. */
static bool connection_skip_blank(struct connection *connection)
{
    size_t len = request_head_blank(connection->input);
    if (len < connection->input.len)
        return false;
    if (len > REQUEST_HEAD_BLANK_MAX - (size_t)connection->blank) {
        connection_refuse(connection, HTTP_BAD_REQUEST_LINE);
        return true;
    }
    connection->blank = (uint8_t)(connection->blank + len);
    connection_consume(connection, len);
    return true;
}

/* States IDLE and READ_HEAD. Returns whether to go on. */
static bool connection_read_head(struct connection *connection)
{
    if (connection->input.len == 0 || connection->state == CONNECTION_READ_HEAD) {
        ssize_t n = connection->readable ? connection_receive(connection) : 0;
        if (n == 0 && connection->peer_ended)
            connection_input_ended(connection);
        if (n <= 0)
            return false;
    }
    if (connection->state == CONNECTION_IDLE && connection->input.data[0] == '\r' &&
        connection_skip_blank(connection))
        return connection->state == CONNECTION_IDLE &&
               (connection->readable || connection->peer_ended);
    const struct limits *limits = &connection->worker->config.limits;
    struct http_head_limits head_limits = {
        .request_line = (size_t)limits->request_line,
        .fields = (size_t)limits->request_fields,
        .field_size = (size_t)limits->request_field_size,
        .head = (size_t)limits->request_head,
    };
    if (!connection->exchange)
        connection->exchange = exchange_take(connection);
    struct exchange *exchange = connection->exchange;
    if (!exchange) {
        connection_close(connection);
        return false;
    }
    exchange_resume_fields(exchange);
    ssize_t len =
        request_head_parse(&exchange->head, &exchange->progress, connection->input, &head_limits);
    if (len < 0) {
        connection_refuse(connection, (enum http_refusal) - len);
        return false;
    }
    if (len == 0) {
        if (connection->state == CONNECTION_IDLE)
            connection_enter(connection, CONNECTION_READ_HEAD);
        if (connection_keep_input(connection) < 0 || exchange_keep_fields(exchange) < 0)
            connection_close(connection);
        return connection->readable || connection->peer_ended;
    }
    exchange->head_start = connection->input.data;
    exchange->head_len = (size_t)len;
    connection_consume(connection, (size_t)len);
    return connection_begin_body(connection);
}

/* State READ_BODY. Returns whether to go on. */
static bool connection_read_body(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    if (connection->input.len == 0) {
        ssize_t n = connection->readable ? connection_receive(connection) : 0;
        if (n == 0 && connection->peer_ended)
            connection_input_ended(connection);
        if (n <= 0)
            return false;
        connection_start_patience(connection);
    }
    struct slice input = connection->input;
    int result = exchange_feed_body(exchange, &input, false);
    if (result < 0) {
        connection_refuse(connection, (enum http_refusal) - result);
        return false;
    }
    connection_consume(connection, connection->input.len - input.len);
    if (exchange->body_state == BODY_WHOLE)
        return connection_run(connection);
    if (exchange_body_is_too_slow(exchange)) {
        connection_refuse(connection, HTTP_REQUEST_TIMEOUT);
        return false;
    }
    return true;
}

void connection_read_ahead(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    uint64_t most = connection->worker->config.limits.body_memory;
    while (exchange->body_state == BODY_ASKED && connection->readable &&
           spool_left(&exchange->spool) < most) {
        ssize_t n = connection_receive(connection);
        if (n < 0)
            return; /* closed: the exchange knows */
        if (n == 0 && connection->peer_ended)
            exchange_fail_body(exchange, -EPIPE, HTTP_INCOMPLETE_REQUEST);
        if (n == 0)
            continue;
        struct slice input = connection->input;
        int fed = exchange_feed_body(exchange, &input, false);
        if (fed < 0) {
            exchange_fail_body(exchange, -EBADMSG, (enum http_refusal) - fed);
            input.len = 0; /* where the next request would begin is not known */
            connection->last = connection->unread = true;
        }
        connection_consume(connection, connection->input.len - input.len);
        if (exchange->body_state == BODY_ASKED && exchange_body_is_too_slow(exchange))
            exchange_fail_body(exchange, -ETIMEDOUT, HTTP_REQUEST_TIMEOUT);
    }
}

/* State LINGER: throw away what comes, up to a bound. Returns whether to go on. */
static bool connection_discard(struct connection *connection)
{
    if (!connection->readable)
        return false;
    ssize_t n = connection_receive(connection);
    if (n < 0)
        return false;
    connection->input = (struct slice){0};
    connection->sent_request += (uint64_t)n;
    if (connection->peer_ended || connection->sent_request > LINGER_BYTES_MAX)
        connection_close(connection);
    return n > 0;
}

/* State RUN: what the handler waits for. Returns whether to go on. */
static bool connection_serve_handler(struct connection *connection)
{
    if (connection->exchange->body_state == BODY_ASKED)
        connection_read_ahead(connection);
    if (!connection_owes_call(connection))
        return false;
    worker_handle_writable(connection->worker, connection);
    return connection->state == CONNECTION_IDLE;
}

/* One step in the connection's state. Returns whether another may follow now. */
static bool connection_step(struct connection *connection)
{
    switch ((enum connection_state)connection->state) {
    case CONNECTION_IDLE:
    case CONNECTION_READ_HEAD:
        return connection_read_head(connection);
    case CONNECTION_READ_BODY:
        return connection_read_body(connection);
    case CONNECTION_LINGER:
        return connection_discard(connection);
    case CONNECTION_RUN:
        return connection_serve_handler(connection);
    case CONNECTION_NEW:
    case CONNECTION_READY:
    case CONNECTION_WRITE:
    case CONNECTION_CLOSED:
    case CONNECTION_STATE_COUNT:
        return false;
    }
    return false;
}

void connection_advance(struct connection *connection)
{
    uint64_t budget = connection->worker->config.limits.pipeline;
    while (connection_step(connection)) {
        if (--budget > 0)
            continue;
        connection_again(connection);
        break;
    }
    /* The receive buffer is everybody's. */
    if (connection->state != CONNECTION_CLOSED && connection_keep_input(connection) < 0)
        connection_close(connection);
}

void connection_on_ready(struct loop_watch *watch, uint32_t ready)
{
    struct connection *connection = list_entry(watch, struct connection, watch);
    if (connection->state == CONNECTION_CLOSED || connection->worker->forgotten)
        return;
    if (ready & LOOP_PEER_ENDED)
        connection->peer_ending = true;
    if (ready & (LOOP_READABLE | LOOP_PEER_ENDED | LOOP_BROKEN))
        connection->readable = true;
    if ((ready & EPOLLERR) && connection->state == CONNECTION_RUN) {
        /* Reset by the client: nobody is left to answer. */
        connection_close(connection);
        return;
    }
    if ((ready & LOOP_WRITABLE) && connection->blocked && connection_flush(connection) < 0)
        return;
    if (connection->state != CONNECTION_CLOSED)
        connection_advance(connection);
}

/* Its patience is over, and nothing has come. */
static void connection_give_up(struct connection *connection)
{
    switch ((enum connection_state)connection->state) {
    case CONNECTION_READ_HEAD:
    case CONNECTION_READ_BODY:
        if (!connection->blocked) {
            connection_refuse(connection, HTTP_REQUEST_TIMEOUT);
            return;
        }
        break;
    case CONNECTION_RUN:
        if (!connection->blocked) {
            exchange_fail_body(connection->exchange, -ETIMEDOUT, HTTP_REQUEST_TIMEOUT);
            return;
        }
        break;
    case CONNECTION_NEW:
    case CONNECTION_IDLE:
    case CONNECTION_READY:
    case CONNECTION_WRITE:
    case CONNECTION_LINGER:
    case CONNECTION_CLOSED:
    case CONNECTION_STATE_COUNT:
        break;
    }
    connection_close(connection);
}

void connection_expire(struct connection *connection)
{
    bool reads = connection->state == CONNECTION_IDLE ||
                 connection->state == CONNECTION_READ_HEAD ||
                 connection->state == CONNECTION_READ_BODY;
    if (!reads || connection->blocked) {
        connection_give_up(connection);
        return;
    }
    /* What has come in time may still lie in the kernel, when the application has kept us from
     * reading it. */
    connection->readable = true;
    connection->expired = true;
    connection_again(connection);
}

void connection_resume(struct connection *connection)
{
    uint8_t state = connection->state;
    bool expired = connection->expired;
    connection->expired = false;
    connection_advance(connection);
    if (expired && connection->state == state && !list_is_linked(&connection->timer.node))
        connection_give_up(connection);
}
