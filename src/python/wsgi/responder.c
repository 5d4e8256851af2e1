#include "python/wsgi/responder.h"

#include <errno.h>

#include "base/clock.h"
#include "python/calls.h"
#include "python/exception.h"
#include "python/server_type.h"
#include "python/wsgi/file_wrapper.h"
#include "python/wsgi/input.h"
#include "python/wsgi/response_fields.h"
#include <structmember.h>
#include "trace/recorder.h"

/* A reply may wait for a close() that takes no longer, to leave together with others. */
#define CLOSE_QUICK_NS 100000

/* An iterable that goes on for longer lets other connections have their turn. */
#define TURN_NS 2000000

/* Bytes that may wait for the next piece, or the end, to leave with it. */
#define PENDING_SOON 16384

/* Bytes of a list that are gathered before they leave. */
#define PENDING_MAX 65536

/* What a step of the answer came to. */
enum step {
    STEP_FAILED = -1, /* an exception is set */
    STEP_DONE = 0,    /* the iterable has ended */
    STEP_AGAIN = 1,   /* there is more */
    STEP_WAIT = 2     /* the client must take what there is first */
};

/* Whose application code runs in this thread: wsgi.early_hints asks. NULL: none. */
static _Thread_local struct responder *responder_here __attribute__((tls_model("initial-exec")));

/* `exchange` is NULL once the answer is over. `result` is what the application returned, `iterator`
 * its iterator. `is_list`: stepping runs no code of the application. */
struct responder {
    PyObject_HEAD vectorcallfunc vectorcall;
    struct server *server;
    struct exchange *exchange;
    PyObject *environ; /* says which request it was, when something fails */
    PyObject *input;   /* NULL: the request has no body */
    PyObject *result;
    PyObject *iterator;
    PyObject *write; /* what start_response returns, bound to this object */
    struct wsgi_head head;
    bool is_list;
    bool is_file;
};

static PyObject *responder_call(PyObject *self, PyObject *const *args, size_t flags,
                                PyObject *keywords);

static struct responder *responder_new(struct server *server, struct exchange *exchange)
{
    struct responder *responder = (struct responder *)server->spare_responder;
    if (responder) {
        server->spare_responder = NULL;
    } else {
        responder = PyObject_GC_New(struct responder, server->state->responder_type);
        if (!responder)
            return NULL;
        responder->vectorcall = responder_call;
        responder->environ = responder->input = NULL;
        responder->result = responder->iterator = responder->write = NULL;
        responder->head = (struct wsgi_head){0};
        PyObject_GC_Track(responder);
    }
    responder->server = server;
    responder->exchange = exchange;
    responder->is_list = responder->is_file = false;
    exchange_set_user(exchange, responder);
    return responder;
}

/* What belongs to a request. */
static void responder_forget(struct responder *responder)
{
    Py_CLEAR(responder->environ);
    Py_CLEAR(responder->input);
    Py_CLEAR(responder->iterator);
    Py_CLEAR(responder->result);
    wsgi_head_clear(&responder->head);
}

static int responder_clear(struct responder *responder)
{
    responder_forget(responder);
    Py_CLEAR(responder->write);
    return 0;
}

static int responder_traverse(struct responder *responder, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(responder));
    Py_VISIT(responder->environ);
    Py_VISIT(responder->input);
    Py_VISIT(responder->iterator);
    Py_VISIT(responder->result);
    Py_VISIT(responder->write);
    return wsgi_head_traverse(&responder->head, visit, arg);
}

static void responder_dealloc(struct responder *responder)
{
    PyTypeObject *type = Py_TYPE(responder);
    PyObject_GC_UnTrack(responder);
    responder_clear(responder);
    PyObject_GC_Del(responder);
    Py_DECREF(type);
}

/* "zolal: GET /path: what", on sys.stderr. */
static void responder_log(const struct responder *responder, const char *what)
{
    const struct module_state *state = responder->server->state;
    PyObject *environ = responder->environ;
    PyObject *method = NULL, *path = NULL;
    if (environ) {
        method = PyDict_GetItemWithError(environ, state->strings[STRING_REQUEST_METHOD]);
        path = PyDict_GetItemWithError(environ, state->strings[STRING_PATH_INFO]);
    }
    PyErr_Clear();
    if (method && path)
        PySys_FormatStderr("zolal: %S %A: %s\n", method, path, what);
    else
        PySys_FormatStderr("zolal: %s\n", what);
}

/* Print the exception that is set, with its traceback, to sys.stderr. PyErr_Print would end the
 * process on a SystemExit. */
static void responder_log_exception(const struct responder *responder, const char *what)
{
    PyObject *exception = exception_fetch();
    PyObject *module = PyImport_ImportModule("traceback");
    PyObject *traceback = exception ? PyException_GetTraceback(exception) : NULL;
    PyObject *result = NULL;
    responder_log(responder, what);
    if (exception && module)
        result = PyObject_CallMethod(module, "print_exception", "OOO", Py_TYPE(exception),
                                     exception, traceback ? traceback : Py_None);
    Py_XDECREF(result);
    Py_XDECREF(traceback);
    Py_XDECREF(module);
    Py_XDECREF(exception);
    PyErr_Clear();
}

/* Call close() of what the application returned, once. PEP 3333: in every ending. */
static void responder_close(struct responder *responder)
{
    PyObject *result = responder->result;
    struct module_state *state = responder->server->state;
    if (!result)
        return;
    responder->result = NULL;
    Py_CLEAR(responder->iterator);
    PyObject *close = PyList_CheckExact(result) || PyTuple_CheckExact(result)
                          ? NULL
                          : PyObject_GetAttr(result, state->strings[STRING_CLOSE]);
    if (close) {
        bool traced = responder->server->python_calls;
        if (traced)
            calls_enter(state, TRACE_PYTHON_CLOSE, close);
        uint64_t begin_ns = clock_monotonic_ns();
        PyObject *returned = PyObject_CallNoArgs(close);
        responder->server->close_is_slow = clock_monotonic_ns() - begin_ns > CLOSE_QUICK_NS;
        if (traced)
            trace_python_leave(TRACE_PYTHON_CLOSE, returned == NULL);
        if (!returned)
            responder_log_exception(responder, "close() of the application's iterable failed");
        Py_XDECREF(returned);
        Py_DECREF(close);
    }
    PyErr_Clear(); /* no close() is no error */
    Py_DECREF(result);
}

/* Does nobody else hold the responder, nor its write(), which holds it too? */
static bool responder_is_ours(const struct responder *responder)
{
    if (!responder->write)
        return Py_REFCNT(responder) == 1;
    return Py_REFCNT(responder) == 2 && Py_REFCNT(responder->write) == 1;
}

void responder_drop_spare(struct server *server)
{
    struct responder *responder = (struct responder *)server->spare_responder;
    server->spare_responder = NULL;
    if (responder)
        responder_clear(responder); /* it and its write() hold each other */
    Py_XDECREF(responder);
}

/* The exchange is over: let go of everything, and keep the responder for the next request when
 * nobody else holds it. */
static void responder_release(struct responder *responder)
{
    struct server *server = responder->server;
    responder->exchange = NULL;
    if (responder->input)
        input_end(responder->input);
    responder_close(responder);
    responder_forget(responder);
    if (responder_is_ours(responder) && !server->spare_responder) {
        server->spare_responder = (PyObject *)responder;
        return;
    }
    Py_CLEAR(responder->write);
    Py_DECREF(responder);
}

/* Is the exception the one by which we told the application that its client has left or sent half a
 * request, passed on? */
static bool responder_failure_is_the_clients(const struct responder *responder)
{
    const struct exchange *exchange = responder->exchange;
    if (exchange_is_orphan(exchange))
        return PyErr_ExceptionMatches(PyExc_ConnectionError);
    return exchange_body_refusal(exchange) != HTTP_ACCEPTED &&
           PyErr_ExceptionMatches(PyExc_OSError);
}

/* Ctrl-C while the application runs ends an embedded server, as it ends its wait for events. */
static void responder_note_interrupt(struct responder *responder)
{
    struct server *server = responder->server;
    if (server->handle_signals || !PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return;
    PyObject *exception = exception_fetch();
    Py_XSETREF(server->failure, Py_XNewRef(exception));
    worker_stop(server->worker);
    if (exception)
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_XDECREF(exception);
}

/* The application has failed: an exception is set. 500 where that can still be said. */
static void responder_fail(struct responder *responder)
{
    struct exchange *exchange = responder->exchange;
    enum http_refusal refusal = HTTP_INTERNAL_ERROR;
    if (responder_failure_is_the_clients(responder)) {
        PyErr_Clear();
        if (exchange_body_refusal(exchange) != HTTP_ACCEPTED)
            refusal = exchange_body_refusal(exchange);
    } else {
        responder_note_interrupt(responder);
        responder_log_exception(responder, "the application failed");
    }
    if (exchange_head_sent(exchange))
        exchange_abort(exchange);
    else
        exchange_refuse(exchange, refusal);
    responder_release(responder);
}

/* Queue the head. `length`: of the whole body, -1 when not known. */
static int responder_send_head(struct responder *responder, int64_t length)
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

/* The connection has ended under the answer. */
static enum step responder_lost(int result)
{
    if (result == -ENOMEM)
        PyErr_NoMemory();
    else
        PyErr_SetString(PyExc_ConnectionResetError, "the client has left");
    return STEP_FAILED;
}

/* Queue bytes of the body; what goes beyond Content-Length never leaves. */
static enum step responder_send(struct responder *responder, PyObject *bytes)
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

/* Only bytes may be sent; a subclass is fine. */
static bool responder_check_bytes(PyObject *item, const char *from)
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

/* The iterable has ended: so has the answer. */
static void responder_finish(struct responder *responder)
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
static void responder_pump(struct responder *responder)
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

/* The application has returned `responder->result`: begin to answer with it. */
static void responder_begin(struct responder *responder)
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

/* The environ, with the request's body in it when there is one. NULL with an exception set. */
static PyObject *responder_environ(struct responder *responder)
{
    struct server *server = responder->server;
    struct module_state *state = server->state;
    PyObject *environ = environ_new(&server->environs, state, responder->exchange);
    if (!environ || exchange_body_left(responder->exchange) == 0)
        return environ;
    responder->input = input_new(state, server, responder->exchange);
    if (!responder->input ||
        PyDict_SetItem(environ, state->strings[STRING_WSGI_INPUT], responder->input) < 0)
        Py_CLEAR(environ);
    return environ;
}

PyObject *responder_early_hints(PyObject *object, PyObject *headers)
{
    struct responder *responder = responder_here;
    (void)object;
    struct wsgi_head head = {0};
    if (!responder || !responder->exchange) {
        PyErr_SetString(PyExc_AssertionError, "wsgi.early_hints after the request has ended");
        return NULL;
    }
    if (wsgi_head_set(&head, &responder->server->checked_fields, NULL, headers) < 0)
        return NULL;
    int sent = exchange_send_early_hints(responder->exchange, head.fields, head.count);
    wsgi_head_clear(&head);
    if (sent < 0) {
        PyErr_SetString(PyExc_ConnectionResetError, "the client has left");
        return NULL;
    }
    Py_RETURN_NONE;
}

static void responder_on_request(void *context, struct exchange *exchange)
{
    struct server *server = context;
    if (environ_is_ambiguous(&server->environs, exchange_head(exchange))) {
        exchange_refuse(exchange, HTTP_AMBIGUOUS_FIELD_NAME);
        return;
    }
    struct responder *responder = responder_new(server, exchange);
    struct responder *before = responder_here;
    responder_here = responder;
    PyObject *environ = responder ? responder_environ(responder) : NULL;
    if (!environ) {
        if (responder)
            responder_log_exception(responder, "a request could not be handed to the application");
        PyErr_Clear(); /* without a responder: no memory */
        exchange_refuse(exchange, HTTP_INTERNAL_ERROR);
        if (responder)
            responder_release(responder);
        responder_here = before;
        return;
    }
    responder->environ = environ;
    PyObject *arguments[] = {environ, (PyObject *)responder};
    if (server->python_calls)
        calls_enter(server->state, TRACE_PYTHON_APPLICATION, server->application);
    responder->result = PyObject_Vectorcall(server->application, arguments, 2, NULL);
    if (server->python_calls)
        trace_python_leave(TRACE_PYTHON_APPLICATION, responder->result == NULL);
    if (responder->result)
        responder_begin(responder);
    else
        responder_fail(responder);
    responder_here = before;
}

static void responder_on_writable(void *context, struct exchange *exchange)
{
    struct responder *responder = exchange_user(exchange);
    (void)context;
    struct responder *before = responder_here;
    responder_here = responder;
    if (responder->is_file)
        responder_finish(responder);
    else
        responder_pump(responder);
    responder_here = before;
}

static void responder_on_abort(void *context, struct exchange *exchange)
{
    struct responder *responder = exchange_user(exchange);
    (void)context;
    struct responder *before = responder_here;
    responder_here = NULL;
    responder_release(responder);
    responder_here = before;
}

struct handler responder_handler(struct server *server)
{
    return (struct handler){.on_request = responder_on_request,
                            .on_writable = responder_on_writable,
                            .on_abort = responder_on_abort,
                            .context = server};
}

/* Is it the exc_info of start_response: None, or a tuple of three? -1: neither, an exception is
 * set. */
static int responder_has_exc_info(PyObject *exc_info)
{
    if (!exc_info || exc_info == Py_None)
        return 0;
    if (PyTuple_Check(exc_info) && PyTuple_GET_SIZE(exc_info) == 3)
        return 1;
    PyErr_SetString(PyExc_TypeError,
                    "exc_info must be a tuple as sys.exc_info() gives it, or None");
    return -1;
}

/* Raise what the application gave as exc_info: the head has left, so its error page cannot. */
static void responder_reraise(PyObject *exc_info)
{
    PyObject *type = PyTuple_GET_ITEM(exc_info, 0);
    PyObject *value = PyTuple_GET_ITEM(exc_info, 1);
    PyObject *traceback = PyTuple_GET_ITEM(exc_info, 2);
    if (!PyExceptionInstance_Check(value)) {
        PyErr_SetString(PyExc_AssertionError, "start_response after the head was sent");
        return;
    }
    PyErr_Restore(Py_NewRef(type), Py_NewRef(value),
                  traceback == Py_None ? NULL : Py_NewRef(traceback));
}

static PyObject *responder_write(PyObject *self, PyObject *data);

static PyMethodDef responder_write_def = {
    "write", responder_write, METH_O,
    "write(data, /)\n--\n\nSend bytes at once; returns when the kernel has taken them."};

/* start_response(status, headers, exc_info=None) -> write */
static PyObject *responder_start(struct responder *responder, PyObject *status, PyObject *headers,
                                 PyObject *exc_info)
{
    int has_exc_info = responder_has_exc_info(exc_info);
    if (has_exc_info < 0)
        return NULL;
    if (!responder->exchange) {
        PyErr_SetString(PyExc_AssertionError, "start_response after the request has ended");
        return NULL;
    }
    if (has_exc_info && exchange_head_sent(responder->exchange)) {
        responder_reraise(exc_info);
        return NULL;
    }
    if (!has_exc_info && responder->head.status != 0) {
        PyErr_SetString(PyExc_AssertionError,
                        "start_response was called before: a second call needs exc_info");
        return NULL;
    }
    if (wsgi_head_set(&responder->head, &responder->server->checked_fields, status, headers) < 0)
        return NULL;
    if (!responder->write)
        responder->write = PyCFunction_New(&responder_write_def, (PyObject *)responder);
    return Py_XNewRef(responder->write);
}

static PyObject *responder_call_slow(struct responder *responder, PyObject *const *args,
                                     Py_ssize_t count, PyObject *keywords)
{
    static char *names[] = {"status", "headers", "exc_info", NULL};
    PyObject *status, *headers, *exc_info = NULL, *result = NULL;
    PyObject *positional = PyTuple_New(count);
    PyObject *named = PyDict_New();
    if (!positional || !named)
        goto done;
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(positional, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; keywords && i < PyTuple_GET_SIZE(keywords); i++)
        if (PyDict_SetItem(named, PyTuple_GET_ITEM(keywords, i), args[count + i]) < 0)
            goto done;
    if (PyArg_ParseTupleAndKeywords(positional, named, "OO|O:start_response", names, &status,
                                    &headers, &exc_info))
        result = responder_start(responder, status, headers, exc_info);
done:
    Py_XDECREF(named);
    Py_XDECREF(positional);
    return result;
}

static PyObject *responder_call(PyObject *self, PyObject *const *args, size_t flags,
                                PyObject *keywords)
{
    struct responder *responder = (struct responder *)self;
    Py_ssize_t count = PyVectorcall_NARGS(flags);
    bool traced = responder->exchange && responder->server->python_calls;
    struct server *server = responder->server;
    PyObject *result;
    if (traced)
        calls_enter_from_application(server->state, TRACE_PYTHON_START_RESPONSE);
    if ((count == 2 || count == 3) && (!keywords || PyTuple_GET_SIZE(keywords) == 0))
        result = responder_start(responder, args[0], args[1], count == 3 ? args[2] : NULL);
    else
        result = responder_call_slow(responder, args, count, keywords);
    if (traced)
        trace_python_leave(TRACE_PYTHON_START_RESPONSE, result == NULL);
    return result;
}

/* Send all of `data` before returning, waiting for the client where that must be. */
static enum step responder_write_all(struct responder *responder, PyObject *data)
{
    if (!exchange_head_sent(responder->exchange) && responder_send_head(responder, -1) < 0)
        return STEP_FAILED;
    enum step step = responder_send(responder, data);
    if (step == STEP_FAILED)
        return step;
    if (exchange_flush(responder->exchange) < 0)
        return responder_lost(-EPIPE);
    if (exchange_pending(responder->exchange) == 0)
        return STEP_AGAIN;
    struct server *server = responder->server;
    int result = worker_wait(server->worker, responder->exchange, WORKER_WAIT_DRAINED);
    if (result == 0)
        return STEP_AGAIN;
    server_raise_wait(server, result);
    return STEP_FAILED;
}

static PyObject *responder_write(PyObject *self, PyObject *data)
{
    struct responder *responder = (struct responder *)self;
    if (!responder->exchange) {
        PyErr_SetString(PyExc_AssertionError, "write() after the request has ended");
        return NULL;
    }
    if (!responder_check_bytes(data, "write()"))
        return NULL;
    if (PyBytes_GET_SIZE(data) == 0)
        Py_RETURN_NONE;
    if (!exchange_in_handler(responder->exchange)) {
        PyErr_SetString(PyExc_AssertionError, "write() while the request is not being answered");
        return NULL;
    }
    struct server *server = responder->server;
    if (server->python_calls)
        calls_enter_from_application(server->state, TRACE_PYTHON_WRITE);
    enum step step = responder_write_all(responder, data);
    if (server->python_calls)
        trace_python_leave(TRACE_PYTHON_WRITE, step == STEP_FAILED);
    if (step == STEP_FAILED)
        return NULL;
    Py_RETURN_NONE;
}

static PyMemberDef responder_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct responder, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot responder_slots[] = {
    {Py_tp_doc, "start_response(status, headers, exc_info=None), PEP 3333."},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_dealloc, responder_dealloc},
    {Py_tp_traverse, responder_traverse},
    {Py_tp_clear, responder_clear},
    {Py_tp_members, responder_members},
    {0, NULL},
};

static PyType_Spec responder_spec = {
    .name = "zolal._zolal.StartResponse",
    .basicsize = sizeof(struct responder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = responder_slots,
};

int responder_type_add(PyObject *module)
{
    struct module_state *state = state_of_module(module);
    state->responder_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &responder_spec, NULL);
    return state->responder_type ? 0 : -1;
}
