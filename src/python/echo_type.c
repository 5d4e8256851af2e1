#include "python/echo_type.h"

#include "echo/echo.h"
#include "python/exception.h"
#include "python/recording.h"
#include "python/socket/addresses.h"
#include "socket/listener.h"

/* `thread`: of run(), which holds the GIL only while it calls Python. */
struct echo_object {
    PyObject_HEAD struct module_state *state;
    struct echo *echo; /* NULL: closed, or not initialised */
    PyObject *on_connection;
    PyObject *on_message;
    PyThreadState *thread;
    bool is_running;
};

/* Call `callback` with what `make` makes of `subject`. */
static void echo_tell(struct echo_object *self, PyObject *callback,
                      PyObject *(*make)(const void *subject), const void *subject)
{
    PyEval_RestoreThread(self->thread);
    PyObject *argument = make(subject);
    PyObject *result = argument ? PyObject_CallOneArg(callback, argument) : NULL;
    if (!result)
        PyErr_WriteUnraisable(callback);
    Py_XDECREF(result);
    Py_XDECREF(argument);
    self->thread = PyEval_SaveThread();
}

static PyObject *echo_make_address(const void *peer)
{
    return address_as_object(peer);
}

static PyObject *echo_make_text(const void *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static void echo_on_connection(void *context, const struct address *peer)
{
    struct echo_object *self = context;
    echo_tell(self, self->on_connection, echo_make_address, peer);
}

static void echo_on_message(void *context, const char *text)
{
    struct echo_object *self = context;
    echo_tell(self, self->on_message, echo_make_text, text);
}

static int echo_init(struct echo_object *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"on_connection", "on_message", NULL};
    PyObject *on_connection, *on_message;
    struct echo_config config = {.on_connection = echo_on_connection,
                                 .on_message = echo_on_message,
                                 .context = self,
                                 .handle_signals = true};
    struct error err = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO:Echo", names, &on_connection, &on_message))
        return -1;
    if (self->state) {
        PyErr_SetString(PyExc_RuntimeError, "the server was initialised before");
        return -1;
    }
    self->state = state_of_type(Py_TYPE(self));
    self->on_connection = Py_NewRef(on_connection);
    self->on_message = Py_NewRef(on_message);
    recording_join(self->state);
    if (echo_new(&self->echo, &config, &err) == 0)
        return 0;
    exception_raise(&err);
    return -1;
}

/* Is there a server that does not run? Else an exception is set. */
static bool echo_is_free(const struct echo_object *self)
{
    if (!self->echo)
        PyErr_SetString(PyExc_RuntimeError, "the server is closed");
    else if (self->is_running)
        PyErr_SetString(PyExc_RuntimeError, "the server is running");
    return self->echo && !self->is_running;
}

static PyObject *echo_object_listen(struct echo_object *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"address", "backlog", NULL};
    struct listener_options options = {.backlog = 2048};
    struct error err = {0};
    struct address addr;
    const char *text;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s|$i:listen", names, &text,
                                     &options.backlog) ||
        !echo_is_free(self))
        return NULL;
    int fd = address_parse(&addr, text, &err) < 0 ? -1 : listener_open(&addr, &options, &err);
    if (fd < 0 || echo_listen(self->echo, fd, &addr, &err) < 0)
        return exception_raise(&err);
    return address_as_text(&addr);
}

static PyObject *echo_object_run(struct echo_object *self, PyObject *unused)
{
    struct error err = {0};
    (void)unused;
    if (!echo_is_free(self))
        return NULL;
    recording_join(self->state);
    self->is_running = true;
    self->thread = PyEval_SaveThread();
    int result = echo_run(self->echo, &err);
    PyEval_RestoreThread(self->thread);
    self->is_running = false;
    if (result < 0)
        return exception_raise(&err);
    Py_RETURN_NONE;
}

static PyObject *echo_object_close(struct echo_object *self, PyObject *unused)
{
    (void)unused;
    if (self->echo && !echo_is_free(self))
        return NULL;
    if (self->echo)
        echo_free(self->echo);
    self->echo = NULL;
    Py_RETURN_NONE;
}

static int echo_object_traverse(struct echo_object *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->on_connection);
    Py_VISIT(self->on_message);
    return 0;
}

static int echo_object_clear(struct echo_object *self)
{
    Py_CLEAR(self->on_connection);
    Py_CLEAR(self->on_message);
    return 0;
}

static void echo_object_dealloc(struct echo_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->echo)
        echo_free(self->echo);
    echo_object_clear(self);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef echo_methods[] = {
    {"listen", (PyCFunction)(void (*)(void))echo_object_listen, METH_VARARGS | METH_KEYWORDS,
     "listen($self, address, *, backlog=2048)\n--\n\nListen; returns the address as it came to "
     "be."},
    {"run", (PyCFunction)echo_object_run, METH_NOARGS,
     "run($self)\n--\n\nEcho until SIGTERM or SIGINT."},
    {"close", (PyCFunction)echo_object_close, METH_NOARGS,
     "close($self)\n--\n\nClose listeners and connections."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot echo_slots[] = {
    {Py_tp_doc, "Echo(on_connection, on_message)\n--\n\nThe echo server."},
    {Py_tp_init, echo_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, echo_object_dealloc},
    {Py_tp_traverse, echo_object_traverse},
    {Py_tp_clear, echo_object_clear},
    {Py_tp_methods, echo_methods},
    {0, NULL},
};

static PyType_Spec echo_spec = {
    .name = "zolal._zolal.Echo",
    .basicsize = sizeof(struct echo_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = echo_slots,
};

int echo_type_add(PyObject *module)
{
    struct module_state *state = state_of_module(module);
    state->echo_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &echo_spec, NULL);
    if (!state->echo_type)
        return -1;
    return PyModule_AddType(module, state->echo_type);
}
