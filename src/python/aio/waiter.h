/* What a socket operation yields to the task that awaits it: as much of an asyncio.Future as a task
 * asks of one. It is done when the descriptor may be ready, and has no result. */
#ifndef ZOLAL_PYTHON_AIO_WAITER_H
#define ZOLAL_PYTHON_AIO_WAITER_H

#include "base/list.h"
#include "python/aio/loop_object.h"

enum waiter_state { WAITER_PENDING, WAITER_DONE, WAITER_CANCELLED };

/* `node`: in a slot's list while it is pending, which then has a reference. `callback`: what is to
 * be called when it is done, in `context`; NULL before and after. Done, it is in the loop's ring
 * itself, without a handle. */
struct waiter_object {
    PyObject_HEAD struct list node;
    struct loop_object *loop;
    PyObject *callback;
    PyObject *context;
    PyObject *message; /* of the cancellation, or NULL */
    enum waiter_state state;
    bool is_blocking; /* _asyncio_future_blocking */
};

/* A new one on `list`. A new reference, or NULL with MemoryError set. */
struct waiter_object *waiter_new(struct loop_object *loop, struct list *list);

/* Nobody waits any more: take it off its list. */
void waiter_abandon(struct waiter_object *waiter);

/* All of a slot's list are done. Returns 0, or -1 with MemoryError set. */
int waiters_wake(struct loop_object *loop, struct list *list);

/* Call its callback, as handle_run() does. */
int waiter_run(struct waiter_object *waiter);

/* A handle that does; none will be called by waiter_run() any more. A new reference, or NULL with
 * an exception set. */
struct handle_object *waiter_as_handle(struct waiter_object *waiter);

/* Forget all of them, at the loop's end. */
void waiters_drop(struct list *list);

/* For the loop's own traverse. */
int waiters_traverse(const struct list *list, visitproc visit, void *arg);

/* Add the type. Returns 0, or -1 with an exception set. */
int waiter_type_add(PyObject *module);

#endif
