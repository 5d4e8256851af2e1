#include "python/wsgi/responder.h"

#include "base/clock.h"
#include "python/calls.h"
#include "python/exception.h"
#include "python/wsgi/input.h"
#include "python/wsgi/responder_state.h"
#include <structmember.h>
#include "trace/recorder.h"

/* A reply may wait for a close() that takes no longer, to leave together with others. */
#define CLOSE_QUICK_NS 100000

_Thread_local struct responder *responder_here __attribute__((tls_model("initial-exec")));

/* Takes `environ`. NULL with an exception set. */
static struct responder *responder_new(struct server *server, struct exchange *exchange,
                                       PyObject *environ)
{
    struct responder *responder = (struct responder *)server->spare_responder;
    if (responder) {
        server->spare_responder = NULL;
    } else {
        responder = PyObject_GC_New(struct responder, server->state->responder_type);
        if (!responder) {
            Py_DECREF(environ);
            return NULL;
        }
        responder->vectorcall = responder_call;
        responder->input = NULL;
        responder->result = responder->iterator = responder->write = NULL;
        responder->head = (struct wsgi_head){0};
        PyObject_GC_Track(responder);
    }
    responder->server = server;
    responder->exchange = exchange;
    responder->environ = environ;
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

void responder_log(const struct responder *responder, const char *what)
{
    const struct module_state *state = responder->server->state;
    PyObject *environ = responder->environ;
    PyObject *method = NULL, *path = NULL;
    if (environ) {
        method = PyDict_GetItemWithError(environ, state->strings[STRING_REQUEST_METHOD]);
        path = PyDict_GetItemWithError(environ, state->strings[STRING_PATH_INFO]);
    }
    /* To print one may run code of the application's that changes its environ. */
    Py_XINCREF(method);
    Py_XINCREF(path);
    PyErr_Clear();
    if (method && path)
        PySys_FormatStderr("zolal: %S %A: %s\n", method, path, what);
    else
        PySys_FormatStderr("zolal: %s\n", what);
    Py_XDECREF(path);
    Py_XDECREF(method);
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

/* The responder is kept for the next request when nobody else holds it. */
void responder_release(struct responder *responder)
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

void responder_fail(struct responder *responder)
{
    struct exchange *exchange = responder->exchange;
    enum http_refusal refusal = HTTP_INTERNAL_ERROR;
    if (responder_failure_is_the_clients(responder)) {
        PyErr_Clear();
        if (exchange_body_refusal(exchange) != HTTP_ACCEPTED)
            refusal = exchange_body_refusal(exchange);
    } else if (!server_take_interrupt(responder->server)) {
        responder_log_exception(responder, "the application failed");
    }
    if (exchange_head_sent(exchange))
        exchange_abort(exchange);
    else
        exchange_refuse(exchange, refusal);
    responder_release(responder);
}

/* The request's body, where there is one, in the environ. Returns 0, or -1 with an exception set.
 */
static int responder_set_input(struct responder *responder)
{
    struct module_state *state = responder->server->state;
    if (exchange_body_left(responder->exchange) == 0)
        return 0;
    responder->input = input_new(state, responder->server, responder->exchange);
    if (!responder->input)
        return -1;
    return PyDict_SetItem(responder->environ, state->strings[STRING_WSGI_INPUT], responder->input);
}

static void responder_on_request(void *context, struct exchange *exchange)
{
    struct server *server = context;
    if (environ_is_ambiguous(&server->environs, exchange_head(exchange))) {
        exchange_refuse(exchange, HTTP_AMBIGUOUS_FIELD_NAME);
        return;
    }
    PyObject *environ = environ_new(&server->environs, server->state, exchange);
    struct responder *responder = environ ? responder_new(server, exchange, environ) : NULL;
    if (!responder) {
        PyErr_WriteUnraisable(server->application);
        exchange_refuse(exchange, HTTP_INTERNAL_ERROR);
        return;
    }
    if (responder_set_input(responder) < 0) {
        responder_fail(responder);
        return;
    }
    struct responder *before = responder_here;
    responder_here = responder;
    PyObject *arguments[] = {environ, (PyObject *)responder};
    PyObject *application = Py_NewRef(server->application); /* another one may take its place */
    if (server->python_calls)
        calls_enter(server->state, TRACE_PYTHON_APPLICATION, application);
    responder->result = PyObject_Vectorcall(application, arguments, 2, NULL);
    if (server->python_calls)
        trace_python_leave(TRACE_PYTHON_APPLICATION, responder->result == NULL);
    Py_DECREF(application);
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
