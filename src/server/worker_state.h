/* The inside of a worker; only server/ looks here. */
#ifndef ZOLAL_SERVER_WORKER_STATE_H
#define ZOLAL_SERVER_WORKER_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "event_loop/acceptor.h"
#include "event_loop/loop.h"
#include "event_loop/timers.h"
#include "event_loop/wakeup.h"
#include "http/date.h"
#include "http/field_memo.h"
#include "server/access_log.h"
#include "server/connection.h"
#include "server/history.h"
#include "server/lead.h"
#include "server/worker.h"

#define WORKER_RECEIVE_SIZE (64u << 10)
#define WORKER_THREADS_REMEDY \
    "see ulimit -u, the cgroup's pids.max, and the memory for their stacks"

struct call_sight; /* worker_call.c */

struct worker {
    struct loop loop;
    struct wakeup wakeup;
    struct acceptor acceptor;  /* held: all threads are in calls */
    struct loop_watch signals; /* worker_watch_signals */
    struct worker_config config;
    struct list all; /* server/fork.c */
    struct list connections;
    struct list dirty;     /* connections with output to flush */
    struct list again;     /* connections with more to do in the next turn */
    struct list now;       /* and in this one: whoever leads goes on with it */
    struct list unwatched; /* new connections: many are over before they need be waited for */
    struct list ready;     /* connections whose request waits for a thread, or the only one */
    struct list closed;    /* connections to free when no dispatch is under way */
    struct list spare_exchanges;
    struct list spare_outputs;
    unsigned spare_exchange_count;
    unsigned spare_output_count;
    size_t ready_count; /* connections in state READY */
    uint64_t request_ids;

    struct timer_queue patience[PATIENCE_COUNT];

    struct lead lead; /* of config.threads > 1 */
    int result;       /* what ended the lead: 0 or -errno */
    struct history history;
    struct connection *borrower; /* whose request, for a handler, lies in `receive` and `fields` */
    struct call_sight *leaders_call; /* the call that the leader is in */
    bool handler_busy;               /* whoever turns the loop is in a handler: requests wait */
    bool handler_waits;              /* and turns it there, in worker_wait */
    bool waiting;                    /* the loop is waited for, without the lock */
    unsigned calls;                  /* of the handler that have not come back */
    unsigned visitors;               /* threads without the lead that look at connections */
    unsigned waiters;                /* threads in worker_wait without turning the loop */
    uint64_t wake_ms;                /* when the wait ends by itself */
    pthread_t thread;                /* that is in worker_run */
    _Atomic bool stop_asked;         /* written by worker_stop, read by the loop */
    bool stopping;
    uint32_t forks; /* how often this process has forked since the worker was made */
    bool forgotten; /* this is a forked child: nothing here is ours */
    uint64_t stop_deadline_ms;

    struct clock_calibration calibration;
    uint64_t batch_ticks; /* how long a reply may wait for others */
    uint64_t dirty_since; /* ticks when `dirty` got its first */
    uint64_t call_ticks;  /* what the last call of the handler took */

    struct access_log access_log;
    bool second_known;   /* `second` was read in this turn */
    int64_t second;      /* of CLOCK_REALTIME */
    int64_t date_second; /* that `date_line` was made for */
    char server_line[256];
    size_t server_line_len;
    char date_line[sizeof("Date: \r\n") + HTTP_DATE_LEN];

    struct field_memo field_memo;
    struct http_field *fields; /* limits.request_fields: a head is parsed into them */
    char receive[WORKER_RECEIVE_SIZE];
};

/* Does the worker have threads that take turns? */
static inline bool worker_is_threaded(const struct worker *worker)
{
    return worker->config.threads > 1;
}

/* Does `thread` (NULL: the only one) turn the loop? */
static inline bool worker_leads(const struct worker *worker, const struct lead_thread *thread)
{
    return !thread || lead_leads(&worker->lead, thread);
}

/* For the thread that turns the loop: call the handler for a whole request, or let another thread
 * do it; where none can, the connection waits in state READY. */
enum connection_next worker_handle(struct worker *worker, struct connection *connection);

/* Tell the handler of an exchange that it kept: room again, or the end. */
enum connection_next worker_handle_writable(struct worker *worker, struct connection *connection);
void worker_handle_abort(struct worker *worker, struct exchange *exchange);

/* Call the handler for one request that waits for a thread. Returns whether there was one. */
bool worker_work(struct worker *worker, struct lead_thread *thread);

/* The receive buffer is about to be used: what a handler still needs of it is moved out. Returns 0
 * or -ENOMEM. */
int worker_reclaim_receive(struct worker *worker);

/* lead_ops.part: the leader's handler goes on without the lead. */
bool worker_lead_part(void *context);

/* After a call that took its time, or a wait. */
void worker_update_time(struct worker *worker);

/* When the loop must turn again at the latest, in CLOCK_MONOTONIC milliseconds; 0: at once. */
uint64_t worker_deadline(const struct worker *worker);

/* See to a stop that was asked for. Returns whether the worker's work is over. */
bool worker_is_done(struct worker *worker);

/* The part of a turn that does not wait: serve what is ready, flush, free what is closed. `thread`:
 * that turns, NULL where there is only one. */
void worker_serve(struct worker *worker, struct lead_thread *thread);

/* One turn: wait, serve, flush. Returns 0; -ECANCELED when `check` said stop; -errno. */
int worker_turn(struct worker *worker, struct lead_thread *thread);

/* Prepare the acceptor, whose connections become the worker's. */
void worker_init_acceptor(struct worker *worker);

/* Let the loop watch the connections that it does not know yet. */
void worker_watch_new(struct worker *worker);

/* Free the closed connections, but not while another thread may look at one; or close all first. */
void worker_free_closed(struct worker *worker);
void worker_close_connections(struct worker *worker);

/* Flush the replies that wait. */
void worker_flush(struct worker *worker);

/* The Server and Date field lines of an answer; the date is formatted once a second. */
struct slice worker_server_line(struct worker *worker);
struct slice worker_date_line(struct worker *worker);

/* CLOCK_REALTIME in seconds, as of this turn. */
int64_t worker_second(struct worker *worker);

/* A line for the operator. */
void worker_message(const struct worker *worker, const char *text);

#endif
