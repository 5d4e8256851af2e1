/* What the application calls: start_response, write() and wsgi.early_hints. PEP 3333 "The
 * start_response() Callable", "The write() Callable", "Error Handling". */
#include "python/calls.h"
#include "python/wsgi/responder.h"
#include "python/wsgi/responder_state.h"
#include "trace/recorder.h"

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

PyObject *responder_call(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords)
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
