#include "server/exchange.h"

#include <assert.h>
#include <errno.h>

#include "base/memory.h"
#include "http/chunked.h"
#include "server/exchange_state.h"
#include "server/output.h"
#include "server/worker_state.h"
#include "trace/recorder.h"

#define EXCHANGES_SPARE 64
/* Spares keep a small buffer for heads; larger ones are freed. */
#define HEAD_KEPT_SPARE 4096

/* Nothing of the last request is left: what a spare was must not be what it is. */
static void exchange_reset(struct exchange *exchange)
{
    exchange->user = NULL;
    exchange->id = 0; /* not begun */
    exchange->progress = (struct request_head_progress){0};
    exchange->head = (struct request_head){.fields = exchange->connection->worker->fields,
                                           .memo = &exchange->connection->worker->field_memo};
    exchange->body = (struct slice){0};
    exchange->chunked = (struct chunked_decoder){0};
    exchange->body_to_come = exchange->body_arrived = 0;
    exchange->body_state = BODY_WHOLE;
    exchange->body_error = 0;
    exchange->in_handler = exchange->kept = exchange->over = exchange->given_back = false;
    exchange->thread = NULL;
    exchange->waiter = NULL;
    exchange->head_sent = exchange->bodiless = false;
    exchange->awaits_room = exchange->awaits_turn = exchange->awaits_body = false;
    exchange->body_waited_ms = 0;
    exchange->body_refusal = HTTP_ACCEPTED;
    exchange->chunked_reply = exchange->delimited_by_close = false;
    exchange->room = UINT64_MAX;
    exchange->body_sent = 0;
    exchange->status = 0;
}

struct exchange *exchange_take(struct connection *connection)
{
    struct worker *worker = connection->worker;
    struct list *node = list_pop(&worker->spare_exchanges);
    struct exchange *exchange;
    if (node) {
        exchange = list_entry(node, struct exchange, node);
        worker->spare_exchange_count--;
    } else {
        const struct limits *limits = &worker->config.limits;
        exchange = memory_new(sizeof(*exchange));
        if (!exchange)
            return NULL;
        list_init(&exchange->node);
        buffer_init(&exchange->head_kept, (size_t)limits->request_head);
        buffer_init(&exchange->trailers, (size_t)limits->trailers);
        spool_init(&exchange->spool, (size_t)limits->body_memory);
    }
    exchange->connection = connection;
    exchange_reset(exchange);
    return exchange;
}

void exchange_free(struct exchange *exchange)
{
    buffer_release(&exchange->head_kept);
    buffer_release(&exchange->trailers);
    memory_free(exchange->fields_kept);
    buffer_release(&exchange->log.text);
    spool_release(&exchange->spool);
    memory_free(exchange);
}

void exchange_notify(struct exchange *exchange)
{
    if (exchange->waiter)
        lead_gate_open(exchange->waiter);
}

void exchange_give_back(struct worker *worker, struct exchange *exchange)
{
    if (exchange->waiter) {
        /* A thread that the application has started still waits for the client. */
        exchange->connection = NULL;
        exchange->given_back = true;
        exchange_notify(exchange);
        return;
    }
    if (worker->spare_exchange_count >= EXCHANGES_SPARE) {
        exchange_free(exchange);
        return;
    }
    const struct limits *limits = &worker->config.limits;
    if (exchange->head_kept.capacity > HEAD_KEPT_SPARE)
        buffer_release(&exchange->head_kept);
    else
        buffer_consume(&exchange->head_kept, buffer_len(&exchange->head_kept));
    if (exchange->trailers.capacity > 0)
        buffer_release(&exchange->trailers);
    if (exchange->fields_kept)
        memory_free(exchange->fields_kept);
    exchange->fields_kept = NULL;
    if (exchange->spool.memory.capacity > 0 || exchange->spool.fd >= 0) {
        spool_release(&exchange->spool);
        spool_init(&exchange->spool, (size_t)limits->body_memory);
    }
    if (exchange->log.text.capacity > 0)
        buffer_release(&exchange->log.text);
    exchange->log.split = 0;
    exchange->connection = NULL;
    list_prepend(&worker->spare_exchanges, &exchange->node);
    worker->spare_exchange_count++;
}

void exchange_begin(struct exchange *exchange)
{
    const struct request_head *head = &exchange->head;
    exchange->id = exchange->connection->request;
    exchange->body_to_come = head->framing == HTTP_LENGTH ? head->content_length : 0;
    exchange->body_state = head->framing == HTTP_NO_BODY ? BODY_WHOLE : BODY_ARRIVING;
    exchange->bodiless = head->method == HTTP_METHOD_HEAD;
    exchange->body_began_ms = exchange->connection->worker->loop.now_ms;
}

int exchange_keep_head(struct exchange *exchange)
{
    struct request_head *head = &exchange->head;
    if (buffer_len(&exchange->head_kept) > 0)
        return 0;
    struct slice bytes = slice_of(exchange->head_start, exchange->head_len);
    if (exchange_keep_fields(exchange) < 0 || buffer_append(&exchange->head_kept, bytes) < 0)
        return -ENOMEM;
    request_head_move(head, bytes.data, buffer_slice(&exchange->head_kept).data);
    return 0;
}

int exchange_keep_fields(struct exchange *exchange)
{
    struct request_head *head = &exchange->head;
    size_t count = head->field_count;
    if (count == 0 || head->fields == exchange->fields_kept)
        return 0;
    struct http_field *kept =
        memory_resize_array(exchange->fields_kept, count, sizeof(struct http_field));
    if (!kept)
        return -ENOMEM;
    memcpy(kept, head->fields, count * sizeof(struct http_field));
    exchange->fields_kept = kept;
    head->fields = kept;
    return 0;
}

void exchange_resume_fields(struct exchange *exchange)
{
    struct request_head *head = &exchange->head;
    struct http_field *room = exchange->connection->worker->fields;
    if (head->fields == room)
        return;
    memcpy(room, head->fields, head->field_count * sizeof(struct http_field));
    head->fields = room;
}

int exchange_keep_body(struct exchange *exchange)
{
    if (exchange->body.len == 0)
        return 0;
    int result = spool_write(&exchange->spool, exchange->body);
    if (result == 0)
        exchange->body = (struct slice){0};
    return result;
}

bool exchange_body_is_too_slow(const struct exchange *exchange)
{
    const struct worker *worker = exchange->connection->worker;
    const struct limits *limits = &worker->config.limits;
    uint64_t passed_ms = exchange->body_waited_ms + (worker->loop.now_ms - exchange->body_began_ms);
    if (limits->body_rate == 0 || passed_ms <= limits->body_ms)
        return false;
    return exchange->body_arrived / passed_ms < limits->body_rate / 1000 ||
           (exchange->body_arrived < UINT64_MAX / 1000 &&
            exchange->body_arrived * 1000 / passed_ms < limits->body_rate);
}

void exchange_begin_body_wait(struct exchange *exchange)
{
    exchange->awaits_body = true;
    exchange->body_began_ms = exchange->connection->worker->loop.now_ms;
}

void exchange_end_body_wait(struct exchange *exchange)
{
    if (exchange->connection)
        exchange->body_waited_ms +=
            exchange->connection->worker->loop.now_ms - exchange->body_began_ms;
    exchange->awaits_body = false;
}

void exchange_fail_body(struct exchange *exchange, int error, enum http_refusal refusal)
{
    exchange->body_state = BODY_FAILED;
    exchange->body_error = error;
    exchange->body_refusal = refusal;
    exchange_notify(exchange);
}

bool exchange_in_handler(const struct exchange *exchange)
{
    return exchange->in_handler;
}

enum http_refusal exchange_body_refusal(const struct exchange *exchange)
{
    return exchange->body_refusal;
}

void exchange_yield(struct exchange *exchange)
{
    exchange->awaits_turn = true;
}

void exchange_log_abort(struct exchange *exchange, struct worker *worker)
{
    /* 499 is what others write there too: no status has left. */
    access_log_add(&worker->access_log, &exchange->log,
                   exchange->status > 0 ? exchange->status : 499, exchange->body_sent);
    trace_request_end(exchange->status, exchange->body_sent);
}

/* Count `data` as arrived and store it. */
static int exchange_store(struct exchange *exchange, struct slice data)
{
    uint64_t most = exchange->connection->worker->config.limits.request_body;
    exchange->body_arrived += data.len;
    if (most > 0 && exchange->body_arrived > most)
        return -HTTP_BODY_TOO_LARGE;
    return spool_write(&exchange->spool, data) < 0 ? -HTTP_CANNOT_STORE_BODY : 0;
}

static int exchange_feed_length(struct exchange *exchange, struct slice *input, bool in_place)
{
    uint64_t want = exchange->body_to_come;
    struct slice data = {input->data, input->len < want ? input->len : (size_t)want};
    int result = 0;
    if (in_place && data.len == want) {
        exchange->body = data;
        exchange->body_arrived = data.len;
    } else {
        result = exchange_store(exchange, data);
    }
    if (result < 0)
        return result;
    input->data += data.len;
    input->len -= data.len;
    exchange->body_to_come -= data.len;
    if (exchange->body_to_come == 0)
        exchange->body_state = BODY_WHOLE;
    return 0;
}

static int exchange_feed_chunked(struct exchange *exchange, struct slice *input)
{
    const struct limits *limits = &exchange->connection->worker->config.limits;
    struct chunked_limits chunked_limits = {(size_t)limits->chunk_extensions,
                                            (size_t)limits->trailers};
    for (;;) {
        struct slice data;
        int result = chunked_decode(&exchange->chunked, input, &data, &chunked_limits);
        if (result == CHUNKED_DATA)
            result = exchange_store(exchange, data);
        else if (result == CHUNKED_TRAILERS)
            result = buffer_append(&exchange->trailers, data) < 0 ? -HTTP_CANNOT_STORE_BODY : 0;
        else if (result == CHUNKED_END)
            exchange->body_state = BODY_WHOLE;
        if (result < 0)
            return result;
        if (result == CHUNKED_END || input->len == 0)
            return 0;
    }
}

int exchange_feed_body(struct exchange *exchange, struct slice *input, bool in_place)
{
    if (exchange->head.framing == HTTP_CHUNKED)
        return exchange_feed_chunked(exchange, input);
    return exchange_feed_length(exchange, input, in_place);
}

const struct request_head *exchange_head(const struct exchange *exchange)
{
    return &exchange->head;
}

void *exchange_user(const struct exchange *exchange)
{
    return exchange->user;
}

void exchange_set_user(struct exchange *exchange, void *user)
{
    exchange->user = user;
}

const struct address *exchange_peer(const struct exchange *exchange)
{
    return &exchange->connection->peer;
}

unsigned exchange_listener(const struct exchange *exchange)
{
    return exchange->connection->listener;
}

uint64_t exchange_body_left(const struct exchange *exchange)
{
    uint64_t here = exchange->body.len + spool_left(&exchange->spool);
    if (exchange->body_state == BODY_WHOLE || exchange->head.framing == HTTP_LENGTH)
        return here + exchange->body_to_come;
    return exchange->body_state == BODY_FAILED ? here : UINT64_MAX;
}

struct slice exchange_trailers(const struct exchange *exchange)
{
    return exchange->body_state == BODY_WHOLE ? buffer_slice(&exchange->trailers)
                                              : (struct slice){0};
}

bool exchange_is_orphan(const struct exchange *exchange)
{
    return exchange->connection == NULL;
}

/* The client waits for 100 (Continue), RFC 9110 10.1.1: the handler has begun to read. */
static void exchange_ask_for_body(struct exchange *exchange)
{
    struct output *output = connection_output(exchange->connection);
    exchange->body_state = BODY_ASKED;
    if (exchange->head_sent)
        return; /* too late to ask: the client sends or leaves */
    if (!output || output_copy(output, SLICE("HTTP/1.1 100 Continue\r\n\r\n")) < 0) {
        exchange_fail_body(exchange, -ENOMEM, HTTP_INTERNAL_ERROR);
        return;
    }
    exchange->connection->sent_request = exchange->id;
    connection_flush(exchange->connection);
}

ssize_t exchange_read(struct exchange *exchange, void *data, size_t len)
{
    if (exchange->body.len > 0) {
        size_t n = len < exchange->body.len ? len : exchange->body.len;
        memcpy(data, exchange->body.data, n);
        exchange->body.data += n;
        exchange->body.len -= n;
        return (ssize_t)n;
    }
    ssize_t n = spool_read(&exchange->spool, data, len);
    if (n != 0)
        return n < 0 ? -EIO : n;
    if (exchange->body_state == BODY_AWAITED && exchange->connection)
        exchange_ask_for_body(exchange);
    if (exchange->body_state == BODY_ASKED && exchange->connection) {
        connection_read_ahead(exchange->connection);
        n = spool_read(&exchange->spool, data, len);
        if (n != 0)
            return n < 0 ? -EIO : n;
    }
    if (exchange->body_state == BODY_WHOLE)
        return 0;
    return exchange->body_state == BODY_FAILED ? exchange->body_error : -EAGAIN;
}

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
        exchange->delimited_by_close = true;
        exchange->connection->last = true;
    }
    return out;
}

/* Will the connection be kept, and must that be said? RFC 9112 9.3. At most PERSISTENCE_SIZE bytes.
 */
static char *exchange_write_persistence(const struct exchange *exchange, char *out)
{
    struct connection *connection = exchange->connection;
    if (!exchange->head.keep_alive || connection->worker->stopping || connection->peer_ended ||
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
    out = exchange_write_persistence(exchange, out);
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
static void exchange_end(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    struct worker *worker = connection->worker;
    exchange->over = true;
    access_log_add(&worker->access_log, &exchange->log, exchange->status, exchange->body_sent);
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
        connection->last = true; /* shorter than promised: the close tells the client */
    exchange_end(exchange);
}

void exchange_refuse(struct exchange *exchange, enum http_refusal refusal)
{
    assert(!exchange->over && !exchange->head_sent);
    if (exchange_end_orphan(exchange))
        return;
    exchange->status = http_refusal_row(refusal)->status;
    connection_queue_refusal(exchange->connection, refusal);
    exchange_end(exchange);
}

void exchange_abort(struct exchange *exchange)
{
    assert(!exchange->over);
    if (exchange_end_orphan(exchange))
        return;
    struct connection *connection = exchange->connection;
    connection->last = true;
    if (exchange->delimited_by_close)
        connection->cut = true;
    exchange_end(exchange);
}
