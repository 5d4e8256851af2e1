/* An exchange's answer: its head, its framing, its body, its end. */
#include "server/exchange.h"

#include <assert.h>
#include <errno.h>

#include "http/chunked.h"
#include "http/response_head.h"
#include "server/exchange_state.h"
#include "server/output.h"
#include "server/worker_state.h"
#include "trace/recorder.h"

/* Parts of a head are written behind each other into room that was reserved for all of them. */
static char *write_text(char *out, struct slice text)
{
    memcpy(out, text.data, text.len);
    return out + text.len;
}

static size_t field_lines_size(const struct http_field *fields, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += fields[i].name.len + fields[i].value.len + FIELD_LINE_EXTRA;
    return size;
}

static char *write_field(char *out, const struct http_field *field)
{
    return out + field_line_write(out, field->name, field->value);
}

#define FRAMING_SIZE     (sizeof("Content-Length: \r\n") + HTTP_DECIMAL_SIZE)
#define PERSISTENCE_SIZE sizeof("Connection: keep-alive\r\n")

/* How the body is framed, RFC 9112 6.3, and what says so; at most FRAMING_SIZE bytes. */
static char *exchange_write_framing(struct exchange *exchange, char *out,
                                    const struct response_fields *facts, int64_t length)
{
    bool no_content = http_status_has_no_content(exchange->status);
    if (no_content)
        exchange->bodiless = true;
    if (facts->has_content_length) {
        exchange->room = facts->content_length;
    } else if (no_content) {
        exchange->room = 0;
    } else if (length >= 0) {
        exchange->room = (uint64_t)length;
        out = write_text(out, SLICE("Content-Length: "));
        out += http_decimal_write(out, (uint64_t)length);
        out = write_text(out, SLICE("\r\n"));
    } else if (exchange->head.minor >= 1) {
        exchange->chunked_reply = !exchange->bodiless;
        out = write_text(out, SLICE("Transfer-Encoding: chunked\r\n"));
    } else if (!exchange->bodiless) {
        exchange->connection->ends_answer = true;
        exchange->connection->last = true;
    }
    return out;
}

/* Does the embedder want the connection kept after this answer? A 204 or 304 ends with its head. */
static bool exchange_may_persist(const struct exchange *exchange,
                                 const struct response_fields *facts, int64_t length)
{
    enum persistence persistence = exchange->connection->worker->config.persistence;
    if (persistence != PERSISTENCE_WITH_LENGTH)
        return persistence == PERSISTENCE_ALWAYS;
    return exchange->head.method == HTTP_METHOD_HEAD || facts->has_content_length || length >= 0 ||
           http_status_has_no_content(exchange->status);
}

/* Will the connection be kept, and must that be said? RFC 9112 9.3. At most PERSISTENCE_SIZE bytes.
 */
static char *exchange_write_persistence(const struct exchange *exchange, char *out,
                                        const struct response_fields *facts, int64_t length)
{
    struct connection *connection = exchange->connection;
    if (!exchange_may_persist(exchange, facts, length) || !exchange->head.keep_alive ||
        connection->worker->stopping || connection->peer_ended ||
        exchange->body_state != BODY_WHOLE)
        connection->last = true;
    if (connection->last)
        return write_text(out, SLICE("Connection: close\r\n"));
    return exchange->head.minor == 0 ? write_text(out, SLICE("Connection: keep-alive\r\n")) : out;
}

/* Queue the head. Returns 0 or -ENOMEM. */
static int exchange_write_head(struct exchange *exchange, struct output *output,
                               struct slice reason, const struct http_field *fields, size_t count,
                               const struct response_fields *facts, int64_t length)
{
    struct slice server = worker_server_line(exchange->connection->worker);
    struct slice date = worker_date_line(exchange->connection->worker);
    size_t room = HTTP_STATUS_LINE_SIZE + reason.len + server.len + date.len + FRAMING_SIZE +
                  PERSISTENCE_SIZE + 2 + field_lines_size(fields, count);
    char *head = output_reserve(output, room);
    if (!head)
        return -ENOMEM;
    char *out = head + status_line_write(head, exchange->status, reason);
    if (!facts->has_server)
        out = write_text(out, server);
    if (!facts->has_date)
        out = write_text(out, date);
    for (size_t i = 0; i < count; i++) {
        /* RFC 9110 8.6: a 204 has no Content-Length, whatever the application says. */
        if (exchange->status == 204 &&
            slice_equal_ignoring_case(fields[i].name, SLICE("Content-Length")))
            continue;
        out = write_field(out, &fields[i]);
    }
    out = exchange_write_framing(exchange, out, facts, length);
    out = exchange_write_persistence(exchange, out, facts, length);
    out = write_text(out, SLICE("\r\n"));
    return output_commit(output, (size_t)(out - head));
}

/* Without memory an answer cannot be made whole: the connection ends. */
static int exchange_out_of_memory(struct exchange *exchange)
{
    connection_close(exchange->connection);
    return -ENOMEM;
}

int exchange_send_head(struct exchange *exchange, int status, struct slice reason,
                       const struct http_field *fields, size_t count,
                       const struct response_fields *facts, int64_t length)
{
    assert(!exchange->head_sent && !exchange->over);
    if (!exchange->connection)
        return -EPIPE;
    struct output *output = connection_output(exchange->connection);
    exchange->status = status;
    if (!output || exchange_write_head(exchange, output, reason, fields, count, facts, length) < 0)
        return exchange_out_of_memory(exchange);
    exchange->head_sent = true;
    exchange->connection->sent_request = exchange->id;
    return 0;
}

int exchange_send_early_hints(struct exchange *exchange, const struct http_field *fields,
                              size_t count)
{
    if (!exchange->connection)
        return -EPIPE;
    if (exchange->head_sent || exchange->over || exchange->head.minor == 0)
        return 0;
    const struct slice status = SLICE("HTTP/1.1 103 Early Hints\r\n");
    struct output *output = connection_output(exchange->connection);
    char *head =
        output ? output_reserve(output, status.len + field_lines_size(fields, count) + 2) : NULL;
    if (!head)
        return exchange_out_of_memory(exchange);
    char *out = write_text(head, status);
    for (size_t i = 0; i < count; i++)
        out = write_field(out, &fields[i]);
    out = write_text(out, SLICE("\r\n"));
    if (output_commit(output, (size_t)(out - head)) < 0)
        return exchange_out_of_memory(exchange);
    exchange->connection->sent_request = exchange->id;
    return connection_flush(exchange->connection);
}

bool exchange_head_sent(const struct exchange *exchange)
{
    return exchange->head_sent;
}

uint64_t exchange_room(const struct exchange *exchange)
{
    return exchange->room;
}

bool exchange_is_bodiless(const struct exchange *exchange)
{
    return exchange->bodiless;
}

/* What every piece of a body has to pass. Returns 1 when it is to be queued, 0 when it is dropped.
 */
static int exchange_admit(struct exchange *exchange, uint64_t len)
{
    assert(!exchange->over);
    if (!exchange->connection)
        return -EPIPE;
    assert(exchange->head_sent);
    if (len > exchange->room)
        return -EMSGSIZE;
    if (exchange->room != UINT64_MAX)
        exchange->room -= len;
    if (len == 0 || exchange->bodiless)
        return 0;
    exchange->body_sent += len;
    exchange->connection->sent_request = exchange->id;
    return 1;
}

/* Queue the line before a chunk, when the body is chunked. */
static int exchange_chunk_begin(struct exchange *exchange, struct output *output, uint64_t len)
{
    if (!exchange->chunked_reply)
        return 0;
    char *line = output_reserve(output, CHUNK_LINE_SIZE);
    return line ? output_commit(output, chunk_line_write(line, len)) : -ENOMEM;
}

static int exchange_chunk_end(struct exchange *exchange, struct output *output)
{
    return exchange->chunked_reply ? output_copy(output, SLICE("\r\n")) : 0;
}

int exchange_send(struct exchange *exchange, struct slice data, struct lender lender)
{
    int result = exchange_admit(exchange, data.len);
    if (result <= 0)
        return result;
    struct output *output = connection_output(exchange->connection);
    bool lend = data.len > OUTPUT_COPY_MAX && lender.release;
    if (!output || exchange_chunk_begin(exchange, output, data.len) < 0)
        return exchange_out_of_memory(exchange);
    result = lend ? output_lend(output, data, lender) : output_copy(output, data);
    if (result < 0)
        return exchange_out_of_memory(exchange);
    if (exchange_chunk_end(exchange, output) < 0) {
        /* What was lent is released by the close, so the caller has to have lent it. */
        exchange->connection->cut = true;
        exchange->connection->last = true;
    }
    return lend ? EXCHANGE_KEPT : EXCHANGE_COPIED;
}

int exchange_send_file(struct exchange *exchange, int fd, off_t offset, uint64_t len,
                       struct lender lender)
{
    int result = exchange_admit(exchange, len);
    if (result <= 0)
        return result;
    struct output *output = connection_output(exchange->connection);
    if (!output || exchange_chunk_begin(exchange, output, len) < 0 ||
        output_file(output, fd, offset, len, lender) < 0)
        return exchange_out_of_memory(exchange);
    if (exchange_chunk_end(exchange, output) < 0) {
        exchange->connection->cut = true;
        exchange->connection->last = true;
    }
    return EXCHANGE_KEPT;
}

int exchange_flush(struct exchange *exchange)
{
    return exchange->connection ? connection_flush(exchange->connection) : -EPIPE;
}

int exchange_own_files(struct exchange *exchange)
{
    if (!exchange->connection)
        return -EPIPE;
    struct output *output = exchange->connection->output;
    return output ? output_own_files(output) : 0;
}

int exchange_flush_soon(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    if (!connection)
        return -EPIPE;
    struct worker *worker = connection->worker;
    if (!exchange->thread || !lead_leads(&worker->lead, exchange->thread) || connection->blocked)
        return connection_flush(connection);
    connection_flush_later(connection);
    return 0;
}

size_t exchange_pending(const struct exchange *exchange)
{
    if (!exchange->connection || !exchange->connection->output)
        return 0;
    return (size_t)exchange->connection->output->pending;
}

/* The handler is done with it. The connection goes on when the handler has returned. */
static void exchange_end(struct exchange *exchange, enum http_refusal refusal)
{
    struct connection *connection = exchange->connection;
    struct worker *worker = connection->worker;
    exchange->over = true;
    access_log_add(&worker->access_log, &exchange->log, exchange->status, exchange->body_sent,
                   refusal);
    trace_subject(connection->id, exchange->id);
    trace_request_end(exchange->status, exchange->body_sent);
}

/* An exchange whose connection is gone ends with its handler. */
static bool exchange_end_orphan(struct exchange *exchange)
{
    if (exchange->connection)
        return false;
    exchange->over = true;
    return true;
}

/* The connection's end tells the client that the answer is not whole. Where no field has announced
 * it: the next request may be on its way, and must not reset what there is to be read. */
static void exchange_end_unsaid(struct connection *connection)
{
    connection->unread |= !connection->last;
    connection->last = true;
}

void exchange_finish(struct exchange *exchange)
{
    assert(!exchange->over);
    if (exchange_end_orphan(exchange))
        return;
    assert(exchange->head_sent);
    struct connection *connection = exchange->connection;
    struct output *output = connection_output(connection);
    if (!output || (exchange->chunked_reply && output_copy(output, chunk_last) < 0)) {
        exchange_abort(exchange);
        return;
    }
    connection->sent_request = exchange->id;
    if (!exchange->bodiless && exchange->room != UINT64_MAX && exchange->room > 0)
        exchange_end_unsaid(connection); /* shorter than promised */
    exchange_end(exchange, HTTP_ACCEPTED);
}

void exchange_refuse(struct exchange *exchange, enum http_refusal refusal)
{
    assert(!exchange->over && !exchange->head_sent);
    if (exchange_end_orphan(exchange))
        return;
    exchange->status = http_refusal_row(refusal)->status;
    connection_queue_refusal(exchange->connection, refusal);
    exchange_end(exchange, refusal);
}

void exchange_abort(struct exchange *exchange)
{
    assert(!exchange->over);
    if (exchange_end_orphan(exchange))
        return;
    struct connection *connection = exchange->connection;
    exchange_end_unsaid(connection);
    connection->cut |= connection->ends_answer;
    exchange_end(exchange, HTTP_ACCEPTED);
}
