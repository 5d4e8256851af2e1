#include "server/worker.h"

#include <errno.h>
#include <pthread.h>

#include "event_loop/signals.h"
#include "server/output.h"
#include "server/worker_state.h"
#include "trace/recorder.h"

#define LEAVE_NS 200000000 /* for threads to leave once there is nothing to do for them */

void worker_free_closed(struct worker *worker)
{
    struct list *node;
    if (worker->visitors > 0)
        return;
    while ((node = list_pop(&worker->closed)))
        connection_free(list_entry(node, struct connection, node));
}

void worker_close_connections(struct worker *worker)
{
    while (!list_is_empty(&worker->connections))
        connection_close(list_entry(worker->connections.next, struct connection, node));
    worker_free_closed(worker);
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

void worker_flush(struct worker *worker)
{
    while (!list_is_empty(&worker->dirty))
        connection_flush(list_entry(worker->dirty.next, struct connection, dirty));
}

/* Connections that had more to do, and, when the only thread is free, requests that waited for it.
 */
static void worker_run_again(struct worker *worker, struct lead_thread *thread)
{
    struct list *node;
    list_take_all(&worker->again, &worker->now);
    if (!worker->handler_busy && !worker_is_threaded(worker))
        list_take_all(&worker->ready, &worker->now);
    while (worker_leads(worker, thread) && !worker->forgotten && (node = list_pop(&worker->now))) {
        struct connection *connection = list_entry(node, struct connection, again);
        enum connection_next next = CONNECTION_STEP;
        if (connection->state == CONNECTION_READY)
            next = worker_handle(worker, connection);
        if (next != CONNECTION_LEFT && connection->state != CONNECTION_CLOSED)
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
    acceptor_expire(&worker->acceptor);
}

uint64_t worker_deadline(const struct worker *worker)
{
    bool may_run = !worker->handler_busy && !worker_is_threaded(worker);
    if (!list_is_empty(&worker->again) || !list_is_empty(&worker->now) ||
        (may_run && !list_is_empty(&worker->ready)))
        return 0;
    uint64_t deadline = acceptor_deadline(&worker->acceptor);
    for (int i = 0; i < PATIENCE_COUNT; i++) {
        uint64_t next = timer_queue_deadline(&worker->patience[i]);
        deadline = next < deadline ? next : deadline;
    }
    if (worker->stopping && worker->stop_deadline_ms < deadline)
        deadline = worker->stop_deadline_ms;
    return deadline;
}

/* How long the loop may wait until then, in milliseconds; -1: for ever. */
static int worker_timeout(const struct worker *worker, uint64_t deadline)
{
    if (deadline == TIMER_NEVER)
        return -1;
    uint64_t now_ms = worker->loop.now_ms;
    uint64_t left = deadline > now_ms ? deadline - now_ms : 0;
    return left < INT32_MAX ? (int)left : INT32_MAX;
}

void worker_serve(struct worker *worker, struct lead_thread *thread)
{
    worker->second_known = false;
    while (worker_leads(worker, thread) && !worker->forgotten && loop_dispatch_next(&worker->loop))
        continue;
    if (worker_leads(worker, thread))
        worker_run_again(worker, thread);
    if (!worker_leads(worker, thread) || worker->forgotten)
        return;
    worker_expire(worker);
    worker_flush(worker);
    if (!worker->handler_busy)
        worker_free_closed(worker);
}

/* Wait for the loop, without the lock. Returns as worker_turn. */
static int worker_wait_for_loop(struct worker *worker)
{
    const struct worker_config *config = &worker->config;
    void *token = NULL;
    uint64_t deadline = worker_deadline(worker);
    int timeout_ms = worker_timeout(worker, deadline);
    worker->wake_ms = deadline;
    worker->waiting = true;
    if (config->unlock)
        token = config->unlock(config->context);
    int result = loop_wait(&worker->loop, timeout_ms);
    if (config->lock)
        config->lock(config->context, token);
    loop_update_time(&worker->loop);
    worker->waiting = false;
    if (config->check && !config->check(config->context))
        return -ECANCELED;
    return result < 0 ? result : 0;
}

int worker_turn(struct worker *worker, struct lead_thread *thread)
{
    access_log_flush(&worker->access_log);
    trace_subject(0, 0);
    worker_flush(worker);
    /* A thread that has taken over goes on where the other has stopped. */
    if (!loop_has_ready(&worker->loop)) {
        worker_watch_new(worker);
        int result = worker_wait_for_loop(worker);
        if (result < 0)
            return result;
    }
    if (thread == &worker->lead.keeper && lead_has_idle(&worker->lead))
        return 0; /* that one may run the handler */
    worker_serve(worker, thread);
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

/* Does it wait for a request, with nothing else to do? */
static bool connection_is_quiet(const struct connection *connection)
{
    bool has_output = connection->output && connection->output->pending > 0;
    return connection->state == CONNECTION_IDLE && !connection->readable && !has_output &&
           connection->input.len == 0;
}

/* Connections that have no request under way are closed, once they were looked at: a request that
 * the kernel has would be lost, and on a UNIX socket its client told of a reset. One that has
 * brought none yet is waited for: its client has only just connected, most likely, and cannot know
 * that it is too late. */
static void worker_close_idle(struct worker *worker)
{
    struct list *node = worker->connections.next;
    while (node != &worker->connections) {
        struct connection *connection = list_entry(node, struct connection, node);
        node = node->next;
        if (connection->has_asked && connection_is_quiet(connection)) {
            timer_stop(&connection->timer);
            connection_expire(connection);
        }
    }
}

/* Take what waits in the listeners' queues, so that a stop loses nobody; then close the listeners,
 * last. */
static void worker_begin_stop(struct worker *worker)
{
    uint64_t most = worker->config.limits.graceful_ms;
    acceptor_accept_all(&worker->acceptor);
    worker->stopping = true;
    worker->stop_deadline_ms = most > 0 ? worker->loop.now_ms + most : TIMER_NEVER;
    for (struct list *node = worker->connections.next; node != &worker->connections;
         node = node->next) {
        struct connection *connection = list_entry(node, struct connection, node);
        if (connection->state == CONNECTION_IDLE)
            connection_start_patience(connection);
    }
    acceptor_close(&worker->acceptor);
}

bool worker_is_done(struct worker *worker)
{
    if (!worker->stopping && worker_stop_wanted(worker))
        worker_begin_stop(worker);
    if (!worker->stopping)
        return false;
    worker_close_idle(worker);
    /* A client that has left does not end the call that works for it. */
    return (worker->acceptor.connections == 0 && worker->calls == 0) ||
           worker->loop.now_ms >= worker->stop_deadline_ms;
}

int worker_follow(struct worker *worker)
{
    return lead_follow(&worker->lead);
}

unsigned worker_threads_left(const struct worker *worker)
{
    return worker->lead.threads + worker->waiters;
}

/* Turn the loop until the work is over. Returns 0 or what worker_turn failed with. */
static int worker_run_alone(struct worker *worker)
{
    int result = 0;
    while (result == 0 && !worker_is_done(worker))
        result = worker_turn(worker, NULL);
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
    if (worker_is_threaded(worker))
        lead_keep(&worker->lead);
    else
        worker->result = worker_run_alone(worker);
    result = worker->result;
    if (worker->config.handle_signals)
        signals_remove();
    worker->stopping = true;
    acceptor_close(&worker->acceptor);
    worker_close_connections(worker);
    access_log_flush(&worker->access_log);
    if (worker_is_threaded(worker) && !worker->forgotten)
        lead_join(&worker->lead, LEAVE_NS);
    if (result == 0 || result == -ECANCELED)
        return 0;
    if (worker_is_threaded(worker) && worker->lead.most == 0)
        return error_format(err, -result, "cannot start a thread: %s; %s", strerror(-result),
                            WORKER_THREADS_REMEDY);
    return error_set(err, -result, "turn", "the event loop");
}

size_t worker_connections(const struct worker *worker)
{
    return worker->acceptor.connections;
}
