#include "python/aio/operation.h"

#include "python/aio/plain_socket.h"
#include "python/aio/slots.h"
#include "python/aio/waiter.h"

const char *const operation_names[] = {
    [OPERATION_RECV] = "sock_recv",
    [OPERATION_RECV_INTO] = "sock_recv_into",
    [OPERATION_SENDALL] = "sock_sendall",
    [OPERATION_ACCEPT] = "sock_accept",
};

static bool operation_reads(const struct operation *operation)
{
    return operation->kind != OPERATION_SENDALL;
}

static void operation_end(struct operation *operation)
{
    operation->state = OPERATION_ENDED;
    if (operation->waiter)
        waiter_abandon(operation->waiter);
    Py_CLEAR(operation->waiter);
    if (operation->view.obj)
        PyBuffer_Release(&operation->view);
    Py_CLEAR(operation->argument);
    Py_CLEAR(operation->socket);
    Py_CLEAR(operation->origin);
}

/* Wait for the descriptor; NULL with an exception set. */
static PyObject *operation_wait(struct operation *operation, int fd)
{
    struct loop_object *loop = operation->loop;
    struct slot *slot = slot_bind(loop, fd, operation->socket);
    if (!slot)
        return NULL;
    bool reads = operation_reads(operation);
    Py_XSETREF(operation->waiter, waiter_new(loop, reads ? &slot->reading : &slot->writing));
    slot->wants_out |= !reads;
    if (!operation->waiter || slot_register(loop, slot) < 0)
        return NULL;
    operation->state = OPERATION_WAITING;
    return Py_NewRef(operation->waiter);
}

/* May it be tried now? What was read short is drained. */
static bool operation_is_worth_a_try(const struct operation *operation, int fd)
{
    if (!operation_reads(operation))
        return true;
    const struct slot *slot = slot_of_socket(operation->loop, fd, operation->socket);
    return !slot || !slot->is_drained;
}

/* One step: a value when it is done, a waiter or None when it yields. */
static PySendResult operation_step(struct operation *operation, PyObject **result)
{
    struct loop_object *loop = operation->loop;
    int fd = plain_socket_fd(loop->state, operation->socket);
    *result = NULL;
    if (fd < 0 || (loop->is_debug && plain_socket_check(operation->socket) < 0))
        return PYGEN_ERROR;
    RECORDED(loop->state);
    if (operation_is_worth_a_try(operation, fd)) {
        if (--loop->budget < 0 && operation->state == OPERATION_NEW) {
            operation->state = OPERATION_YIELDED;
            *result = Py_NewRef(Py_None);
            return PYGEN_NEXT;
        }
        *result = operation_try(operation, fd);
        if (*result || PyErr_Occurred())
            return *result ? PYGEN_RETURN : PYGEN_ERROR;
    }
    *result = operation_wait(operation, fd);
    return *result ? PYGEN_NEXT : PYGEN_ERROR;
}

/* May a method go on with it? Returns 0, or -1 with the exception set that a coroutine raises. */
static int operation_check_idle(const struct operation *operation)
{
    if (!operation->is_running)
        return 0;
    PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    return -1;
}

static int operation_check_usable(const struct operation *operation)
{
    if (operation->state != OPERATION_ENDED)
        return operation_check_idle(operation);
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return -1;
}

static PySendResult operation_send(struct operation *operation, PyObject *value, PyObject **result)
{
    (void)value;
    *result = NULL;
    if (operation_check_usable(operation) < 0)
        return PYGEN_ERROR;
    if (operation->waiter && operation->waiter->state == WAITER_PENDING) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        operation_end(operation);
        return PYGEN_ERROR;
    }
    operation->is_running = true;
    PySendResult sent = operation_step(operation, result);
    operation->is_running = false;
    if (sent == PYGEN_NEXT)
        return sent;
    if (sent == PYGEN_RETURN) {
        operation_end(operation);
        return sent;
    }
    PyObject *type, *raised, *traceback;
    PyErr_Fetch(&type, &raised, &traceback);
    operation_end(operation);
    PyErr_Restore(type, raised, traceback);
    return sent;
}

/* For whoever does not know am_send. */
static PyObject *operation_method_send(struct operation *operation, PyObject *value)
{
    PyObject *result;
    PySendResult sent = operation_send(operation, value, &result);
    if (sent != PYGEN_RETURN)
        return result;
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    if (stop)
        PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(stop);
    Py_DECREF(result);
    return NULL;
}

static PyObject *operation_next(struct operation *operation)
{
    return operation_method_send(operation, Py_None);
}

/* throw(exception) or throw(type[, value[, traceback]]) */
static PyObject *operation_method_throw(struct operation *operation, PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL;
    if (!PyArg_ParseTuple(args, "O|OO:throw", &type, &value, &traceback))
        return NULL;
    if (operation_check_usable(operation) < 0)
        return NULL;
    operation_end(operation);
    traceback = traceback == Py_None ? NULL : traceback;
    value = value == Py_None ? NULL : value;
    if (PyExceptionInstance_Check(type)) {
        value = type;
        type = PyExceptionInstance_Class(value);
        if (!traceback)
            traceback = PyException_GetTraceback(value); /* a new reference */
        else
            Py_INCREF(traceback);
    } else if (PyExceptionClass_Check(type)) {
        Py_XINCREF(traceback);
    } else {
        PyErr_SetString(PyExc_TypeError, "exceptions must be classes or instances of them");
        return NULL;
    }
    PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), traceback);
    return NULL;
}

static PyObject *operation_method_close(struct operation *operation, PyObject *unused)
{
    (void)unused;
    if (operation_check_idle(operation) < 0)
        return NULL;
    operation_end(operation);
    Py_RETURN_NONE;
}

static PyObject *operation_self(PyObject *operation)
{
    return Py_NewRef(operation);
}

static PyObject *operation_await(PyObject *operation, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(operation);
}

static PyObject *operation_name(struct operation *operation, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(operation_names[operation->kind]);
}

static PyObject *operation_qualname(struct operation *operation, void *unused)
{
    (void)unused;
    return PyUnicode_FromFormat("EventLoop.%s", operation_names[operation->kind]);
}

static PyObject *operation_awaits(struct operation *operation, void *unused)
{
    (void)unused;
    return Py_NewRef(operation->waiter ? (PyObject *)operation->waiter : Py_None);
}

static PyObject *operation_origin(struct operation *operation, void *unused)
{
    (void)unused;
    return Py_NewRef(operation->origin ? operation->origin : Py_None);
}

static PyObject *operation_running(struct operation *operation, void *unused)
{
    (void)unused;
    return PyBool_FromLong(operation->is_running);
}

static int operation_traverse(struct operation *operation, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(operation));
    Py_VISIT(operation->loop);
    Py_VISIT(operation->socket);
    Py_VISIT(operation->argument);
    Py_VISIT(operation->waiter);
    Py_VISIT(operation->view.obj);
    return 0;
}

static int operation_clear(struct operation *operation)
{
    operation_end(operation);
    return 0;
}

/* warnings._warn_unawaited_coroutine(operation): Python's own words, and the watch hears of it.
 * Returns 0, or -1 with an exception set. */
static int warn_unawaited(PyObject *operation)
{
    PyObject *warnings = PyImport_ImportModule("warnings");
    if (!warnings) { /* the interpreter ends */
        PyErr_Clear();
        return 0;
    }
    PyObject *done = PyObject_CallMethod(warnings, "_warn_unawaited_coroutine", "O", operation);
    Py_DECREF(warnings);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* As a coroutine does: whoever forgets the await is told. */
static void operation_finalize(PyObject *object)
{
    struct operation *operation = (struct operation *)object;
    PyObject *type, *value, *traceback;
    if (operation->state != OPERATION_NEW)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    if (warn_unawaited(object) < 0)
        PyErr_WriteUnraisable(object);
    PyErr_Restore(type, value, traceback);
}

static void operation_dealloc(struct operation *operation)
{
    PyTypeObject *type = Py_TYPE(operation);
    if (operation->state == OPERATION_NEW &&
        PyObject_CallFinalizerFromDealloc((PyObject *)operation) < 0)
        return;
    PyObject_GC_UnTrack(operation);
    operation_end(operation);
    struct loop_object *loop = operation->loop;
    spares_give(&loop->operations, (PyObject *)operation);
    Py_DECREF(loop);
    Py_DECREF(type);
}

static PyMethodDef operation_methods[] = {
    {"send", (PyCFunction)operation_method_send, METH_O, NULL},
    {"throw", (PyCFunction)operation_method_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)operation_method_close, METH_NOARGS, NULL},
    {"__await__", operation_await, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef operation_getters[] = {
    {"__name__", (getter)operation_name, NULL, NULL, NULL},
    {"__qualname__", (getter)operation_qualname, NULL, NULL, NULL},
    {"cr_await", (getter)operation_awaits, NULL, NULL, NULL},
    {"cr_running", (getter)operation_running, NULL, NULL, NULL},
    {"cr_origin", (getter)operation_origin, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot operation_slots[] = {
    {Py_tp_doc, "A socket operation of the event loop, to be awaited."},
    {Py_tp_dealloc, operation_dealloc},
    {Py_tp_finalize, operation_finalize},
    {Py_tp_traverse, operation_traverse},
    {Py_tp_clear, operation_clear},
    {Py_tp_iternext, operation_next},
    {Py_am_await, operation_self},
    {Py_am_send, operation_send},
    {Py_tp_methods, operation_methods},
    {Py_tp_getset, operation_getters},
    {0, NULL},
};

static PyType_Spec operation_spec = {
    .name = "zolal._zolal.SocketOperation",
    .basicsize = sizeof(struct operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = operation_slots,
};

int operation_type_add(PyObject *module)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    aio->operation_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &operation_spec, NULL);
    return aio->operation_type ? PyModule_AddType(module, aio->operation_type) : -1;
}
