#include "server/connection.h"

#include <assert.h>
#include <errno.h>

#include "base/memory.h"
#include "server/exchange_state.h"
#include "server/output.h"
#include "server/worker_state.h"
#include "socket/kernel.h"
#include "trace/recorder.h"

#define OUTPUTS_SPARE 64

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
    [CONNECTION_READY] = {TO(RUN) | TO(WRITE), PATIENCE_NONE},
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
    if (patience == PATIENCE_NONE && connection->state == CONNECTION_RUN &&
        connection->exchange->awaits_body)
        patience = PATIENCE_BODY;
    if (worker->handler_busy || (connection->exchange && connection->exchange->in_handler))
        loop_update_time(&worker->loop); /* the application has taken its time since */
    if (patience == PATIENCE_KEEP_ALIVE && !connection->has_asked)
        /* A client that has connected and says nothing. */
        patience = worker->stopping ? PATIENCE_FIRST : PATIENCE_HEAD;
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
    if (connection->state == CONNECTION_READY)
        connection->worker->ready_count--;
    if (state == CONNECTION_READY)
        connection->worker->ready_count++;
    connection->state = (uint8_t)state;
    connection->expired = false; /* that was another state's patience */
    connection_start_patience(connection);
}

void connection_enter_idle(struct connection *connection)
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
    list_init(&connection->unwatched);
    timer_init(&connection->timer);
    buffer_init(&connection->kept,
                (size_t)worker->config.limits.request_head + WORKER_RECEIVE_SIZE);
    connection->peer = *peer;
    connection->id = ++worker->acceptor.connection_ids;
    connection->forks = worker->forks;
    return connection;
}

/* Its stream is there: count it and wait for its first request. */
static void connection_begin(struct connection *connection)
{
    struct worker *worker = connection->worker;
    list_append(&worker->connections, &connection->node);
    worker->acceptor.connections++;
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
    connection_begin(connection);
    list_append(&worker->unwatched, &connection->unwatched);
    /* With TCP_DEFER_ACCEPT the request is here already, tcp(7). */
    connection->readable = true;
    connection_again(connection);
    return 0;
}

int connection_watch(struct connection *connection)
{
    list_unlink(&connection->unwatched);
    /* Edge-triggered: what is ready already is told once, epoll(7). */
    uint32_t events = LOOP_READABLE | LOOP_WRITABLE | LOOP_PEER_ENDED | LOOP_URGENT | LOOP_EDGE;
    int result = loop_add(&connection->worker->loop, &connection->watch, events);
    if (result < 0)
        connection_close(connection);
    return result;
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

void connection_give_back_output(struct connection *connection)
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

void connection_drop_exchange(struct connection *connection)
{
    struct worker *worker = connection->worker;
    struct exchange *exchange = connection->exchange;
    bool borrows = worker->borrower == connection;
    if (borrows)
        worker->borrower = NULL;
    if (!exchange)
        return;
    if (borrows)
        exchange_keep_head(exchange); /* its handler may be about to read it */
    connection->exchange = NULL;
    exchange->connection = NULL;
    if (exchange->in_handler) {
        /* What lies in the receive buffer will not stay there. */
        if (exchange_keep_body(exchange) < 0) {
            exchange->body = (struct slice){0};
            exchange_fail_body(exchange, -EPIPE, HTTP_INCOMPLETE_REQUEST);
        }
        exchange_log_abort(exchange, worker);
        exchange_notify(exchange);
        return; /* given back when the handler returns */
    }
    if (exchange->kept && !exchange->over)
        worker_handle_abort(worker, exchange);
    exchange_give_back(worker, exchange);
}

/* A child that was forked while this connection was open may hold its socket for a moment more:
 * then a close alone neither tells the client nor takes the socket out of the epoll set, whose
 * events would come for a connection that is gone (epoll(7), questions and answers). */
static void connection_leave_children(struct connection *connection)
{
    struct worker *worker = connection->worker;
    if (connection->forks == worker->forks || worker->forgotten)
        return;
    if (!list_is_linked(&connection->unwatched))
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
    list_unlink(&connection->unwatched);
    if (connection->cut)
        stream_reset(connection->stream);
    else
        stream_close(connection->stream);
    list_unlink(&connection->node);
    list_append(&worker->closed, &connection->node);
    worker->acceptor.connections--;
    connection->input = (struct slice){0};
    connection_drop_exchange(connection);
    connection_give_back_output(connection);
    acceptor_resume(&worker->acceptor);
}

void connection_free(struct connection *connection)
{
    list_unlink(&connection->node);
    buffer_release(&connection->kept);
    memory_free(connection);
}

void connection_consume(struct connection *connection, size_t len)
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
