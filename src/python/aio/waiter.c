#include "python/aio/waiter.h"

#include <stddef.h>
#include <structmember.h>

#include "python/aio/handle.h"

struct waiter_object *waiter_new(struct loop_object *loop, struct list *list)
{
    PyTypeObject *type = loop->state->aio.waiter_type;
    PyObject *spare = spares_take(&loop->waiters, type, 0);
    struct waiter_object *waiter =
        spare ? (struct waiter_object *)spare : PyObject_GC_New(struct waiter_object, type);
    if (!waiter)
        return NULL;
    waiter->loop = (struct loop_object *)Py_NewRef(loop);
    waiter->callback = waiter->context = waiter->message = NULL;
    waiter->state = WAITER_PENDING;
    waiter->is_blocking = true;
    list_init(&waiter->node);
    list_append(list, &waiter->node);
    Py_INCREF(waiter); /* the list's */
    PyObject_GC_Track(waiter);
    return waiter;
}

/* It is pending no more. Returns 0, or -1 with MemoryError set. */
static int waiter_finish(struct waiter_object *waiter, enum waiter_state state)
{
    Py_INCREF(waiter);
    waiter->state = state;
    waiter_abandon(waiter);
    if (waiter->callback)
        return ready_push(waiter->loop, (PyObject *)waiter);
    Py_DECREF(waiter);
    return 0;
}

/* A task's wake-up asks its future for the result, which is quick of asyncio's own. -1: an
 * exception is set. */
static int waiter_argument(struct waiter_object *waiter, PyObject **argument)
{
    struct loop_object *loop = waiter->loop;
    const struct aio_state *aio = &loop->state->aio;
    PyObject *owner =
        PyCFunction_CheckExact(waiter->callback) ? PyCFunction_GET_SELF(waiter->callback) : NULL;
    *argument = (PyObject *)waiter;
    if (waiter->state != WAITER_DONE || !owner ||
        !PyObject_TypeCheck(owner, (PyTypeObject *)aio->task_class))
        return 0;
    if (!loop->done) {
        PyObject *future = PyObject_CallMethod((PyObject *)loop, "create_future", NULL);
        PyObject *set = future ? PyObject_CallMethod(future, "set_result", "O", Py_None) : NULL;
        Py_XDECREF(set);
        if (!set) {
            Py_XDECREF(future);
            return -1;
        }
        loop->done = future;
    }
    *argument = loop->done;
    return 0;
}

struct handle_object *waiter_as_handle(struct waiter_object *waiter)
{
    PyObject *argument;
    if (waiter_argument(waiter, &argument) < 0)
        return NULL;
    struct handle_object *handle = handle_new(waiter->loop->state->aio.handle_type, waiter->loop,
                                              waiter->callback, &argument, 1, waiter->context);
    if (handle)
        handle_track(handle);
    return handle;
}

/* As of a handle: that which failed is told to the loop's exception handler. */
static int waiter_report(struct waiter_object *waiter)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    struct handle_object *handle = waiter_as_handle(waiter);
    if (!handle)
        PyErr_Clear();
    PyErr_Restore(type, value, traceback);
    int result = handle ? handle_report(handle) : -1;
    Py_XDECREF(handle);
    return result;
}

int waiter_run(struct waiter_object *waiter)
{
    PyObject *argument;
    if (waiter_argument(waiter, &argument) < 0)
        return -1;
    PyObject *result = handle_call(waiter->context, waiter->callback, &argument, 1);
    int outcome = result ? 0 : waiter_report(waiter);
    Py_XDECREF(result);
    return outcome;
}

void waiter_abandon(struct waiter_object *waiter)
{
    if (list_is_linked(&waiter->node)) {
        list_unlink(&waiter->node);
        Py_DECREF(waiter);
    }
}

int waiters_wake(struct loop_object *loop, struct list *list)
{
    (void)loop;
    while (!list_is_empty(list)) {
        struct waiter_object *waiter = list_entry(list->next, struct waiter_object, node);
        if (waiter_finish(waiter, WAITER_DONE) < 0)
            return -1;
    }
    return 0;
}

void waiters_drop(struct list *list)
{
    while (!list_is_empty(list))
        waiter_abandon(list_entry(list->next, struct waiter_object, node));
}

int waiters_traverse(const struct list *list, visitproc visit, void *arg)
{
    for (const struct list *node = list->next; node != list; node = node->next)
        Py_VISIT(list_entry(node, struct waiter_object, node));
    return 0;
}

/* add_done_callback(callback, *, context=None): a task's only one. */
static PyObject *waiter_add_done_callback(struct waiter_object *waiter, PyObject *const *args,
                                          Py_ssize_t count, PyObject *names)
{
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
    if (count != 1 || keywords > 1 || waiter->callback) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback(callback, context=None), once");
        return NULL;
    }
    bool is_given = keywords == 1 && args[1] != Py_None;
    waiter->context = is_given ? Py_NewRef(args[1]) : PyContext_CopyCurrent();
    if (!waiter->context)
        return NULL;
    waiter->callback = Py_NewRef(args[0]);
    if (waiter->state != WAITER_PENDING && ready_push(waiter->loop, Py_NewRef(waiter)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *waiter_remove_done_callback(struct waiter_object *waiter, PyObject *callback)
{
    bool has_one = waiter->callback && waiter->state == WAITER_PENDING;
    int same = has_one ? PyObject_RichCompareBool(waiter->callback, callback, Py_EQ) : 0;
    if (same < 0)
        return NULL;
    if (same > 0) {
        Py_CLEAR(waiter->callback);
        Py_CLEAR(waiter->context);
    }
    return PyLong_FromLong(same);
}

/* cancel(msg=None) */
static PyObject *waiter_cancel(struct waiter_object *waiter, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"msg", NULL};
    PyObject *message = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:cancel", names, &message))
        return NULL;
    if (waiter->state != WAITER_PENDING)
        Py_RETURN_FALSE;
    if (message != Py_None)
        Py_XSETREF(waiter->message, Py_NewRef(message));
    if (waiter_finish(waiter, WAITER_CANCELLED) < 0)
        return NULL;
    Py_RETURN_TRUE;
}

static PyObject *waiter_result(struct waiter_object *waiter, PyObject *unused)
{
    (void)unused;
    if (waiter->state == WAITER_DONE)
        Py_RETURN_NONE;
    if (waiter->state == WAITER_CANCELLED)
        PyErr_SetObject(waiter->loop->state->aio.cancelled_error, waiter->message);
    else
        PyErr_SetString(PyExc_RuntimeError, "the socket is not ready yet");
    return NULL;
}

static PyObject *waiter_done(struct waiter_object *waiter, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(waiter->state != WAITER_PENDING);
}

static PyObject *waiter_cancelled(struct waiter_object *waiter, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(waiter->state == WAITER_CANCELLED);
}

static int waiter_traverse(struct waiter_object *waiter, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(waiter));
    Py_VISIT(waiter->loop);
    Py_VISIT(waiter->callback);
    Py_VISIT(waiter->context);
    Py_VISIT(waiter->message);
    return 0;
}

/* The loop stays: a method may be called yet. */
static int waiter_clear(struct waiter_object *waiter)
{
    Py_CLEAR(waiter->callback);
    Py_CLEAR(waiter->context);
    Py_CLEAR(waiter->message);
    return 0;
}

static void waiter_dealloc(struct waiter_object *waiter)
{
    PyTypeObject *type = Py_TYPE(waiter);
    PyObject_GC_UnTrack(waiter);
    waiter_clear(waiter);
    struct loop_object *loop = waiter->loop;
    spares_give(&loop->waiters, (PyObject *)waiter);
    Py_DECREF(loop);
    Py_DECREF(type);
}

static PyMethodDef waiter_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))waiter_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS, NULL},
    {"remove_done_callback", (PyCFunction)waiter_remove_done_callback, METH_O, NULL},
    {"cancel", (PyCFunction)(void (*)(void))waiter_cancel, METH_VARARGS | METH_KEYWORDS, NULL},
    {"result", (PyCFunction)waiter_result, METH_NOARGS, NULL},
    {"done", (PyCFunction)waiter_done, METH_NOARGS, NULL},
    {"cancelled", (PyCFunction)waiter_cancelled, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* A task asks for the first two at each wait: they are told without a look-up. get_loop() is a weak
 * reference, which returns the loop when it is called. */
static PyObject *waiter_get(struct waiter_object *waiter, PyObject *name)
{
    PyObject *const *strings = waiter->loop->state->strings;
    if (name == strings[STRING_FUTURE_BLOCKING])
        return PyBool_FromLong(waiter->is_blocking);
    if (name == strings[STRING_GET_LOOP])
        return PyWeakref_NewRef((PyObject *)waiter->loop, NULL);
    return PyObject_GenericGetAttr((PyObject *)waiter, name);
}

static int waiter_set(struct waiter_object *waiter, PyObject *name, PyObject *value)
{
    if (name != waiter->loop->state->strings[STRING_FUTURE_BLOCKING] || value != Py_False)
        return PyObject_GenericSetAttr((PyObject *)waiter, name, value);
    waiter->is_blocking = false;
    return 0;
}

static PyMemberDef waiter_members[] = {
    {"_asyncio_future_blocking", T_BOOL, offsetof(struct waiter_object, is_blocking), 0, NULL},
    {"_loop", T_OBJECT, offsetof(struct waiter_object, loop), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot waiter_slots[] = {
    {Py_tp_doc, "What a socket operation waits on: a future for the task that awaits it."},
    {Py_tp_dealloc, waiter_dealloc},
    {Py_tp_traverse, waiter_traverse},
    {Py_tp_clear, waiter_clear},
    {Py_tp_getattro, waiter_get},
    {Py_tp_setattro, waiter_set},
    {Py_tp_methods, waiter_methods},
    {Py_tp_members, waiter_members},
    {0, NULL},
};

static PyType_Spec waiter_spec = {
    .name = "zolal._zolal.Waiter",
    .basicsize = sizeof(struct waiter_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = waiter_slots,
};

int waiter_type_add(PyObject *module)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    aio->waiter_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &waiter_spec, NULL);
    return aio->waiter_type ? 0 : -1;
}
