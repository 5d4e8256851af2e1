/* Turns of the loop: look at epoll, take what is ready and what is due, run it. */
#include <errno.h>

#include "base/clock.h"
#include "event_loop/wakeup.h"
#include "python/aio/handle.h"
#include "python/aio/slots.h"
#include "python/aio/waiter.h"
#include "socket/kernel.h"

enum {
    LOOK_NS = 20 * 1000, /* so old may a look at epoll be that found nothing */
    TURNS = 16 /* of run_forever without its `while`, where Python sees to other threads */
};

static int event_fd(void *data)
{
    return slot_data_fd(data);
}

void loop_wake(struct loop_object *loop)
{
    if (!loop->is_waiting || loop->is_woken)
        return; /* it looks at the ring, under the GIL, before it waits */
    loop->is_woken = true;
    recording_join(loop->state);
    wakeup_signal(loop->wake_fd);
}

/* Wait for events. Returns how many, or -1 with an exception set. */
static int wait_for_events(struct loop_object *loop, int timeout_ms)
{
    int epoll_fd = loop->epoll_fd, count;
    loop->is_woken = loop->is_seen = false;
    loop->is_waiting = true;
    Py_BEGIN_ALLOW_THREADS count =
        kernel_epoll_wait(epoll_fd, loop->events, LOOP_EVENTS, timeout_ms, event_fd);
    Py_END_ALLOW_THREADS loop->is_waiting = false;
    if (count >= 0) {
        loop->is_seen = true;
        loop->seen_ns = count > 0 ? 0 : clock_monotonic_ns();
        return count;
    }
    if (count == -EINTR)
        return PyErr_CheckSignals();
    errno = -count;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* Milliseconds: 0 where something is to run already, -1 where there is nothing to wait for. */
static int loop_timeout(struct loop_object *loop)
{
    int timeout_ms = timers_timeout_ms(loop);
    return loop->ready.count > 0 || loop->is_stopping ? 0 : timeout_ms;
}

/* May callbacks that are ready be run without a look at epoll, which costs as much as many of them?
 * Where the last look was a moment ago and found nothing, or found what has just been dispatched:
 * then for one turn, the way of those that were made ready by it. */
static bool loop_is_seen(struct loop_object *loop)
{
    if (!loop->is_seen || loop->ready.count == 0)
        return false;
    loop->is_seen = loop->seen_ns > 0;
    return !loop->is_seen || clock_monotonic_ns() - loop->seen_ns < LOOK_NS;
}

/* A handle that is not one of ours, or any in debug mode or where it is recorded. */
static int run_in_python(struct loop_object *loop, PyObject *handle)
{
    PyObject *args[] = {(PyObject *)loop, handle};
    PyObject *done =
        PyObject_VectorcallMethod(loop->state->strings[STRING_RUN_HANDLE], args, 2, NULL);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static int run_waiter(struct loop_object *loop, struct waiter_object *waiter)
{
    if (!waiter->callback)
        return 0;
    if (!loop->is_debug && !loop->is_watched)
        return waiter_run(waiter);
    PyObject *handle = (PyObject *)waiter_as_handle(waiter);
    int result = handle ? run_in_python(loop, handle) : -1;
    Py_XDECREF(handle);
    return result;
}

static int run_handle(struct loop_object *loop, PyObject *handle)
{
    loop->budget = LOOP_BUDGET;
    if (Py_IS_TYPE(handle, loop->state->aio.waiter_type))
        return run_waiter(loop, (struct waiter_object *)handle);
    if (loop->is_debug || loop->is_watched || !handle_is_ours(loop->state, handle))
        return run_in_python(loop, handle);
    struct handle_object *ours = (struct handle_object *)handle;
    return ours->is_cancelled ? 0 : handle_run(ours);
}

/* What is ready now; what this makes ready waits for the next turn. */
static int run_ready(struct loop_object *loop)
{
    for (size_t left = loop->ready.count; left > 0 && loop->ready.count > 0; left--) {
        PyObject *handle = ready_pop(loop);
        int result = run_handle(loop, handle);
        loop_let_go(loop, handle);
        if (result < 0)
            return -1;
    }
    return 0;
}

/* Returns 0, or -1 with an exception set. */
static int dispatch_events(struct loop_object *loop, int count)
{
    bool has_stale = false;
    for (int i = 0; i < count; i++) {
        if (slot_data_fd(loop->events[i].data.ptr) == loop->wake_fd)
            continue;
        int result = slots_dispatch(loop, &loop->events[i]);
        if (result < 0)
            return -1;
        has_stale |= result > 0;
    }
    if (!has_stale)
        return 0;
    loop_close_descriptors(loop); /* else a level that nobody knows of would come each time */
    return loop_open(loop);
}

/* Returns 0, or -1 with an exception set. */
static int run_turn(struct loop_object *loop)
{
    if (loop_check_open(loop) < 0)
        return -1;
    recording_join(loop->state);
    if (!loop_is_seen(loop)) {
        loop->looks++;
        int count = wait_for_events(loop, loop_timeout(loop));
        if (count < 0 || dispatch_events(loop, count) < 0)
            return -1;
    }
    int result = timers_expire(loop) < 0 || run_ready(loop) < 0 ? -1 : 0;
    if (result < 0 || loop->is_stopping)
        loop->is_seen = false; /* the next run begins with a look */
    return result;
}

PyObject *loop_run_once(struct loop_object *loop, PyObject *unused)
{
    (void)unused;
    for (int left = loop->runs_on ? TURNS : 1; left > 0; left--) {
        if (run_turn(loop) < 0 || PyErr_CheckSignals() < 0)
            return NULL;
        if (loop->is_stopping)
            break;
    }
    return Py_NewRef(Py_None);
}
