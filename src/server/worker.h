/* A worker: a loop, its listeners and its connections, and the threads that turn them and run the
 * handler. With more than one thread, a thread that only waits turns the loop; see server/lead.h.
 */
#ifndef ZOLAL_SERVER_WORKER_H
#define ZOLAL_SERVER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "server/exchange.h"
#include "server/limits.h"
#include "socket/address.h"

struct answer;

/* Which answers leave their connection open, where client and server could go on with it. */
enum persistence {
    PERSISTENCE_ALWAYS,
    PERSISTENCE_WITH_LENGTH, /* those with a Content-Length or without a body */
    PERSISTENCE_NEVER
};

/* What a worker needs from its embedder. Callbacks may be NULL; `context` is passed to each. */
struct worker_config {
    struct limits limits;
    struct handler handler;
    int access_log_fd;  /* -1: none; not owned */
    const char *server; /* the Server field; NULL: "zolal" */
    enum persistence persistence;
    bool handle_signals; /* SIGTERM and SIGINT stop this worker (event_loop/signals.h) */
    /* Threads that may run the handler; 1: worker_run alone does everything. Else it starts them:
     * `spawn` has one call worker_follow, and returns 0 or -errno; after that it is asked for no
     * more, and what runs goes on with fewer. -ECANCELED: `check` says no from now on. */
    unsigned threads;
    int (*spawn)(void *context);
    /* The lock that guards the worker and all that is its, held by whoever calls it and released
     * around what may block (Python: the GIL). `unlock` returns what `lock` is given by the same
     * thread. Not NULL where there are threads. */
    void *(*unlock)(void *context);
    void (*lock)(void *context, void *token);
    /* Asked after each wait, and for worker_watch_signals: false to stop. */
    bool (*check)(void *context);
    /* A line for the operator, said once for each occasion: no descriptors left, and the like. */
    void (*on_message)(void *context, const char *text);
    /* An answer is over: server/access_log.h. */
    void (*on_answer)(void *context, const struct answer *answer);
    void *context;
};

struct worker;

/* Returns 0 and sets `*worker`, or -errno with `err` filled. Attaches nothing and listens on
 * nothing yet. Free with worker_free, in the same process and not inside a callback. */
int worker_new(struct worker **worker, const struct worker_config *config, struct error *err);
void worker_free(struct worker *worker);

/* Take connections from the listening socket `fd` (listener_open), which the worker owns from now
 * on, also when this fails. Returns the listener's number, 0.., or -errno with `err` filled. */
int worker_listen(struct worker *worker, int fd, const struct address *addr, struct error *err);

/* The same for a socket that somebody else made, and keeps another descriptor of: the file of a
 * UNIX socket stays when the worker closes its own. `leave_queue`: at the end, what waits in its
 * queue is left to whoever serves it next. */
int worker_listen_adopted(struct worker *worker, int fd, const struct address *addr,
                          bool leave_queue, struct error *err);

/* The descriptor of the listener with this number, or -1: there is none. It stays the worker's. */
int worker_listener_fd(const struct worker *worker, int number);

/* Serve until worker_stop, a signal (handle_signals) or `check` ends it: then what waits in the
 * listeners' queues is accepted and answered, running requests are finished within
 * limits.graceful_ms, and 0 is returned; -errno with `err` filled when the loop itself failed. With
 * threads, this one runs no handler (but on_abort): it watches over the others and takes signals.
 */
int worker_run(struct worker *worker, struct error *err);

/* The part of a thread that `spawn` has started: handlers run in here. Returns when worker_run
 * ends, 0 or -errno: this thread cannot take part. */
int worker_follow(struct worker *worker);

/* After worker_run: how many threads are in handlers that have not come back. While there are any,
 * worker_free frees nothing. */
unsigned worker_threads_left(const struct worker *worker);

/* Inside a handler that goes on for long without waiting: let another thread turn the loop. Nothing
 * happens where there is only one. */
void worker_let_go(struct worker *worker, struct exchange *exchange);

/* Ask worker_run to end, from any thread or a signal handler. */
void worker_stop(struct worker *worker);

/* Have the thread in worker_run ask `check` whenever there is something to read from `fd`, whatever
 * it is: a signal's handler writes there. `fd` is non-blocking, and open until worker_run has
 * returned; the caller closes it. Returns 0 or -errno. */
int worker_watch_signals(struct worker *worker, int fd);

enum worker_wait { WORKER_WAIT_READABLE, WORKER_WAIT_DRAINED };

/* Wait, inside on_request or on_writable, until exchange_read would not return -EAGAIN, or until
 * exchange_pending is 0. Other connections are served meanwhile; where there is only one thread
 * their requests wait for the handler. Returns 0, or -EPIPE, -ETIMEDOUT as exchange_read would;
 * -ECANCELED: `check` said stop, or a stop's time is over; -EBUSY: not in a handler, or it is
 * waited for already. */
int worker_wait(struct worker *worker, struct exchange *exchange, enum worker_wait what);

/* Now, for people and tests: connections open. */
size_t worker_connections(const struct worker *worker);

/* The number given for a connection that was taken over from elsewhere: serve the peer on `fd` as
 * if it had been accepted (a test's socket pair). Owns `fd`, also when this fails. Returns 0 or
 * -errno. */
int worker_adopt(struct worker *worker, int fd, const struct address *peer);

#endif
