/* What the application returned, taken to the exchange: stepping through iterables, files, framing.
 * PEP 3333 "Buffering and Streaming", "Handling the Content-Length Header". */
#include <errno.h>

#include "base/clock.h"
#include "python/calls.h"
#include "python/wsgi/file_wrapper.h"
#include "python/wsgi/responder_state.h"
#include "trace/recorder.h"

/* An iterable that goes on for longer lets other connections have their turn. */
#define TURN_NS 2000000

/* Bytes that may wait for the next piece, or the end, to leave with it. */
#define PENDING_SOON 16384

/* Bytes of a list that are gathered before they leave. */
#define PENDING_MAX 65536

int responder_send_head(struct responder *responder, int64_t length)
{
    const struct wsgi_head *head = &responder->head;
    if (head->status == 0) {
        PyErr_SetString(PyExc_AssertionError,
                        "the application sent a body before it called start_response");
        return -1;
    }
    /* A client that has left is noticed when bytes are sent. */
    exchange_send_head(responder->exchange, head->status, head->reason, head->fields, head->count,
                       &head->facts, length);
    return 0;
}

static void responder_release_bytes(void *bytes)
{
    Py_DECREF((PyObject *)bytes);
}

enum step responder_lost(int result)
{
    if (result == -ENOMEM)
        PyErr_NoMemory();
    else
        PyErr_SetString(PyExc_ConnectionResetError, "the client has left");
    return STEP_FAILED;
}

enum step responder_send(struct responder *responder, PyObject *bytes)
{
    struct exchange *exchange = responder->exchange;
    struct slice data = slice_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    /* What is lent is released without running anybody's code. */
    struct lender lender = {PyBytes_CheckExact(bytes) ? responder_release_bytes : NULL, bytes};
    uint64_t room = exchange_room(exchange);
    bool too_long = data.len > room;
    if (too_long)
        data.len = (size_t)room;
    int sent = exchange_send(exchange, data, lender);
    if (sent == EXCHANGE_KEPT)
        Py_INCREF(bytes);
    if (sent < 0)
        return responder_lost(sent);
    if (too_long && !exchange_is_bodiless(exchange)) {
        responder_log(responder, "the application sent more than its Content-Length: the rest is "
                                 "dropped");
        return STEP_DONE;
    }
    return STEP_AGAIN;
}

bool responder_check_bytes(PyObject *item, const char *from)
{
    if (PyBytes_Check(item))
        return true;
    PyErr_Format(PyExc_TypeError, "%s must give bytes, not %.100s: %R", from,
                 Py_TYPE(item)->tp_name, item);
    return false;
}

/* Is it a list or tuple, whose items can be sent, and which can be let go of, by any thread? Not an
 * object that has a close(), though its iterator may be a list's. */
static bool responder_is_plain(const struct responder *responder)
{
    return PyList_CheckExact(responder->result) || PyTuple_CheckExact(responder->result);
}

/* Must the rest of the answer be made by this thread? It has others beside it, and the
 * application's code runs to make it. */
static bool responder_is_threads_own(const struct responder *responder)
{
    return responder->server->threads > 1 && !responder_is_plain(responder);
}

/* Give the kernel what there is. A thread of many goes on while the loop sends what is left. */
static enum step responder_flush(struct responder *responder)
{
    struct exchange *exchange = responder->exchange;
    size_t most = responder_is_threads_own(responder) ? PENDING_MAX : 0;
    bool soon = exchange_pending(exchange) < PENDING_SOON;
    if ((soon ? exchange_flush_soon(exchange) : exchange_flush(exchange)) < 0)
        return responder_lost(-EPIPE);
    return exchange_pending(responder->exchange) > most ? STEP_WAIT : STEP_AGAIN;
}

static PyObject *responder_next(struct responder *responder)
{
    PyObject *iterator = responder->iterator;
    if (!responder->server->python_calls || responder->is_list)
        return Py_TYPE(iterator)->tp_iternext(iterator);
    calls_enter(responder->server->state, TRACE_PYTHON_NEXT, iterator);
    PyObject *item = Py_TYPE(iterator)->tp_iternext(iterator);
    trace_python_leave(TRACE_PYTHON_NEXT,
                       !item && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_StopIteration));
    return item;
}

/* How many items a list's or tuple's iterator still has; -1 for other iterators. */
static Py_ssize_t responder_items_left(const struct responder *responder)
{
    if (!responder->is_list)
        return -1;
    Py_ssize_t left = PyObject_LengthHint(responder->iterator, -1);
    PyErr_Clear();
    return left;
}

/* Send one item. PEP 3333: nothing leaves before the first non-empty one, and each leaves before
 * the next is asked for, unless asking runs no code of the application. */
static enum step responder_step(struct responder *responder)
{
    PyObject *item = responder_next(responder);
    if (!item) {
        if (!PyErr_Occurred())
            return STEP_DONE;
        if (!PyErr_ExceptionMatches(PyExc_StopIteration))
            return STEP_FAILED;
        PyErr_Clear();
        return STEP_DONE;
    }
    enum step step = STEP_FAILED;
    if (!responder_check_bytes(item, "the application's iterable"))
        goto done;
    step = STEP_AGAIN;
    if (PyBytes_GET_SIZE(item) == 0)
        goto done;
    Py_ssize_t left = responder_items_left(responder);
    if (!exchange_head_sent(responder->exchange) &&
        responder_send_head(responder, left == 0 ? PyBytes_GET_SIZE(item) : -1) < 0) {
        step = STEP_FAILED;
        goto done;
    }
    step = responder_send(responder, item);
    if (exchange_is_bodiless(responder->exchange) && step == STEP_AGAIN)
        step = STEP_DONE; /* nobody gets the rest */
    else if (step == STEP_AGAIN &&
             (!responder->is_list ||
              (left > 0 && exchange_pending(responder->exchange) > PENDING_MAX)))
        step = responder_flush(responder);
done:
    Py_DECREF(item);
    return step;
}

void responder_finish(struct responder *responder)
{
    struct exchange *exchange = responder->exchange;
    if (!exchange_head_sent(exchange) && responder_send_head(responder, 0) < 0) {
        PyErr_Clear();
        PyErr_SetString(PyExc_AssertionError, "the application never called start_response");
        responder_fail(responder);
        return;
    }
    uint64_t room = exchange_room(exchange);
    if (room != UINT64_MAX && room > 0 && !exchange_is_bodiless(exchange) &&
        !exchange_is_orphan(exchange))
        responder_log(responder, "the application sent less than its Content-Length: the "
                                 "connection is closed");
    exchange_finish(exchange);
    if (responder->server->close_is_slow)
        exchange_flush(exchange); /* the client does not wait for close() */
    responder_release(responder);
}

/* A step that has to wait for the client: where there are threads, this one waits itself, since the
 * rest of the iterable is its own. What runs no code of the application waits without a thread. */
static enum step responder_step_and_wait(struct responder *responder)
{
    struct server *server = responder->server;
    enum step step = responder_step(responder);
    if (step != STEP_WAIT || !responder_is_threads_own(responder))
        return step;
    int result = worker_wait(server->worker, responder->exchange, WORKER_WAIT_DRAINED);
    if (result == 0)
        return STEP_AGAIN;
    server_raise_wait(server, result);
    return STEP_FAILED;
}

/* Step through the iterable until it ends, fails, has to wait, or has had its turn. */
void responder_pump(struct responder *responder)
{
    uint64_t end_ns = clock_monotonic_ns() + TURN_NS;
    enum step step;
    do {
        step = responder_step_and_wait(responder);
        if (step != STEP_AGAIN || clock_monotonic_ns() < end_ns)
            continue;
        if (exchange_is_orphan(responder->exchange))
            step = responder_lost(-EPIPE); /* one that gives nothing does not find out by itself */
        else if (!responder_is_threads_own(responder))
            break;
        else
            worker_let_go(responder->server->worker, responder->exchange);
    } while (step == STEP_AGAIN);
    /* Letting go of an item can run code that writes, and waits itself until all is drained. */
    if (step == STEP_WAIT && exchange_is_orphan(responder->exchange))
        step = responder_lost(-EPIPE);
    else if (step == STEP_WAIT && exchange_pending(responder->exchange) == 0)
        step = STEP_AGAIN;
    if (step == STEP_DONE)
        responder_finish(responder);
    else if (step == STEP_FAILED)
        responder_fail(responder);
    else if (step == STEP_AGAIN)
        exchange_yield(responder->exchange);
}

/* The loop sends the rest of a file, while this thread, whose close() it is, goes on; where there
 * is no descriptor for that, it waits. */
static enum step responder_leave_file(struct responder *responder)
{
    struct exchange *exchange = responder->exchange;
    int result = exchange_own_files(exchange);
    if (result < 0)
        result = worker_wait(responder->server->worker, exchange, WORKER_WAIT_DRAINED);
    if (result == 0)
        return STEP_DONE;
    server_raise_wait(responder->server, result);
    return STEP_FAILED;
}

/* A file_wrapper over a regular file: sendfile(2). Returns STEP_AGAIN when it is no such file. */
static enum step responder_send_file(struct responder *responder)
{
    struct exchange *exchange = responder->exchange;
    struct file_range range;
    if (!file_wrapper_range(responder->server->state, responder->result, &range))
        return STEP_AGAIN;
    bool sent_before = exchange_head_sent(exchange);
    if (!sent_before && responder_send_head(responder, (int64_t)range.len) < 0)
        return STEP_FAILED;
    uint64_t room = exchange_room(exchange);
    uint64_t len = range.len < room ? range.len : room;
    int sent = exchange_send_file(exchange, range.fd, range.offset, len, (struct lender){0});
    if (sent < 0)
        return responder_lost(sent);
    responder->is_file = true;
    if (exchange_flush(exchange) < 0)
        return responder_lost(-EPIPE);
    if (exchange_pending(exchange) == 0)
        return STEP_DONE;
    return responder_is_threads_own(responder) ? responder_leave_file(responder) : STEP_WAIT;
}

/* The whole body is one bytes object in a list or tuple: head and body leave in one call. */
static bool responder_send_single(struct responder *responder)
{
    PyObject *result = responder->result;
    PyObject *item = NULL;
    if (PyList_CheckExact(result) && PyList_GET_SIZE(result) == 1)
        item = PyList_GET_ITEM(result, 0);
    else if (PyTuple_CheckExact(result) && PyTuple_GET_SIZE(result) == 1)
        item = PyTuple_GET_ITEM(result, 0);
    if (!item || !PyBytes_CheckExact(item) || exchange_head_sent(responder->exchange))
        return false;
    responder->is_list = true;
    if (responder_send_head(responder, PyBytes_GET_SIZE(item)) < 0 ||
        responder_send(responder, item) == STEP_FAILED)
        responder_fail(responder);
    else
        responder_finish(responder);
    return true;
}

/* The length of a body that is a list or tuple of bytes, so that it needs no chunks; -1 for others.
 */
static int64_t responder_known_length(PyObject *result)
{
    if (!PyList_CheckExact(result) && !PyTuple_CheckExact(result))
        return -1;
    int64_t total = 0;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(result); i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(result, i);
        if (!PyBytes_CheckExact(item))
            return -1;
        total += PyBytes_GET_SIZE(item);
    }
    return total;
}

void responder_begin(struct responder *responder)
{
    PyObject *result = responder->result;
    if (responder_send_single(responder))
        return;
    if (Py_TYPE(result) == responder->server->state->file_wrapper_type) {
        enum step step = responder_send_file(responder);
        if (step == STEP_DONE)
            responder_finish(responder);
        else if (step == STEP_FAILED)
            responder_fail(responder);
        if (step != STEP_AGAIN)
            return;
    }
    int64_t length = responder_known_length(result);
    responder->iterator = PyObject_GetIter(result);
    if (!responder->iterator) {
        responder_fail(responder);
        return;
    }
    PyTypeObject *type = Py_TYPE(responder->iterator);
    responder->is_list = type == &PyListIter_Type || type == &PyTupleIter_Type;
    if (length > 0 && !exchange_head_sent(responder->exchange) &&
        responder_send_head(responder, length) < 0) {
        responder_fail(responder);
        return;
    }
    responder_pump(responder);
}
