/* An exchange's request body: taken from the connection, kept, read by the handler. */
#include "server/exchange.h"

#include <errno.h>

#include "server/exchange_state.h"
#include "server/output.h"
#include "server/worker_state.h"

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

enum http_refusal exchange_body_refusal(const struct exchange *exchange)
{
    return exchange->body_refusal;
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
