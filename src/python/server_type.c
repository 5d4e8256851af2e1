#include "python/server_type.h"

#include <errno.h>

#include "python/exception.h"
#include "python/server_listen.h"
#include "python/server_settings.h"
#include "python/server_threads.h"
#include "python/signal_pipe.h"
#include "python/wsgi/responder.h"
#include "server/access_log.h"
#include "trace/recorder.h"

#define THREADS_MOST 1024

/* Hooks of the worker; the context is the server. */

static void *server_unlock(void *context)
{
    (void)context;
    return PyEval_SaveThread();
}

static void server_lock(void *context, void *token)
{
    (void)context;
    PyEval_RestoreThread(token);
}

static bool server_check_signals(void *context)
{
    struct server *server = context;
    if (PyErr_CheckSignals() < 0)
        Py_XSETREF(server->failure, exception_fetch());
    return !server->failure;
}

static void server_raise_failure(struct server *server)
{
    PyObject *failure = server->failure;
    server->failure = NULL;
    PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
    Py_DECREF(failure);
}

void server_raise_wait(struct server *server, int result)
{
    static const struct {
        int result;
        int code;
        const char *text;
    } rows[] = {
        {-EPIPE, ECONNRESET, "the client has left"},
        {-ETIMEDOUT, ETIMEDOUT, "the client stopped sending its request body"},
        {-EBADMSG, EBADMSG, "the request body is malformed or too large"},
        {-ECANCELED, ECANCELED, "the server stops"},
        {-EBUSY, EBUSY, "the request is waited for elsewhere, or not being answered now"},
    };
    if (result == -ECANCELED && server->failure) {
        server_raise_failure(server);
        return;
    }
    const char *text = "the client's connection has failed";
    int code = -result;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].result == result) {
            text = rows[i].text;
            code = rows[i].code;
        }
    }
    PyObject *exception = PyObject_CallFunction(PyExc_OSError, "is", code, text);
    if (exception) /* one of OSError's subclasses */
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_XDECREF(exception);
}

static void server_on_message(void *context, const char *text)
{
    struct server *server = context;
    if (!server->on_message || server->on_message == Py_None)
        return;
    PyObject *line = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    PyObject *result = line ? PyObject_CallOneArg(server->on_message, line) : NULL;
    if (!result)
        PyErr_WriteUnraisable(server->on_message);
    Py_XDECREF(result);
    Py_XDECREF(line);
}

bool server_take_interrupt(struct server *server)
{
    if (server->handle_signals || !PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return false;
    Py_XSETREF(server->failure, exception_fetch());
    worker_stop(server->worker);
    return true;
}

static void server_on_answer(void *context, const struct answer *answer)
{
    struct server *server = context;
    char host[ADDRESS_TEXT_SIZE];
    const char *refused =
        answer->refusal == HTTP_ACCEPTED ? NULL : http_refusal_row(answer->refusal)->text;
    address_host(&answer->peer, host);
    PyObject *line = PyUnicode_DecodeLatin1(answer->request_line.data,
                                            (Py_ssize_t)answer->request_line.len, NULL);
    PyObject *result =
        line ? PyObject_CallFunction(server->on_answer, "siOiKz", host,
                                     (int)address_port(&answer->peer), line, answer->status,
                                     (unsigned long long)answer->bytes, refused)
             : NULL;
    if (!result && !server_take_interrupt(server))
        PyErr_WriteUnraisable(server->on_answer);
    Py_XDECREF(result);
    Py_XDECREF(line);
}

static int server_init(struct server *server, PyObject *args, PyObject *keywords)
{
    static char *names[] = {
        "access_log_fd", "limits",    "handle_signals", "python_calls", "on_message", "header_map",
        "threads",       "on_answer", "server",         "persistence",  NULL};
    PyObject *limits = NULL, *on_message = NULL, *on_answer = Py_None;
    const char *header_map_text = "drop", *persistence_text = "always";
    int header_map, persistence;
    int access_log_fd = -1, handle_signals = 0, python_calls = 0, threads = 1;
    struct worker_config config = {0};
    struct error err = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|$iOppOsiOzs:Server", names, &access_log_fd,
                                     &limits, &handle_signals, &python_calls, &on_message,
                                     &header_map_text, &threads, &on_answer, &config.server,
                                     &persistence_text))
        return -1;
    if (threads < 1 || threads > THREADS_MOST) {
        PyErr_Format(PyExc_ValueError, "threads must be 1 to %d, not %d", THREADS_MOST, threads);
        return -1;
    }
    if (server->state) {
        PyErr_SetString(PyExc_RuntimeError, "the server was initialised before");
        return -1;
    }
    header_map = header_map_from_text(header_map_text);
    persistence = persistence_from_text(persistence_text);
    if (header_map < 0 || persistence < 0 || limits_from_object(&config.limits, limits) < 0)
        return -1;
    server->state = state_of_type(Py_TYPE(server));
    server->on_message = Py_XNewRef(on_message);
    if (on_answer != Py_None) {
        server->on_answer = Py_NewRef(on_answer);
        config.on_answer = server_on_answer;
    }
    server->python_calls = python_calls;
    server->handle_signals = handle_signals;
    config.handler = responder_handler(server);
    config.access_log_fd = access_log_fd;
    config.handle_signals = handle_signals;
    config.persistence = (enum persistence)persistence;
    config.threads = server->threads = (unsigned)threads;
    config.spawn = server_spawn;
    config.unlock = server_unlock;
    config.lock = server_lock;
    config.check = server_check_signals;
    config.on_message = server_on_message;
    config.context = server;
    environ_cache_init(&server->environs, (enum header_map)header_map, threads > 1);
    if (worker_new(&server->worker, &config, &err) < 0) {
        exception_raise(&err);
        return -1;
    }
    return 0;
}

bool server_check(struct server *server)
{
    if (!server->worker)
        PyErr_SetString(PyExc_RuntimeError, "the server is closed");
    return server->worker != NULL;
}

/* They have come back from worker_follow, and need a moment to end. */
static void server_join_threads(struct server *server)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(server->spawned); i++) {
        PyObject *joined = PyObject_CallMethod(PyList_GET_ITEM(server->spawned, i), "join", NULL);
        if (!joined)
            PyErr_Clear(); /* it was never started */
        Py_XDECREF(joined);
    }
}

/* Signal handlers and other threads that come in between find a server that runs already. -1: it
 * does not, an exception is set, and run() may be called again. */
static int server_begin(struct server *server, PyObject *application, struct signal_pipe *signals)
{
    server->application = Py_NewRef(application);
    server->is_running = true;
    server->spawned = PyList_New(0);
    if (server->spawned && signal_pipe_open(signals, server->state, server->worker) == 0)
        return 0;
    server->is_running = false;
    Py_CLEAR(server->spawned);
    Py_CLEAR(server->application);
    return -1;
}

/* The other way round. */
static void server_end(struct server *server, struct signal_pipe *signals)
{
    signal_pipe_close(signals, server->state);
    unsigned left = worker_threads_left(server->worker);
    server->is_running = false;
    if (left > 0) {
        char text[128];
        snprintf(text, sizeof(text),
                 "%u thread%s still in the application when the server ended: left behind", left,
                 left > 1 ? "s were" : " was");
        server_on_message(server, text);
    } else {
        server_join_threads(server);
    }
    Py_CLEAR(server->spawned);
}

static PyObject *server_run(struct server *server, PyObject *application)
{
    struct error err = {0};
    struct signal_pipe signals;
    if (!server_check(server))
        return NULL;
    if (server->application) {
        PyErr_SetString(PyExc_RuntimeError, "run() may be called once");
        return NULL;
    }
    if (!PyCallable_Check(application)) {
        PyErr_Format(PyExc_TypeError, "the application is not callable: %R", application);
        return NULL;
    }
    if (server_begin(server, application, &signals) < 0)
        return NULL;
    struct recording *recording = server->state->recording;
    bool attached = recording && recorder_attach(recording) == 0;
    int result = worker_run(server->worker, &err);
    if (attached)
        recorder_detach();
    server_end(server, &signals);
    if (result < 0)
        return exception_raise(&err);
    if (server->failure) {
        server_raise_failure(server);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *server_stop(struct server *server, PyObject *unused)
{
    if (!server_check(server))
        return NULL;
    worker_stop(server->worker);
    Py_RETURN_NONE;
}

static PyObject *server_close(struct server *server, PyObject *unused)
{
    if (server->is_running) {
        PyErr_SetString(PyExc_RuntimeError, "the server is running: stop() it first");
        return NULL;
    }
    if (server->worker)
        worker_free(server->worker);
    server->worker = NULL;
    Py_RETURN_NONE;
}

static int server_traverse(struct server *server, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(server));
    Py_VISIT(server->application);
    Py_VISIT(server->on_message);
    Py_VISIT(server->on_answer);
    Py_VISIT(server->failure);
    Py_VISIT(server->spawned);
    return environ_cache_traverse(&server->environs, visit, arg);
}

static int server_clear(struct server *server)
{
    Py_CLEAR(server->application);
    Py_CLEAR(server->on_message);
    Py_CLEAR(server->on_answer);
    Py_CLEAR(server->failure);
    Py_CLEAR(server->spawned);
    responder_drop_spare(server);
    checked_fields_clear(&server->checked_fields);
    environ_cache_clear(&server->environs);
    return 0;
}

static void server_dealloc(struct server *server)
{
    PyTypeObject *type = Py_TYPE(server);
    PyObject_GC_UnTrack(server);
    if (server->worker)
        worker_free(server->worker);
    server->worker = NULL;
    server_clear(server);
    type->tp_free((PyObject *)server);
    Py_DECREF(type);
}

static PyMethodDef server_methods[] = {
    {"listen", (PyCFunction)(void (*)(void))server_listen, METH_VARARGS | METH_KEYWORDS,
     "listen($self, address, *, backlog=2048, v6_only=False, reuse_port=False, defer_accept=1, "
     "unix_mode=0, environ={})\n--\n\nListen; returns the address as it came to be."},
    {"adopt", (PyCFunction)(void (*)(void))server_adopt, METH_VARARGS | METH_KEYWORDS,
     "adopt($self, fileno, *, environ={}, leave_queue=False)\n--\n\nTake connections from a "
     "listening socket, through "
     "a "
     "descriptor of our own; returns its address."},
    {"filenos", (PyCFunction)server_filenos, METH_NOARGS,
     "filenos($self)\n--\n\nThe descriptors of the listeners, which stay the server's."},
    {"run", (PyCFunction)server_run, METH_O,
     "run($self, application, /)\n--\n\nServe a WSGI application until stop()."},
    {"_follow", (PyCFunction)server_follow, METH_O, "An application thread's life."},
    {"early_hints", responder_early_hints, METH_O,
     "early_hints($self, headers, /)\n--\n\nwsgi.early_hints: send 103 with these headers."},
    {"stop", (PyCFunction)server_stop, METH_NOARGS,
     "stop($self)\n--\n\nAsk run() to end; from any thread."},
    {"close", (PyCFunction)server_close, METH_NOARGS,
     "close($self)\n--\n\nClose listeners and connections."},
    {NULL, NULL, 0, NULL},
};

static PyObject *server_get_application(struct server *server, void *unused)
{
    return Py_NewRef(server->application ? server->application : Py_None);
}

static int server_set_application(struct server *server, PyObject *application, void *unused)
{
    if (!application || !PyCallable_Check(application)) {
        PyErr_Format(PyExc_TypeError, "the application is not callable: %R", application);
        return -1;
    }
    if (server->is_running)
        Py_XSETREF(server->application, Py_NewRef(application));
    return 0;
}

static PyGetSetDef server_attributes[] = {
    {"application", (getter)server_get_application, (setter)server_set_application,
     "What run() calls for a request; may be set while it runs.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_doc,
     "Server(*, access_log_fd=-1, limits=None, handle_signals=False, "
     "python_calls=False, on_message=None, header_map='drop', threads=1, on_answer=None, "
     "server=None, persistence='always')\n--\n\nA worker that serves a WSGI application."},
    {Py_tp_init, server_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, server_dealloc},
    {Py_tp_traverse, server_traverse},
    {Py_tp_clear, server_clear},
    {Py_tp_methods, server_methods},
    {Py_tp_getset, server_attributes},
    {0, NULL},
};

static PyType_Spec server_spec = {
    .name = "zolal._zolal.Server",
    .basicsize = sizeof(struct server),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = server_slots,
};

int server_type_add(PyObject *module)
{
    struct module_state *state = state_of_module(module);
    state->server_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &server_spec, NULL);
    if (!state->server_type)
        return -1;
    return PyModule_AddType(module, state->server_type);
}
