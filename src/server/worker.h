/* A worker: a loop, its listeners and its connections, and the one thread that turns them. */
#ifndef ZOLAL_SERVER_WORKER_H
#define ZOLAL_SERVER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "server/exchange.h"
#include "server/limits.h"
#include "socket/address.h"

/* What a worker needs from its embedder. Callbacks may be NULL; `context` is passed to each. */
struct worker_config {
    struct limits limits;
    struct handler handler;
    int access_log_fd;   /* -1: none; not owned */
    const char *server;  /* the Server field; NULL: "zolal" */
    bool handle_signals; /* SIGTERM and SIGINT stop this worker (event_loop/signals.h) */
    /* Around a wait that may block (the GIL is released here). `after_wait` returns false to stop.
     */
    void (*before_wait)(void *context);
    bool (*after_wait)(void *context);
    /* A line for the operator, said once for each occasion: no descriptors left, and the like. */
    void (*on_message)(void *context, const char *text);
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

/* Serve in this thread until worker_stop, a signal (handle_signals) or after_wait ends it: then
 * what waits in the listeners' queues is accepted and answered, running requests are finished
 * within limits.graceful_ms, and 0 is returned; -errno with `err` filled when the loop itself
 * failed. */
int worker_run(struct worker *worker, struct error *err);

/* Ask worker_run to end, from any thread or a signal handler. */
void worker_stop(struct worker *worker);

enum worker_wait { WORKER_WAIT_READABLE, WORKER_WAIT_DRAINED };

/* Wait, inside on_request or on_writable, until exchange_read would not return -EAGAIN, or until
 * exchange_pending is 0. Other connections are read, written and accepted meanwhile; their
 * requests wait for the handler. Returns 0, or -EPIPE, -ETIMEDOUT as exchange_read would;
 * -ECANCELED: after_wait said stop, or a stop's time is over; -EBUSY: not in a handler, or it is
 * waited for already. */
int worker_wait(struct worker *worker, struct exchange *exchange, enum worker_wait what);

/* Now, for people and tests: connections open. */
size_t worker_connections(const struct worker *worker);

/* The number given for a connection that was taken over from elsewhere: serve the peer on `fd` as
 * if it had been accepted (a test's socket pair). Owns `fd`, also when this fails. Returns 0 or
 * -errno. */
int worker_adopt(struct worker *worker, int fd, const struct address *peer);

#endif
