#include "python/socket/socket_object.h"

#include <errno.h>
#include <limits.h>
#include <math.h>

#include "base/clock.h"

#define NS_PER_S  1000000000
#define NS_PER_MS 1000000

/* A call that only copies so much is over before another thread could have taken the GIL. */
enum { QUICK_COPY = 64 * 1024 };

PyObject *socket_raise(int64_t result)
{
    errno = (int)-result;
    return PyErr_SetFromErrno(PyExc_OSError);
}

PyObject *socket_raise_timeout(void)
{
    PyErr_SetString(PyExc_TimeoutError, "timed out");
    return NULL;
}

uint64_t socket_deadline(int64_t timeout_ns)
{
    return timeout_ns > 0 ? clock_monotonic_ns() + (uint64_t)timeout_ns : 0;
}

/* Milliseconds for poll(2), rounded up; -1 without a deadline. */
static int milliseconds_left(uint64_t deadline_ns)
{
    if (deadline_ns == 0)
        return -1;
    uint64_t now = clock_monotonic_ns();
    if (now >= deadline_ns)
        return 0;
    uint64_t left = (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    return left > INT_MAX ? INT_MAX : (int)left;
}

int socket_wait(struct socket_object *socket, short events, uint64_t deadline_ns)
{
    for (;;) {
        struct pollfd polled = {.fd = socket->fd, .events = events};
        int timeout_ms = milliseconds_left(deadline_ns);
        int ready;
        if (polled.fd < 0)
            return 1;
        Py_BEGIN_ALLOW_THREADS ready = kernel_poll(&polled, 1, timeout_ms);
        Py_END_ALLOW_THREADS if (ready > 0) return 1;
        if (ready == 0 && clock_monotonic_ns() >= deadline_ns)
            return 0;
        if (ready < 0 && ready != -EINTR) {
            socket_raise(ready);
            return -1;
        }
        if (ready == -EINTR && PyErr_CheckSignals() < 0)
            return -1;
    }
}

/* Once, without the GIL where it may take time. */
static int64_t call_attempt(struct socket_object *socket, struct socket_call *call,
                            bool is_blocking)
{
    int fd = socket->fd;
    int64_t result;
    if (!is_blocking && !call->blocks_anyway && call->len <= QUICK_COPY)
        return call->make(fd, call);
    Py_BEGIN_ALLOW_THREADS result = call->make(fd, call);
    Py_END_ALLOW_THREADS return result;
}

int64_t socket_call(struct socket_object *socket, struct socket_call *call)
{
    int64_t timeout_ns = socket->timeout_ns;
    /* A send finds room more often than not, and what is to be received has rarely come yet. */
    bool wait_first = call->events == POLLIN;
    RECORDED(socket->state);
    if (timeout_ns >= 0)
        call->flags |= MSG_DONTWAIT;
    if (call->deadline_ns == 0)
        call->deadline_ns = socket_deadline(timeout_ns);
    for (;;) {
        int ready = 1;
        if (timeout_ns > 0 && wait_first)
            ready = socket_wait(socket, call->events, call->deadline_ns);
        if (ready == 0)
            socket_raise_timeout();
        if (ready <= 0)
            return -1;
        int64_t result = call_attempt(socket, call, timeout_ns < 0);
        if (result >= 0)
            return result;
        wait_first = result == -EAGAIN;
        if (result == -EAGAIN && timeout_ns > 0)
            continue;
        if (result != -EINTR) {
            socket_raise(result);
            return -1;
        }
        if (PyErr_CheckSignals() < 0)
            return -1;
    }
}

static int timeout_from_float(int64_t *timeout_ns, double seconds)
{
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "Invalid value NaN (not a number)");
        return -1;
    }
    double ns = ceil(seconds * NS_PER_S);
    if (ns >= (double)INT64_MAX || ns <= (double)INT64_MIN) {
        PyErr_SetString(PyExc_OverflowError, "timestamp out of range for platform time_t");
        return -1;
    }
    *timeout_ns = (int64_t)ns;
    if (*timeout_ns == 0 && seconds < 0)
        *timeout_ns = -1; /* too small for a nanosecond, and negative all the same */
    return 0;
}

static int timeout_from_int(int64_t *timeout_ns, PyObject *object)
{
#if PY_VERSION_HEX >= 0x030E0000
    if (!PyIndex_Check(object)) {
        PyErr_Format(PyExc_TypeError, "'%T' object cannot be interpreted as an integer or float",
                     object);
        return -1;
    }
#endif
    long long seconds = PyLong_AsLongLong(object);
    if (seconds == -1 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_SetString(PyExc_OverflowError, "timestamp too large to convert to C _PyTime_t");
        return -1;
    }
    if (__builtin_mul_overflow(seconds, (long long)NS_PER_S, timeout_ns)) {
        PyErr_SetString(PyExc_OverflowError, "timestamp too large to convert to C _PyTime_t");
        return -1;
    }
    return 0;
}

int timeout_from_object(int64_t *timeout_ns, PyObject *object)
{
    if (object == Py_None) {
        *timeout_ns = TIMEOUT_NONE;
        return 0;
    }
    int result = PyFloat_Check(object) ? timeout_from_float(timeout_ns, PyFloat_AS_DOUBLE(object))
                                       : timeout_from_int(timeout_ns, object);
    if (result < 0)
        return -1;
    if (*timeout_ns < 0) {
        PyErr_SetString(PyExc_ValueError, "Timeout value out of range");
        return -1;
    }
    /* As far as poll(2) counts. */
    if (*timeout_ns > (int64_t)INT_MAX * NS_PER_MS) {
        PyErr_SetString(PyExc_OverflowError, "timeout doesn't fit into C timeval");
        return -1;
    }
    return 0;
}

PyObject *timeout_as_object(int64_t timeout_ns)
{
    if (timeout_ns < 0)
        Py_RETURN_NONE;
    return PyFloat_FromDouble((double)timeout_ns / NS_PER_S);
}
