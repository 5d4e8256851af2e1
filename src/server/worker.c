#include "server/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/memory.h"
#include "event_loop/signals.h"
#include "http/response_head.h"
#include "http/token.h"
#include "server/exchange_state.h"
#include "server/fork.h"
#include "server/output.h"
#include "server/worker_state.h"
#include "socket/kernel.h"
#include "socket/listener.h"
#include "trace/recorder.h"

#define ACCEPT_BATCH    64
#define ACCEPT_PAUSE_MS 500
#define REPLY_BATCH_NS  300000 /* the longest that a reply waits for others, measured best */
#define SERVER_NAME_MAX 200

static void worker_on_wakeup(struct wakeup *wakeup)
{
    (void)wakeup; /* the turn that it ends looks at stop_asked and the signals */
}

static int worker_set_server_line(struct worker *worker, struct error *err)
{
    struct slice name =
        worker->config.server ? slice_of_text(worker->config.server) : SLICE("zolal");
    if (name.len > SERVER_NAME_MAX || !http_is_field_value(name))
        return error_format(err, EINVAL,
                            "the server's name is not a field value of at most %d bytes",
                            SERVER_NAME_MAX);
    worker->server_line_len = field_line_write(worker->server_line, SLICE("Server"), name);
    return 0;
}

static void worker_init_lists(struct worker *worker)
{
    list_init(&worker->all);
    list_init(&worker->listeners);
    list_init(&worker->connections);
    list_init(&worker->dirty);
    list_init(&worker->again);
    list_init(&worker->ready);
    list_init(&worker->closed);
    list_init(&worker->spare_exchanges);
    list_init(&worker->spare_outputs);
}

static void worker_init_patience(struct worker *worker)
{
    const struct limits *limits = &worker->config.limits;
    timer_queue_init(&worker->patience[PATIENCE_NONE], 0);
    timer_queue_init(&worker->patience[PATIENCE_KEEP_ALIVE], limits->keep_alive_ms);
    timer_queue_init(&worker->patience[PATIENCE_HEAD], limits->head_ms);
    timer_queue_init(&worker->patience[PATIENCE_BODY], limits->body_ms);
    timer_queue_init(&worker->patience[PATIENCE_SEND], limits->send_ms);
    timer_queue_init(&worker->patience[PATIENCE_LINGER], limits->linger_ms);
    timer_queue_init(&worker->accept_pauses, ACCEPT_PAUSE_MS);
    timer_init(&worker->accept_pause);
}

/* REPLY_BATCH_NS in ticks. */
static void worker_init_clock(struct worker *worker)
{
    clock_calibrate(&worker->calibration);
    uint64_t ns = clock_ticks_to_ns(&worker->calibration, UINT64_C(1) << 20);
    worker->batch_ticks = ns > 0 ? ((uint64_t)REPLY_BATCH_NS << 20) / ns : REPLY_BATCH_NS;
    worker->date_second = -1;
}

int worker_new(struct worker **out, const struct worker_config *config, struct error *err)
{
    struct worker *worker = memory_new(sizeof(*worker));
    if (!worker)
        return error_set(err, ENOMEM, "make", "a worker");
    worker->config = *config;
    worker_init_lists(worker);
    worker_init_patience(worker);
    worker_init_clock(worker);
    access_log_init(&worker->access_log, config->access_log_fd);
    worker->fields =
        memory_new_array((size_t)config->limits.request_fields, sizeof(*worker->fields));
    int result = worker->fields ? worker_set_server_line(worker, err)
                                : error_set(err, ENOMEM, "make", "a worker");
    if (result < 0)
        goto free_worker;
    result = loop_init(&worker->loop, err);
    if (result < 0)
        goto free_worker;
    result = wakeup_init(&worker->wakeup, &worker->loop, worker_on_wakeup, err);
    if (result < 0)
        goto release_loop;
    result = fork_watch(worker);
    if (result < 0) {
        error_set(err, -result, "watch for", "forks");
        goto release_wakeup;
    }
    *out = worker;
    return 0;

release_wakeup:
    wakeup_release(&worker->wakeup);
release_loop:
    loop_release(&worker->loop);
free_worker:
    access_log_release(&worker->access_log);
    memory_free(worker->fields);
    memory_free(worker);
    return result;
}

static void worker_close_listeners(struct worker *worker)
{
    struct list *node;
    while ((node = list_pop(&worker->listeners))) {
        struct worker_listener *listener = list_entry(node, struct worker_listener, node);
        if (worker->forgotten)
            kernel_close(listener->watch.fd); /* the file of a UNIX socket is the parent's */
        else
            listener_close(listener->watch.fd, &listener->addr);
        memory_free(listener);
    }
}

static void worker_free_closed(struct worker *worker)
{
    struct list *node;
    while ((node = list_pop(&worker->closed)))
        connection_free(list_entry(node, struct connection, node));
}

static void worker_close_connections(struct worker *worker)
{
    while (!list_is_empty(&worker->connections))
        connection_close(list_entry(worker->connections.next, struct connection, node));
    worker_free_closed(worker);
}

void worker_free(struct worker *worker)
{
    struct list *node;
    fork_unwatch(worker);
    worker_close_listeners(worker);
    worker_close_connections(worker);
    while ((node = list_pop(&worker->spare_exchanges)))
        exchange_free(list_entry(node, struct exchange, node));
    while ((node = list_pop(&worker->spare_outputs)))
        output_free(list_entry(node, struct output, node));
    if (worker->forgotten)
        buffer_consume(&worker->access_log.lines, buffer_len(&worker->access_log.lines));
    access_log_release(&worker->access_log);
    wakeup_release(&worker->wakeup);
    loop_release(&worker->loop);
    memory_free(worker->fields);
    memory_free(worker);
}

void worker_message(const struct worker *worker, const char *text)
{
    if (worker->config.on_message)
        worker->config.on_message(worker->config.context, text);
}

int64_t worker_second(struct worker *worker)
{
    if (!worker->second_known) {
        worker->second = (int64_t)(clock_realtime_ns() / 1000000000);
        worker->second_known = true;
    }
    return worker->second;
}

struct slice worker_server_line(struct worker *worker)
{
    return slice_of(worker->server_line, worker->server_line_len);
}

struct slice worker_date_line(struct worker *worker)
{
    int64_t second = worker_second(worker);
    size_t len = sizeof("Date: ") - 1 + HTTP_DATE_LEN;
    if (worker->date_second != second) {
        memcpy(worker->date_line, "Date: ", sizeof("Date: ") - 1);
        http_date_write(worker->date_line + sizeof("Date: ") - 1, second);
        memcpy(worker->date_line + len, "\r\n", 2);
        worker->date_second = second;
    }
    return slice_of(worker->date_line, len + 2);
}

/* Watch the listeners, or not: while descriptors are short, and at the end. */
static void worker_watch_listeners(struct worker *worker, bool watch)
{
    for (struct list *node = worker->listeners.next; node != &worker->listeners;
         node = node->next) {
        struct worker_listener *listener = list_entry(node, struct worker_listener, node);
        if (watch && !listener->watched)
            listener->watched = loop_add(&worker->loop, &listener->watch, LOOP_READABLE) == 0;
        else if (!watch && listener->watched) {
            loop_remove(&worker->loop, &listener->watch);
            listener->watched = false;
        }
    }
}

/* No descriptor or memory for another connection: those there are go on, the kernel's queue keeps
 * the others, and we look again when one has closed or after a while. */
static void worker_pause_accepting(struct worker *worker, int error)
{
    char text[256];
    struct rlimit limit = {0};
    worker_watch_listeners(worker, false);
    timer_start(&worker->accept_pauses, &worker->accept_pause, worker->loop.now_ms);
    if (worker->descriptors_said)
        return;
    worker->descriptors_said = true;
    getrlimit(RLIMIT_NOFILE, &limit);
    snprintf(
        text, sizeof(text),
        "cannot accept more connections: %s (%zu open, limit of descriptors %llu); new ones wait "
        "until one closes: raise the limit with ulimit -n",
        strerror(error), worker->connection_count, (unsigned long long)limit.rlim_cur);
    worker_message(worker, text);
}

static void worker_resume_accepting(struct worker *worker)
{
    timer_stop(&worker->accept_pause);
    if (!worker->stopping)
        worker_watch_listeners(worker, true);
}

void worker_connection_closed(struct worker *worker)
{
    if (list_is_linked(&worker->accept_pause.node))
        worker_resume_accepting(worker);
}

/* Is this accept4(2) error the new connection's own, so that the next may be fine? */
static bool accept_error_is_passing(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
    case EPERM:
        return true;
    default:
        return false;
    }
}

/* Accept at most `most` connections. Returns whether the queue may hold more. */
static bool worker_accept(struct worker *worker, struct worker_listener *listener, int most)
{
    for (int i = 0; i < most; i++) {
        struct address peer;
        trace_subject(worker->connection_ids + 1, 0);
        int fd = listener_accept(listener->watch.fd, &peer);
        if (fd == -EAGAIN) {
            worker->descriptors_said = false; /* nobody waits: that occasion is over */
            return false;
        }
        if (fd < 0 && accept_error_is_passing(-fd))
            continue;
        if (fd < 0) {
            trace_subject(0, 0);
            worker_pause_accepting(worker, -fd);
            return false;
        }
        int result = connection_open(worker, fd, &peer, listener->number);
        if (result < 0) {
            worker_pause_accepting(worker, -result);
            return false;
        }
    }
    return true;
}

static void worker_on_connection(struct loop_watch *watch, uint32_t ready)
{
    struct worker_listener *listener = list_entry(watch, struct worker_listener, watch);
    (void)ready;
    if (!listener->worker->forgotten)
        worker_accept(listener->worker, listener, ACCEPT_BATCH);
}

int worker_listen(struct worker *worker, int fd, const struct address *addr, struct error *err)
{
    struct worker_listener *listener = memory_new(sizeof(*listener));
    int result = -ENOMEM;
    if (!listener)
        goto close_fd;
    listener->watch = (struct loop_watch){.fd = fd, .on_ready = worker_on_connection};
    listener->worker = worker;
    listener->addr = *addr;
    listener->number = (uint16_t)worker->listener_count;
    listener->watched = true;
    list_init(&listener->node);
    result = loop_add(&worker->loop, &listener->watch, LOOP_READABLE);
    if (result < 0)
        goto free_listener;
    list_append(&worker->listeners, &listener->node);
    return (int)worker->listener_count++;

free_listener:
    memory_free(listener);
close_fd:
    kernel_close(fd);
    return error_set(err, -result, "watch", "a listening socket");
}

int worker_adopt(struct worker *worker, int fd, const struct address *peer)
{
    return connection_open(worker, fd, peer, 0);
}

/* What waits is flushed before a call that may take its time: nothing waits behind a slow
 * application. */
static void worker_flush_before_call(struct worker *worker)
{
    if (list_is_empty(&worker->dirty))
        return;
    if (worker->call_ticks > worker->batch_ticks ||
        clock_ticks() - worker->dirty_since > worker->batch_ticks)
        worker_flush(worker);
}

/* After a call that took its time, or a wait. */
static void worker_update_time(struct worker *worker)
{
    loop_update_time(&worker->loop);
    worker->second_known = false;
}

/* The handler has returned: see what it left. */
static void worker_handler_returned(struct worker *worker, struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    exchange->in_handler = false;
    worker->handler_busy = false;
    worker->borrower = NULL;
    if (worker->call_ticks > worker->batch_ticks)
        worker_update_time(worker);
    if (!connection) {
        exchange_give_back(worker, exchange);
        return;
    }
    if (exchange->over) {
        connection_exchange_over(connection);
        return;
    }
    exchange->kept = true;
    exchange->awaits_room = exchange_pending(exchange) > 0;
    if (exchange_keep_body(exchange) < 0)
        exchange_fail_body(exchange, -EIO, HTTP_CANNOT_STORE_BODY);
    connection_flush_later(connection);
    if (exchange->awaits_turn)
        connection_again(connection);
}

static void worker_call(struct worker *worker, struct exchange *exchange,
                        void (*call)(void *context, struct exchange *exchange))
{
    uint64_t begin = clock_ticks();
    worker->handler_busy = true;
    worker->borrower = exchange->connection;
    exchange->in_handler = true;
    exchange->awaits_room = exchange->awaits_turn = false;
    trace_subject(exchange->connection->id, exchange->id);
    call(worker->config.handler.context, exchange);
    worker->call_ticks = clock_ticks() - begin;
    worker_handler_returned(worker, exchange);
}

void worker_handle(struct worker *worker, struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    if (worker->forgotten)
        return; /* its parent serves it */
    if (worker->handler_busy) {
        if (exchange_keep_head(exchange) < 0 || exchange_keep_body(exchange) < 0) {
            connection_refuse(connection, HTTP_INTERNAL_ERROR);
            return;
        }
        connection_enter(connection, CONNECTION_READY);
        list_unlink(&connection->again);
        list_append(&worker->ready, &connection->again);
        return;
    }
    worker_flush_before_call(worker);
    if (connection->state == CONNECTION_CLOSED)
        return; /* its last answer could not be sent */
    connection_enter(connection, CONNECTION_RUN);
    trace_request_begin(exchange->head.method_text, exchange->head.target);
    if (worker->access_log.fd >= 0)
        access_log_note(&worker->access_log, &exchange->log, &exchange->head, &connection->peer,
                        worker_second(worker));
    worker_call(worker, exchange, worker->config.handler.on_request);
}

void worker_handle_writable(struct worker *worker, struct connection *connection)
{
    if (worker->handler_busy) {
        list_unlink(&connection->again);
        list_append(&worker->ready, &connection->again);
        return;
    }
    worker_flush_before_call(worker);
    if (connection->state != CONNECTION_CLOSED)
        worker_call(worker, connection->exchange, worker->config.handler.on_writable);
}

void worker_handle_abort(struct worker *worker, struct exchange *exchange)
{
    exchange_log_abort(exchange, worker);
    worker->config.handler.on_abort(worker->config.handler.context, exchange);
}

void worker_flush(struct worker *worker)
{
    while (!list_is_empty(&worker->dirty))
        connection_flush(list_entry(worker->dirty.next, struct connection, dirty));
}

/* Take the nodes of `from` to `to`, so that what is appended meanwhile waits for the next turn. */
static void list_take_all(struct list *from, struct list *to)
{
    struct list *node;
    while ((node = list_pop(from)))
        list_append(to, node);
}

/* Connections that had more to do, and, when the handler is free, requests that waited for it. */
static void worker_run_again(struct worker *worker)
{
    struct list now;
    struct list *node;
    list_init(&now);
    list_take_all(&worker->again, &now);
    if (!worker->handler_busy)
        list_take_all(&worker->ready, &now);
    while ((node = list_pop(&now))) {
        struct connection *connection = list_entry(node, struct connection, again);
        if (connection->state == CONNECTION_READY)
            worker_handle(worker, connection);
        if (connection->state != CONNECTION_CLOSED && !worker->forgotten)
            connection_resume(connection);
    }
}

static void worker_expire(struct worker *worker)
{
    struct timer *timer;
    uint64_t now_ms = worker->loop.now_ms;
    for (int i = 0; i < PATIENCE_COUNT; i++)
        while ((timer = timer_queue_expire(&worker->patience[i], now_ms)))
            connection_expire(list_entry(timer, struct connection, timer));
    if (timer_queue_expire(&worker->accept_pauses, now_ms))
        worker_resume_accepting(worker);
}

/* How long the loop may wait, in milliseconds; -1: for ever. */
static int worker_timeout(const struct worker *worker)
{
    uint64_t deadline = timer_queue_deadline(&worker->accept_pauses);
    for (int i = 0; i < PATIENCE_COUNT; i++) {
        uint64_t next = timer_queue_deadline(&worker->patience[i]);
        deadline = next < deadline ? next : deadline;
    }
    if (worker->stopping && worker->stop_deadline_ms < deadline)
        deadline = worker->stop_deadline_ms;
    if (!list_is_empty(&worker->again) || (!worker->handler_busy && !list_is_empty(&worker->ready)))
        return 0;
    if (deadline == TIMER_NEVER)
        return -1;
    uint64_t now_ms = worker->loop.now_ms;
    uint64_t left = deadline > now_ms ? deadline - now_ms : 0;
    return left < INT32_MAX ? (int)left : INT32_MAX;
}

void worker_serve(struct worker *worker)
{
    worker->second_known = false;
    loop_dispatch(&worker->loop);
    if (worker->forgotten)
        return;
    worker_run_again(worker);
    worker_expire(worker);
    worker_flush(worker);
    if (!worker->handler_busy)
        worker_free_closed(worker);
}

/* One turn: wait, serve, flush. Returns 0; -ECANCELED when after_wait said stop; -errno. */
static int worker_turn(struct worker *worker)
{
    const struct worker_config *config = &worker->config;
    bool go_on = true;
    access_log_flush(&worker->access_log);
    trace_subject(0, 0);
    if (config->before_wait)
        config->before_wait(config->context);
    int result = loop_wait(&worker->loop, worker_timeout(worker));
    if (config->after_wait)
        go_on = config->after_wait(config->context);
    if (result < 0)
        return result;
    if (!go_on)
        return -ECANCELED;
    worker_serve(worker);
    return worker->forgotten ? -ECANCELED : 0;
}

void worker_stop(struct worker *worker)
{
    /* Release: what the caller did before is seen by the loop; partner: worker_stop_wanted. */
    atomic_store_explicit(&worker->stop_asked, true, memory_order_release);
    wakeup_signal(worker->wakeup.watch.fd);
}

static bool worker_stop_wanted(struct worker *worker)
{
    return atomic_load_explicit(&worker->stop_asked, memory_order_acquire) ||
           (worker->config.handle_signals && signals_stop_asked());
}

/* Connections that have no request under way are closed. */
static void worker_close_idle(struct worker *worker)
{
    struct list *node = worker->connections.next;
    while (node != &worker->connections) {
        struct connection *connection = list_entry(node, struct connection, node);
        node = node->next;
        bool has_output = connection->output && connection->output->pending > 0;
        if (connection->state == CONNECTION_IDLE && !connection->readable && !has_output &&
            connection->input.len == 0)
            connection_close(connection);
    }
}

/* Take what waits in the listeners' queues, so that a stop loses nobody; then close the listeners,
 * last. */
static void worker_begin_stop(struct worker *worker)
{
    uint64_t most = worker->config.limits.graceful_ms;
    for (struct list *node = worker->listeners.next; node != &worker->listeners; node = node->next)
        while (worker_accept(worker, list_entry(node, struct worker_listener, node), ACCEPT_BATCH))
            continue;
    worker->stopping = true;
    worker->stop_deadline_ms = most > 0 ? worker->loop.now_ms + most : TIMER_NEVER;
    timer_stop(&worker->accept_pause);
    worker_close_listeners(worker);
}

static bool worker_is_done(struct worker *worker)
{
    if (!worker->stopping && worker_stop_wanted(worker))
        worker_begin_stop(worker);
    if (!worker->stopping)
        return false;
    worker_close_idle(worker);
    return worker->connection_count == 0 || worker->loop.now_ms >= worker->stop_deadline_ms;
}

/* The wait is over, or cannot come to a good end. */
static int worker_wait_result(const struct exchange *exchange, enum worker_wait what)
{
    if (!exchange->connection)
        return -EPIPE;
    if (what == WORKER_WAIT_DRAINED)
        return exchange_pending(exchange) > 0 ? -EAGAIN : 0;
    if (spool_left(&exchange->spool) > 0 || exchange->body_state == BODY_WHOLE)
        return 0;
    return exchange->body_state == BODY_FAILED ? exchange->body_error : -EAGAIN;
}

/* A client that must send: its patience runs from now. */
static void worker_wait_begin(struct worker *worker, struct exchange *exchange,
                              enum worker_wait what)
{
    struct connection *connection = exchange->connection;
    worker_update_time(worker);
    if (what == WORKER_WAIT_READABLE) {
        exchange_begin_body_wait(exchange);
        connection_start_patience(connection);
    }
    connection_flush(connection);
}

static void worker_wait_end(struct exchange *exchange, enum worker_wait what)
{
    struct connection *connection = exchange->connection;
    if (what == WORKER_WAIT_READABLE)
        exchange_end_body_wait(exchange);
    if (!connection)
        return;
    if (!connection->blocked)
        timer_stop(&connection->timer);
    trace_subject(connection->id, exchange->id);
}

int worker_wait(struct worker *worker, struct exchange *exchange, enum worker_wait what)
{
    struct connection *borrower = worker->borrower;
    int result = worker_wait_result(exchange, what);
    if (result != -EAGAIN)
        return result;
    if (!exchange->in_handler || worker->handler_waits ||
        !pthread_equal(worker->thread, pthread_self()))
        return -EBUSY;
    if (borrower && (exchange_keep_body(exchange) < 0 || connection_keep_input(borrower) < 0))
        return -EPIPE;
    worker->handler_waits = true;
    worker_wait_begin(worker, exchange, what);
    worker_flush(worker);
    while ((result = worker_wait_result(exchange, what)) == -EAGAIN) {
        result = worker_turn(worker);
        if (result == 0 && worker_is_done(worker))
            result = -ECANCELED;
        if (result < 0)
            break;
    }
    worker->handler_waits = false;
    worker_wait_end(exchange, what);
    return result;
}

int worker_run(struct worker *worker, struct error *err)
{
    int result = 0;
    if (worker->config.handle_signals) {
        result = signals_install(worker->wakeup.watch.fd, err);
        if (result < 0)
            return result;
    }
    worker->thread = pthread_self();
    loop_update_time(&worker->loop);
    while (result == 0 && !worker_is_done(worker))
        result = worker_turn(worker);
    if (worker->config.handle_signals)
        signals_remove();
    worker->stopping = true;
    worker_close_listeners(worker);
    worker_close_connections(worker);
    access_log_flush(&worker->access_log);
    if (result == -ECANCELED)
        return 0;
    return result < 0 ? error_set(err, -result, "turn", "the event loop") : 0;
}

size_t worker_connections(const struct worker *worker)
{
    return worker->connection_count;
}
