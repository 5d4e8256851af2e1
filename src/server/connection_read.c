/* Reading a connection: requests, bodies, and what a client still sends when nobody listens. */
#include "server/connection.h"

#include <errno.h>

#include "server/exchange_state.h"
#include "server/output.h"
#include "server/worker_state.h"
#include "trace/recorder.h"

#define LINGER_BYTES_MAX (4u << 20)

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
    if (worker_reclaim_receive(worker) < 0 || connection_keep_input(connection) < 0) {
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
    /* A read that got less than it asked for has emptied the socket, epoll(7), or stands before
     * urgent data; an end that is already there would not be reported again. */
    connection->readable = n > 0 && ((size_t)n == sizeof(worker->receive) || connection->reads_on);
    return n;
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

/* The head is parsed: see to the body. */
static enum connection_next connection_begin_body(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    uint64_t most = connection->worker->config.limits.request_body;
    connection->has_asked = true;
    exchange_begin(exchange);
    if (most > 0 && exchange->body_to_come > most) {
        connection_refuse(connection, HTTP_BODY_TOO_LARGE);
        return CONNECTION_WAIT;
    }
    if (exchange->body_state == BODY_WHOLE)
        return worker_handle(connection->worker, connection);
    if (exchange->head.expect_continue && connection->input.len == 0) {
        exchange->body_state = BODY_AWAITED;
        return worker_handle(connection->worker, connection);
    }
    size_t before = connection->input.len;
    struct slice input = connection->input;
    int result = exchange_feed_body(exchange, &input, true);
    if (result == 0 && exchange->body_state != BODY_WHOLE)
        result = exchange_keep_head(exchange) < 0 ? -HTTP_INTERNAL_ERROR : 0;
    if (result < 0) {
        connection_refuse(connection, (enum http_refusal) - result);
        return CONNECTION_WAIT;
    }
    connection_consume(connection, before - input.len);
    if (exchange->body_state == BODY_WHOLE)
        return worker_handle(connection->worker, connection);
    connection_enter(connection, CONNECTION_READ_BODY);
    return CONNECTION_STEP;
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

/* Nothing is left of the input that was received: is there more to receive, or its end to see? */
static enum connection_next connection_more_to_read(const struct connection *connection)
{
    bool reads = connection->state == CONNECTION_IDLE || connection->state == CONNECTION_READ_HEAD;
    return reads && (connection->readable || connection->peer_ended) ? CONNECTION_STEP
                                                                     : CONNECTION_WAIT;
}

/* States IDLE and READ_HEAD. */
static enum connection_next connection_read_head(struct connection *connection)
{
    if (connection->input.len == 0 || connection->state == CONNECTION_READ_HEAD) {
        ssize_t n = connection->readable ? connection_receive(connection) : 0;
        if (n == 0 && connection->peer_ended)
            connection_input_ended(connection);
        if (n <= 0)
            return CONNECTION_WAIT;
    }
    if (connection->state == CONNECTION_IDLE && connection->input.data[0] == '\r' &&
        connection_skip_blank(connection))
        return connection_more_to_read(connection);
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
        return CONNECTION_WAIT;
    }
    exchange_resume_fields(exchange);
    ssize_t len =
        request_head_parse(&exchange->head, &exchange->progress, connection->input, &head_limits);
    if (len < 0) {
        connection_refuse(connection, (enum http_refusal) - len);
        return CONNECTION_WAIT;
    }
    if (len == 0) {
        if (connection->state == CONNECTION_IDLE)
            connection_enter(connection, CONNECTION_READ_HEAD);
        if (connection_keep_input(connection) < 0 || exchange_keep_fields(exchange) < 0)
            connection_close(connection);
        return connection_more_to_read(connection);
    }
    exchange->head_start = connection->input.data;
    exchange->head_len = (size_t)len;
    connection_consume(connection, (size_t)len);
    return connection_begin_body(connection);
}

/* State READ_BODY. */
static enum connection_next connection_read_body(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    if (connection->input.len == 0) {
        ssize_t n = connection->readable ? connection_receive(connection) : 0;
        if (n == 0 && connection->peer_ended)
            connection_input_ended(connection);
        if (n <= 0)
            return CONNECTION_WAIT;
        connection_start_patience(connection);
    }
    struct slice input = connection->input;
    int result = exchange_feed_body(exchange, &input, false);
    if (result < 0) {
        connection_refuse(connection, (enum http_refusal) - result);
        return CONNECTION_WAIT;
    }
    connection_consume(connection, connection->input.len - input.len);
    if (exchange->body_state == BODY_WHOLE)
        return worker_handle(connection->worker, connection);
    if (exchange_body_is_too_slow(exchange)) {
        connection_refuse(connection, HTTP_REQUEST_TIMEOUT);
        return CONNECTION_WAIT;
    }
    return CONNECTION_STEP;
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
        exchange_notify(exchange);
        if (exchange->body_state == BODY_ASKED && exchange_body_is_too_slow(exchange))
            exchange_fail_body(exchange, -ETIMEDOUT, HTTP_REQUEST_TIMEOUT);
    }
    /* What came behind the body: the handler may go on without the lead, and others receive. */
    if (connection_keep_input(connection) < 0)
        connection_close(connection);
}

/* State LINGER: throw away what comes, up to a bound. */
static enum connection_next connection_discard(struct connection *connection)
{
    if (!connection->readable)
        return CONNECTION_WAIT;
    ssize_t n = connection_receive(connection);
    if (n < 0)
        return CONNECTION_WAIT;
    connection->input = (struct slice){0};
    connection->sent_request += (uint64_t)n;
    if (connection->peer_ended || connection->sent_request > LINGER_BYTES_MAX)
        connection_close(connection);
    return n > 0 ? CONNECTION_STEP : CONNECTION_WAIT;
}

/* State RUN: what the handler waits for. */
static enum connection_next connection_serve_handler(struct connection *connection)
{
    if (connection->exchange->body_state == BODY_ASKED)
        connection_read_ahead(connection);
    if (!connection_owes_call(connection) || connection->exchange->in_handler)
        return CONNECTION_WAIT;
    return worker_handle_writable(connection->worker, connection);
}

/* One step in the connection's state. */
static enum connection_next connection_step(struct connection *connection)
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
        return CONNECTION_WAIT;
    }
    return CONNECTION_WAIT;
}

enum connection_next connection_advance(struct connection *connection)
{
    uint64_t budget = connection->worker->config.limits.pipeline;
    enum connection_next next;
    while ((next = connection_step(connection)) == CONNECTION_STEP) {
        if (--budget > 0)
            continue;
        connection_again(connection);
        break;
    }
    if (next == CONNECTION_LEFT)
        return next;
    /* The receive buffer is everybody's. */
    if (connection->state != CONNECTION_CLOSED && connection_keep_input(connection) < 0)
        connection_close(connection);
    return CONNECTION_WAIT;
}

void connection_on_ready(struct loop_watch *watch, uint32_t ready)
{
    struct connection *connection = list_entry(watch, struct connection, watch);
    if (connection->state == CONNECTION_CLOSED || connection->worker->forgotten)
        return;
    if (ready & (LOOP_PEER_ENDED | LOOP_URGENT))
        connection->reads_on = true;
    if (ready & (LOOP_READABLE | LOOP_PEER_ENDED | LOOP_BROKEN))
        connection->readable = true;
    if ((ready & EPOLLERR) && connection->state == CONNECTION_RUN) {
        /* Reset by the client: nobody is left to answer. */
        connection_close(connection);
        return;
    }
    /* Broken, it takes no more either: the flush finds that out. */
    if ((ready & (LOOP_WRITABLE | LOOP_BROKEN)) && connection->blocked &&
        connection_flush(connection) < 0)
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
    if (connection_advance(connection) == CONNECTION_LEFT || !connection->expired)
        return;
    connection->expired = false;
    if (!list_is_linked(&connection->timer.node))
        connection_give_up(connection);
}
