/* Calling the handler, and waiting inside it. */
#include "server/worker.h"

#include <errno.h>

#include "server/exchange_state.h"
#include "server/worker_state.h"
#include "trace/recorder.h"

/* A call that leaves the process idle for so long has blocked. */
#define BLOCKED_NS 500000

/* To tell at a call's end whether it has blocked: only what it did without the lead is looked at.
 */
struct call_sight {
    uint32_t key; /* history */
    bool apart;   /* it has no lead, or has lost it; then: */
    uint64_t begin_ns;
    uint64_t cpu_ns; /* of the process */
};

static void call_sight_begin(struct call_sight *sight)
{
    sight->apart = true;
    sight->begin_ns = clock_monotonic_ns();
    sight->cpu_ns = clock_process_cpu_ns();
}

/* What waits is flushed before a call that may take its time: nothing waits behind a slow
 * application. */
static void worker_flush_before_call(struct worker *worker, const struct exchange *exchange)
{
    if (list_is_empty(&worker->dirty))
        return;
    if (worker->call_ticks > worker->batch_ticks ||
        clock_ticks() - worker->dirty_since > worker->batch_ticks ||
        history_blocks(&worker->history, exchange->history_key))
        worker_flush(worker);
}

void worker_update_time(struct worker *worker)
{
    loop_update_time(&worker->loop);
    worker->second_known = false;
}

int worker_reclaim_receive(struct worker *worker)
{
    struct connection *borrower = worker->borrower;
    if (!borrower)
        return 0;
    struct exchange *exchange = borrower->exchange;
    if (exchange_keep_head(exchange) < 0 || exchange_keep_body(exchange) < 0 ||
        connection_keep_input(borrower) < 0)
        return -ENOMEM;
    worker->borrower = NULL;
    return 0;
}

bool worker_lead_part(void *context)
{
    struct worker *worker = context;
    if (worker_reclaim_receive(worker) < 0)
        return false;
    worker->handler_busy = false;
    if (worker->leaders_call)
        call_sight_begin(worker->leaders_call);
    worker->leaders_call = NULL;
    return true;
}

/* Wake whoever waits for the loop, if there is something to do for it before its time. */
static void worker_wake_leader(struct worker *worker)
{
    if (!worker->waiting || (!worker->stopping && worker_deadline(worker) >= worker->wake_ms))
        return;
    worker->waiting = false;
    wakeup_signal(worker->wakeup.watch.fd);
}

void worker_let_go(struct worker *worker, struct exchange *exchange)
{
    struct lead_thread *thread = exchange->thread;
    if (thread && lead_leads(&worker->lead, thread) && worker_lead_part(worker))
        lead_pass(&worker->lead, thread);
}

/* The handler has returned: see what it left. */
static void worker_handler_returned(struct worker *worker, struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    exchange->in_handler = false;
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

/* A thread that has no lead has answered: what the leader would do at the end of its turn. */
static void worker_visitor_leaves(struct worker *worker, struct connection *connection)
{
    if (connection && connection_flush(connection) == 0 && connection->state == CONNECTION_IDLE &&
        connection_has_input(connection))
        connection_again(connection);
    access_log_flush(&worker->access_log);
    worker_wake_leader(worker);
}

/* Did the call leave the process with nothing to do? Waiting for the GIL is no such thing: then
 * another thread computes. */
static bool call_has_blocked(const struct call_sight *sight)
{
    if (!sight->apart)
        return false;
    uint64_t wall_ns = clock_monotonic_ns() - sight->begin_ns;
    uint64_t cpu_ns = clock_process_cpu_ns() - sight->cpu_ns;
    return wall_ns > cpu_ns + BLOCKED_NS && wall_ns - cpu_ns > wall_ns / 4;
}

/* The lead changes hands before a call that is expected to block, else while it does. */
static void worker_call_begin(struct worker *worker, struct lead_thread *thread,
                              const struct exchange *exchange, struct call_sight *sight)
{
    bool leads = lead_leads(&worker->lead, thread);
    sight->key = exchange->history_key;
    sight->apart = false;
    if (leads)
        worker->leaders_call = sight;
    else
        call_sight_begin(sight);
    if (leads && history_blocks(&worker->history, sight->key) && worker_lead_part(worker))
        lead_pass(&worker->lead, thread);
    lead_call_begin(&worker->lead, thread);
}

/* Returns whether the thread leads (still). */
static bool worker_call_end(struct worker *worker, struct lead_thread *thread,
                            const struct exchange *exchange, const struct call_sight *sight)
{
    if (!exchange->has_waited) /* for its client: that says nothing about the application */
        history_note(&worker->history, sight->key, call_has_blocked(sight));
    if (!lead_call_end(&worker->lead, thread))
        return false;
    worker->leaders_call = NULL;
    return true;
}

/* Run the handler in this thread. */
static enum connection_next worker_call(struct worker *worker, struct lead_thread *thread,
                                        struct exchange *exchange,
                                        void (*call)(void *context, struct exchange *exchange))
{
    bool leads = worker_leads(worker, thread);
    struct call_sight sight;
    exchange->in_handler = true;
    exchange->thread = thread;
    exchange->awaits_room = exchange->awaits_turn = exchange->has_waited = false;
    trace_subject(exchange->connection->id, exchange->id);
    worker->calls++;
    if (leads)
        worker->handler_busy = true;
    if (thread)
        worker_call_begin(worker, thread, exchange, &sight);
    uint64_t begin = clock_ticks();
    call(worker->config.handler.context, exchange);
    uint64_t ticks = clock_ticks() - begin;
    if (thread)
        leads = worker_call_end(worker, thread, exchange, &sight);
    worker->calls--;
    worker->call_ticks = ticks;
    if (leads) {
        worker->handler_busy = false;
        worker->borrower = NULL;
    }
    if (!leads || ticks > worker->batch_ticks)
        worker_update_time(worker);
    struct connection *connection = exchange->connection;
    worker->visitors += !leads;
    worker_handler_returned(worker, exchange);
    if (leads)
        return connection && connection->state == CONNECTION_IDLE ? CONNECTION_STEP
                                                                  : CONNECTION_WAIT;
    worker_visitor_leaves(worker, connection);
    worker->visitors--;
    return CONNECTION_LEFT;
}

static enum connection_next worker_call_request(struct worker *worker, struct lead_thread *thread,
                                                struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    connection_enter(connection, CONNECTION_RUN);
    trace_request_begin(exchange->head.method_text, exchange->head.target);
    if (access_log_is_on(&worker->access_log))
        access_log_note(&worker->access_log, &exchange->log, &exchange->head, connection->input,
                        &connection->peer, worker_second(worker));
    return worker_call(worker, thread, exchange, worker->config.handler.on_request);
}

/* The thread that turns the loop, as worker_call takes it. */
static struct lead_thread *worker_turner(struct worker *worker)
{
    return worker_is_threaded(worker) ? worker->lead.leader : NULL;
}

/* May the thread that turns the loop run the handler? */
static bool worker_may_call(const struct worker *worker)
{
    return !worker->handler_busy && !(worker_is_threaded(worker) && lead_is_kept(&worker->lead));
}

/* Leave the connection to the next thread that has nothing to do. */
static void worker_leave_to_others(struct worker *worker, struct connection *connection)
{
    list_unlink(&connection->again);
    list_append(&worker->ready, &connection->again);
    if (worker_is_threaded(worker) && !lead_call_in(&worker->lead) &&
        worker->config.limits.queue == 0)
        acceptor_hold(&worker->acceptor, true);
}

static enum connection_next worker_queue(struct worker *worker, struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    uint64_t most = worker->config.limits.queue;
    if (most > 0 && worker->ready_count >= most && worker_is_threaded(worker) &&
        !lead_has_idle(&worker->lead)) {
        connection_refuse(connection, HTTP_OVERLOADED);
        return CONNECTION_WAIT;
    }
    if (exchange_keep_head(exchange) < 0 || exchange_keep_body(exchange) < 0) {
        connection_refuse(connection, HTTP_INTERNAL_ERROR);
        return CONNECTION_WAIT;
    }
    connection_enter(connection, CONNECTION_READY);
    worker_leave_to_others(worker, connection);
    return CONNECTION_WAIT;
}

enum connection_next worker_handle(struct worker *worker, struct connection *connection)
{
    if (worker->forgotten)
        return CONNECTION_WAIT; /* its parent serves it */
    connection->exchange->history_key = history_key(connection->exchange->head.path);
    if (!worker_may_call(worker))
        return worker_queue(worker, connection);
    /* From here on, since a flush may end other connections, whose handlers may let others come. */
    worker->borrower = connection;
    worker_flush_before_call(worker, connection->exchange);
    if (!connection->exchange || worker->lead.ended)
        return CONNECTION_WAIT; /* its last answer could not be sent, or all has ended */
    return worker_call_request(worker, worker_turner(worker), connection);
}

enum connection_next worker_handle_writable(struct worker *worker, struct connection *connection)
{
    if (!worker_may_call(worker)) {
        worker_leave_to_others(worker, connection);
        return CONNECTION_WAIT;
    }
    worker_flush_before_call(worker, connection->exchange);
    if (!connection->exchange || worker->lead.ended)
        return CONNECTION_WAIT;
    return worker_call(worker, worker_turner(worker), connection->exchange,
                       worker->config.handler.on_writable);
}

bool worker_work(struct worker *worker, struct lead_thread *thread)
{
    struct list *node = list_pop(&worker->ready);
    if (list_is_empty(&worker->ready))
        acceptor_hold(&worker->acceptor, false);
    if (!node)
        return false;
    struct connection *connection = list_entry(node, struct connection, again);
    if (connection->state == CONNECTION_READY)
        worker_call_request(worker, thread, connection);
    else if (connection_owes_call(connection) && !connection->exchange->in_handler)
        worker_call(worker, thread, connection->exchange, worker->config.handler.on_writable);
    return true;
}

void worker_handle_abort(struct worker *worker, struct exchange *exchange)
{
    exchange_log_abort(exchange, worker);
    /* It may let go of the lock, and its connection is not to be freed meanwhile. */
    worker->visitors++;
    worker->config.handler.on_abort(worker->config.handler.context, exchange);
    worker->visitors--;
}

/* ------------------------------------------------------------------------------------- waiting */

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
    exchange->has_waited = true;
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

/* The only thread turns the loop inside the handler. */
static int worker_wait_turning(struct worker *worker, struct exchange *exchange,
                               enum worker_wait what)
{
    int result;
    if (worker->handler_waits || !pthread_equal(worker->thread, pthread_self()))
        return -EBUSY;
    worker->handler_waits = true;
    worker_wait_begin(worker, exchange, what);
    worker_flush(worker);
    while ((result = worker_wait_result(exchange, what)) == -EAGAIN) {
        result = worker_turn(worker, NULL);
        if (result == 0 && worker_is_done(worker))
            result = -ECANCELED;
        if (result < 0)
            break;
    }
    worker->handler_waits = false;
    worker_wait_end(exchange, what);
    return result;
}

/* Others turn the loop. The thread may be one that the application has started. */
static int worker_wait_apart(struct worker *worker, struct exchange *exchange,
                             enum worker_wait what)
{
    struct lead_gate gate;
    int result = exchange->waiter ? -EBUSY : lead_gate_init(&gate);
    if (result < 0)
        return result;
    worker_let_go(worker, exchange);
    worker_wait_begin(worker, exchange, what);
    worker_wake_leader(worker);
    exchange->waiter = &gate;
    worker->waiters++;
    while ((result = worker_wait_result(exchange, what)) == -EAGAIN) {
        if (worker->lead.ended) {
            result = -ECANCELED;
            break;
        }
        lead_wait(&worker->lead, &gate);
    }
    worker->waiters--;
    exchange->waiter = NULL;
    lead_gate_release(&gate);
    worker_wait_end(exchange, what);
    if (exchange->given_back)
        exchange_give_back(worker, exchange);
    return result;
}

int worker_wait(struct worker *worker, struct exchange *exchange, enum worker_wait what)
{
    int result = worker_wait_result(exchange, what);
    if (result != -EAGAIN)
        return result;
    if (!exchange->in_handler)
        return -EBUSY;
    return worker_is_threaded(worker) ? worker_wait_apart(worker, exchange, what)
                                      : worker_wait_turning(worker, exchange, what);
}
