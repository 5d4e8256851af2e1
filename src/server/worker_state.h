/* The inside of a worker; only server/ looks here. */
#ifndef ZOLAL_SERVER_WORKER_STATE_H
#define ZOLAL_SERVER_WORKER_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/list.h"
#include "event_loop/loop.h"
#include "event_loop/timers.h"
#include "event_loop/wakeup.h"
#include "http/date.h"
#include "server/access_log.h"
#include "server/connection.h"
#include "server/worker.h"

#define WORKER_RECEIVE_SIZE (64u << 10)

struct worker_listener {
    struct loop_watch watch;
    struct worker *worker;
    struct list node;
    struct address addr;
    uint16_t number;
    bool watched;
};

struct worker {
    struct loop loop;
    struct wakeup wakeup;
    struct worker_config config;
    struct list all; /* server/fork.c */
    struct list listeners;
    struct list connections;
    struct list dirty;  /* connections with output to flush */
    struct list again;  /* connections with more to do */
    struct list ready;  /* connections whose request waits for the handler */
    struct list closed; /* connections to free when no dispatch is under way */
    struct list spare_exchanges;
    struct list spare_outputs;
    unsigned spare_exchange_count;
    unsigned spare_output_count;
    unsigned listener_count;
    size_t connection_count;
    uint32_t connection_ids;
    uint64_t request_ids;

    struct timer_queue patience[PATIENCE_COUNT];
    struct timer_queue accept_pauses;
    struct timer accept_pause; /* running: out of descriptors */
    bool descriptors_said;     /* the message about it was given for this occasion */

    struct connection *borrower; /* whose input lies in `receive` */
    bool handler_busy;           /* a handler is running: requests wait */
    pthread_t thread;            /* that is in worker_run */
    bool handler_waits;          /* and turns the loop itself, in worker_wait */
    _Atomic bool stop_asked;     /* written by worker_stop, read by the loop */
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

    struct http_field *fields; /* limits.request_fields: a head is parsed into them */
    char receive[WORKER_RECEIVE_SIZE];
};

/* Call the handler for a whole request, unless it is busy: then the connection waits in state
 * READY. */
void worker_handle(struct worker *worker, struct connection *connection);

/* Tell the handler of an exchange that it kept: room again, or the end. */
void worker_handle_writable(struct worker *worker, struct connection *connection);
void worker_handle_abort(struct worker *worker, struct exchange *exchange);

/* The part of a turn that does not wait: serve what is ready, flush, free what is closed. */
void worker_serve(struct worker *worker);

/* Flush the replies that wait. */
void worker_flush(struct worker *worker);

/* The Server and Date field lines of an answer; the date is formatted once a second. */
struct slice worker_server_line(struct worker *worker);
struct slice worker_date_line(struct worker *worker);

/* CLOCK_REALTIME in seconds, as of this turn. */
int64_t worker_second(struct worker *worker);

/* A connection was closed: its descriptor can be had again. */
void worker_connection_closed(struct worker *worker);

/* A line for the operator. */
void worker_message(const struct worker *worker, const char *text);

#endif
