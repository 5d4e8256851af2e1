#include "python/aio/waiter.h"

#include <stddef.h>
#include <structmember.h>

#include "python/aio/handle.h"

struct waiter_object *waiter_new(struct loop_object *loop, struct list *list)
{
    struct waiter_object *waiter =
        PyObject_GC_New(struct waiter_object, loop->state->aio.waiter_type);
    if (!waiter)
        return NULL;
    waiter->loop = (struct loop_object *)Py_NewRef(loop);
    waiter->handle = waiter->message = NULL;
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
    PyObject *handle = waiter->handle;
    waiter->handle = NULL;
    waiter->state = state;
    int result = handle ? ready_push(waiter->loop, handle) : 0;
    if (list_is_linked(&waiter->node)) {
        list_unlink(&waiter->node);
        Py_DECREF(waiter);
    }
    return result;
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
    struct module_state *state = waiter->loop->state;
    if (count != 1 || (names && PyTuple_GET_SIZE(names) > 1) || waiter->handle) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback(callback, context=None), once");
        return NULL;
    }
    PyObject *context = names && PyTuple_GET_SIZE(names) == 1 ? args[1] : NULL;
    PyObject *self = (PyObject *)waiter;
    PyObject *handle =
        (PyObject *)handle_new(state->aio.handle_type, waiter->loop, args[0], &self, 1, context);
    if (!handle)
        return NULL;
    if (waiter->state == WAITER_PENDING)
        waiter->handle = handle;
    else if (ready_push(waiter->loop, handle) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *waiter_remove_done_callback(struct waiter_object *waiter, PyObject *callback)
{
    struct handle_object *handle = (struct handle_object *)waiter->handle;
    int same = handle && handle->callback
                   ? PyObject_RichCompareBool(handle->callback, callback, Py_EQ)
                   : 0;
    if (same < 0)
        return NULL;
    if (same > 0)
        Py_CLEAR(waiter->handle);
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

static PyObject *waiter_get_loop(struct waiter_object *waiter, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(waiter->loop);
}

static int waiter_traverse(struct waiter_object *waiter, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(waiter));
    Py_VISIT(waiter->loop);
    Py_VISIT(waiter->handle);
    Py_VISIT(waiter->message);
    return 0;
}

/* The loop stays: a method may be called yet. */
static int waiter_clear(struct waiter_object *waiter)
{
    Py_CLEAR(waiter->handle);
    Py_CLEAR(waiter->message);
    return 0;
}

static void waiter_dealloc(struct waiter_object *waiter)
{
    PyTypeObject *type = Py_TYPE(waiter);
    PyObject_GC_UnTrack(waiter);
    waiter_clear(waiter);
    Py_CLEAR(waiter->loop);
    PyObject_GC_Del(waiter);
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
    {"get_loop", (PyCFunction)waiter_get_loop, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

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
