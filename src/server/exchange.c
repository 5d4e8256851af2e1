#include "server/exchange.h"

#include <errno.h>

#include "base/memory.h"
#include "server/exchange_state.h"
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
    exchange->chunked_reply = false;
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
    access_log_forget(&exchange->log);
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
    access_log_forget(&exchange->log);
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

bool exchange_in_handler(const struct exchange *exchange)
{
    return exchange->in_handler;
}

void exchange_yield(struct exchange *exchange)
{
    exchange->awaits_turn = true;
}

void exchange_log_abort(struct exchange *exchange, struct worker *worker)
{
    /* 499 is what others write there too: no status has left. */
    access_log_add(&worker->access_log, &exchange->log,
                   exchange->status > 0 ? exchange->status : 499, exchange->body_sent,
                   HTTP_ACCEPTED);
    trace_request_end(exchange->status, exchange->body_sent);
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

bool exchange_is_orphan(const struct exchange *exchange)
{
    return exchange->connection == NULL;
}
