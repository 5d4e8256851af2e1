/* _zolal.LoopCore: the part of an asyncio event loop that is in C. zolal.EventLoop derives from it
 * and from asyncio.SelectorEventLoop, whose servers, TLS, subprocesses, signals and look-ups stand
 * on the methods here. This header is the inside of python/aio/.
 *
 * It does not stand on event_loop/loop.h, whose watches must live until what the last wait found is
 * dispatched: here a socket may be closed by anyone, at any moment, without a word to the loop, and
 * its number may be another socket's at once. So epoll carries a number and a generation, not a
 * pointer (slots.h), through the same door (event_loop/kernel_epoll.h).
 *
 * All of it runs with the GIL, which is released around epoll_wait(2) alone. */
#ifndef ZOLAL_PYTHON_AIO_LOOP_OBJECT_H
#define ZOLAL_PYTHON_AIO_LOOP_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "event_loop/kernel_epoll.h"
#include "python/aio/spares.h"
#include "python/recording.h"
#include "python/state.h"

#define LOOP_EVENTS 128

/* So many socket operations of one callback may be done at once; the next lets the others run. */
#define LOOP_BUDGET 64

struct handle_object;
struct slot;

/* Callbacks that are to run, oldest first: a ring of `size` places (0 or a power of two), `count`
 * from `first` on in use. Each is a strong reference to a handle of ours, a waiter that is done or
 * any other object with _cancelled and _run(). */
struct ready_ring {
    PyObject **handles;
    size_t size;
    size_t first;
    size_t count;
};

/* A binary heap by `when`, then `order`, so that equal times keep their order. Strong references.
 */
struct timer_entry {
    double when;
    uint64_t order;
    struct handle_object *handle;
};

struct timer_heap {
    struct timer_entry *entries;
    size_t size;
    size_t count;
    size_t cancelled; /* of these, so many are cancelled and wait to be dropped */
    uint64_t order;
};

/* slots[fd], NULL where nothing was ever waited for. */
struct slot_table {
    struct slot **slots;
    size_t size;
    uint32_t generation; /* the latest given */
};

struct loop_object {
    PyObject_HEAD struct module_state *state;
    int epoll_fd; /* -1: closed */
    int wake_fd;  /* eventfd, edge-triggered and never read */
    bool is_closed;
    bool is_debug;
    bool is_watched;      /* callbacks are run in Python, which records them */
    bool is_stopping;     /* stop() was called */
    bool runs_on;         /* one _run_once is several turns: run_forever calls it, and no other */
    bool is_waiting;      /* in epoll_wait(2), without the GIL */
    bool is_woken;        /* since that began */
    bool has_forked;      /* children may have its descriptors */
    uint64_t looks;       /* at epoll, begun */
    bool is_seen;         /* callbacks may be run without another look at epoll, see turn.c */
    uint64_t seen_ns;     /* clock_monotonic_ns() of the last look, if that found nothing; else 0 */
    unsigned long runner; /* the thread that ran a thread-safe handle last */
    int budget;           /* of the callback that runs: see LOOP_BUDGET */
    PyObject *task_factory;
    struct ready_ring ready;
    struct timer_heap timers;
    struct slot_table table;
    PyObject *done;     /* a future whose result is None, see waiter.c; NULL until first used */
    PyObject *keywords; /* {"loop": this one}, for asyncio's classes; NULL until first used */
    struct spares handles, waiters, operations;
    PyObject *bytes; /* see stream_methods.c; NULL: none is spare */
    Py_ssize_t bytes_room;
    char *scratch; /* LOOP_SCRATCH bytes to receive into; NULL until first used */
    struct epoll_event events[LOOP_EVENTS];
};

/* Received bytes are copied from here: an object that is made large and then cut is dear, and past
 * the mmap threshold of glibc three system calls. */
enum { LOOP_SCRATCH = 256 * 1024 };

/* `loop->scratch`, made when needed. NULL with MemoryError set. */
char *loop_scratch(struct loop_object *loop);

/* RuntimeError if it is closed. Returns 0 or -1. */
int loop_check_open(struct loop_object *loop);

/* In debug mode: is this the loop's thread, can `callback` be called? `method`: for the message;
 * `any_thread`: it may be another one. Returns 0, or -1 with an exception set. */
int loop_check_call(struct loop_object *loop, PyObject *callback, const char *method,
                    bool any_thread);

/* Add to the ready ring; steals the reference, also when it fails. Returns 0, or -1 with
 * MemoryError set. */
int ready_push(struct loop_object *loop, PyObject *handle);

/* The oldest, owned by the caller; there must be one. */
PyObject *ready_pop(struct loop_object *loop);

/* Add a timer: a new reference is taken. Returns 0, or -1 with MemoryError set. */
int timers_push(struct loop_object *loop, struct handle_object *handle);

/* Milliseconds until the first timer that is not cancelled, rounded up; -1: there is none. */
int timers_timeout_ms(struct loop_object *loop);

/* Move what is due to the ready ring. Returns 0, or -1 with an exception set. */
int timers_expire(struct loop_object *loop);

/* A handle that is in the heap was cancelled. */
void timers_cancelled(struct loop_object *loop);

/* Wake the loop if another thread waits in it. */
void loop_wake(struct loop_object *loop);

/* Open epoll and eventfd; where slots have something to wait for, register them. Returns 0, or -1
 * with OSError set. */
int loop_open(struct loop_object *loop);

/* Close both. */
void loop_close_descriptors(struct loop_object *loop);

/* Drop every callback, timer and slot. */
void loop_clear_all(struct loop_object *loop);

/* Seconds of CLOCK_MONOTONIC, as time.monotonic() has them. */
double loop_now(void);

/* Methods; the docstrings in loop_type.c are their manual. */
PyObject *loop_run_once(struct loop_object *loop, PyObject *unused);
PyObject *loop_call_soon(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                         PyObject *names);
PyObject *loop_call_soon_threadsafe(struct loop_object *loop, PyObject *const *args,
                                    Py_ssize_t count, PyObject *names);
PyObject *loop_call_later(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                          PyObject *names);
PyObject *loop_call_at(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                       PyObject *names);
PyObject *loop_add_callback(struct loop_object *loop, PyObject *handle);
PyObject *loop_create_task(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                           PyObject *names);

/* Add the type to the module. Returns 0, or -1 with an exception set. */
int loop_type_add(PyObject *module);

#endif
