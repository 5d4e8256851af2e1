/* Writing to a connection: refusals, flushing, and the orderly end. */
#include "server/connection.h"

#include <errno.h>
#include <string.h>

#include "http/response_head.h"
#include "server/exchange_state.h"
#include "server/output.h"
#include "server/worker_state.h"
#include "trace/recorder.h"

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
    if (row->status == 503)
        failed |= output_copy(output, SLICE("Retry-After: 1\r\n"));
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
static void connection_log_refusal(struct connection *connection, enum http_refusal refusal)
{
    const struct http_refusal_row *row = http_refusal_row(refusal);
    struct worker *worker = connection->worker;
    struct exchange *exchange = connection->exchange;
    struct access_log_request request = {0};
    if (!access_log_is_on(&worker->access_log))
        return;
    bool begun = exchange && exchange->id == connection->request;
    access_log_note(&worker->access_log, &request, begun ? &exchange->head : NULL,
                    connection->input, &connection->peer, worker_second(worker));
    access_log_add(&worker->access_log, &request, row->status, strlen(row->text) + 1, refusal);
}

void connection_refuse(struct connection *connection, enum http_refusal refusal)
{
    trace_subject(connection->id, connection->request);
    trace_request_begin(SLICE("-"), slice_of_text(http_refusal_row(refusal)->text));
    connection_queue_refusal(connection, refusal);
    trace_request_end(http_refusal_row(refusal)->status, 0);
    connection_log_refusal(connection, refusal);
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

void connection_end(struct connection *connection)
{
    if (connection->cut) {
        connection_close(connection);
        return;
    }
    /* Our end leaves with the last of the answer. A close alone would do that, too, but for one
     * that meets bytes of which nobody knows yet: it resets the connection, and what is unsent is
     * lost. */
    bool ended = stream_shutdown(connection->stream) == 0;
    bool may_send = connection->unread || connection->input.len > 0 || connection->readable;
    if (!ended || connection->peer_ended || !may_send) {
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

bool connection_owes_call(const struct connection *connection)
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
    if (connection->exchange)
        exchange_notify(connection->exchange);
    if (connection->state != CONNECTION_WRITE)
        return;
    if (connection->last) {
        connection_end(connection);
        return;
    }
    connection_enter_idle(connection);
    if (connection_has_input(connection))
        connection_again(connection);
}

bool connection_has_input(const struct connection *connection)
{
    return connection->input.len > 0 || connection->readable || connection->peer_ended;
}

/* A file has ended before its range did. What was sent is less than what was announced: the end
 * says so, and an orderly one leaves the client the answers before. Nothing more is served. */
static void connection_fall_short(struct connection *connection)
{
    connection->last = connection->unread = true;
    connection->cut |= connection->ends_answer;
    connection->blocked = false;
    list_unlink(&connection->again);
    if (connection->state != CONNECTION_WRITE)
        connection_enter(connection, CONNECTION_WRITE);
    connection_give_back_output(connection);
    connection_drop_exchange(connection);
    if (connection->state == CONNECTION_WRITE)
        connection_end(connection);
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
    bool ends = connection->state == CONNECTION_WRITE && connection->last && !connection->cut;
    ssize_t sent = output_send(output, connection->stream, ends);
    if (sent < 0) {
        if (sent == -EIO)
            connection_fall_short(connection);
        else
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
