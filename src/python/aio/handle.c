#include "python/aio/handle.h"

#include <stddef.h>
#include <structmember.h>

#include "python/exception.h"

/* sys._getframe() is the caller's frame: C has none of its own. */
static PyObject *handle_traceback(const struct aio_state *aio)
{
    PyObject *frame = PyObject_CallNoArgs(aio->get_frame);
    PyObject *stack = frame ? PyObject_CallOneArg(aio->extract_stack, frame) : NULL;
    Py_XDECREF(frame);
    return stack;
}

/* Most have no argument or one, and place for it. */
static struct handle_object *handle_allocate(PyTypeObject *type, struct spares *spares,
                                             Py_ssize_t count)
{
    PyObject *spare = count <= 1 ? spares_take(spares, type, count) : NULL;
    if (spare)
        return (struct handle_object *)spare;
    struct handle_object *handle =
        PyObject_GC_NewVar(struct handle_object, type, count > 1 ? count : 1);
    if (handle)
        Py_SET_SIZE(handle, count);
    return handle;
}

struct handle_object *handle_new(PyTypeObject *type, struct loop_object *loop, PyObject *callback,
                                 PyObject *const *args, Py_ssize_t count, PyObject *context)
{
    PyObject *own = context && context != Py_None ? Py_NewRef(context) : PyContext_CopyCurrent();
    struct handle_object *handle = own ? handle_allocate(type, &loop->handles, count) : NULL;
    if (!handle) {
        Py_XDECREF(own);
        return NULL;
    }
    handle->loop = (struct loop_object *)Py_NewRef(loop);
    handle->callback = Py_NewRef(callback);
    handle->context = own;
    handle->traceback = handle->text = handle->weakrefs = NULL;
    handle->is_threadsafe = type == loop->state->aio.threadsafe_type;
    if (handle->is_threadsafe)
        handle->ended = NULL;
    else
        handle->when = 0;
    handle->is_cancelled = handle->is_scheduled = handle->is_running = false;
    handle->is_tracked = false;
    for (Py_ssize_t i = 0; i < count; i++)
        handle->args[i] = Py_NewRef(args[i]);
    if (loop->is_debug && !(handle->traceback = handle_traceback(&loop->state->aio)))
        Py_CLEAR(handle);
    return handle;
}

static void handle_drop_call(struct handle_object *handle)
{
    Py_CLEAR(handle->callback);
    for (Py_ssize_t i = 0; i < Py_SIZE(handle); i++)
        Py_CLEAR(handle->args[i]);
}

int handle_cancel(struct handle_object *handle)
{
    if (handle->is_cancelled)
        return 0;
    if (handle->is_scheduled)
        timers_cancelled(handle->loop);
    handle->is_cancelled = true;
    if (handle->loop->is_debug && !handle->text &&
        !(handle->text = PyObject_Repr((PyObject *)handle)))
        return -1;
    if (!handle->is_running) /* its arguments are in use */
        handle_drop_call(handle);
    return 0;
}

PyObject *handle_call(PyObject *context, PyObject *callback, PyObject *const *args,
                      Py_ssize_t count)
{
    if (PyContext_Enter(context) < 0)
        return NULL;
    PyObject *result = PyObject_Vectorcall(callback, args, (size_t)count, NULL);
    if (PyContext_Exit(context) < 0)
        Py_CLEAR(result);
    return result;
}

/* loop._callback_failed(handle, exception) */
int handle_report(struct handle_object *handle)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit))
        return -1;
    PyObject *failure = exception_fetch();
    PyObject *args[] = {(PyObject *)handle->loop, (PyObject *)handle, failure};
    PyObject *done = PyObject_VectorcallMethod(handle->loop->state->strings[STRING_CALLBACK_FAILED],
                                               args, 3, NULL);
    Py_XDECREF(failure);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

int handle_run(struct handle_object *handle)
{
    if (!handle->callback)
        return 0;
    handle->is_running = true;
    if (handle->is_threadsafe)
        handle_lock(handle);
    PyObject *result =
        handle_call(handle->context, handle->callback, handle->args, Py_SIZE(handle));
    handle->is_running = false;
    if (handle->is_threadsafe)
        handle_unlock(handle);
    Py_XDECREF(result);
    int outcome = result ? 0 : handle_report(handle);
    if (handle->is_cancelled) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        handle_drop_call(handle);
        PyErr_Restore(type, value, traceback);
    }
    return outcome;
}

static PyObject *handle_method_run(struct handle_object *handle, PyObject *unused)
{
    (void)unused;
    if (handle_run(handle) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *handle_method_cancel(struct handle_object *handle, PyObject *unused)
{
    (void)unused;
    if (handle_cancel(handle) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *handle_method_cancelled(struct handle_object *handle, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(handle->is_cancelled);
}

static PyObject *handle_method_context(struct handle_object *handle, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(handle->context);
}

static PyObject *timer_method_when(struct handle_object *handle, PyObject *unused)
{
    (void)unused;
    return PyFloat_FromDouble(handle->when);
}

/* asyncio's own functions, which read the attributes below. */
PyObject *handle_repr(struct handle_object *handle)
{
    return PyObject_CallOneArg(handle->loop->state->aio.handle_repr, (PyObject *)handle);
}

static PyObject *handle_method_repr_info(struct handle_object *handle, PyObject *unused)
{
    (void)unused;
    return PyObject_CallOneArg(handle->loop->state->aio.handle_repr_info, (PyObject *)handle);
}

static PyObject *timer_method_repr_info(struct handle_object *handle, PyObject *unused)
{
    (void)unused;
    return PyObject_CallOneArg(handle->loop->state->aio.timer_repr_info, (PyObject *)handle);
}

static PyObject *handle_get_args(struct handle_object *handle, void *unused)
{
    (void)unused;
    if (!handle->callback)
        Py_RETURN_NONE;
    PyObject *args = PyTuple_New(Py_SIZE(handle));
    for (Py_ssize_t i = 0; args && i < Py_SIZE(handle); i++)
        PyTuple_SET_ITEM(args, i, Py_NewRef(handle->args[i]));
    return args;
}

static PyObject *handle_get_class(struct handle_object *handle, void *unused)
{
    const struct aio_state *aio = &handle->loop->state->aio;
    (void)unused;
    if (handle->is_threadsafe)
        return Py_NewRef(aio->threadsafe_class);
    return Py_NewRef(Py_IS_TYPE(handle, aio->timer_type) ? aio->timer_class : aio->handle_class);
}

static Py_hash_t timer_hash(struct handle_object *handle)
{
    PyObject *when = PyFloat_FromDouble(handle->when);
    Py_hash_t hash = when ? PyObject_Hash(when) : -1;
    Py_XDECREF(when);
    return hash;
}

/* As asyncio.TimerHandle's: the same call at the same time. -1: an exception is set. */
static int timer_is_equal(const struct handle_object *a, const struct handle_object *b)
{
    if (a->when != b->when || a->is_cancelled != b->is_cancelled || Py_SIZE(a) != Py_SIZE(b) ||
        !a->callback != !b->callback)
        return 0;
    if (!a->callback)
        return 1;
    int same = PyObject_RichCompareBool(a->callback, b->callback, Py_EQ);
    for (Py_ssize_t i = 0; same > 0 && i < Py_SIZE(a); i++)
        same = PyObject_RichCompareBool(a->args[i], b->args[i], Py_EQ);
    return same;
}

static PyObject *timer_compare(struct handle_object *handle, PyObject *object, int operation)
{
    const struct handle_object *other = (const struct handle_object *)object;
    if (!Py_IS_TYPE(object, Py_TYPE(handle)))
        Py_RETURN_NOTIMPLEMENTED;
    if (operation == Py_LT)
        return PyBool_FromLong(handle->when < other->when);
    if (operation == Py_GT)
        return PyBool_FromLong(handle->when > other->when);
    int equal = timer_is_equal(handle, other);
    if (equal < 0)
        return NULL;
    if (operation == Py_LE)
        equal = equal || handle->when < other->when;
    else if (operation == Py_GE)
        equal = equal || handle->when > other->when;
    return PyBool_FromLong(operation == Py_NE ? !equal : equal);
}

int handle_traverse(struct handle_object *handle, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(handle));
    Py_VISIT(handle->loop);
    Py_VISIT(handle->callback);
    Py_VISIT(handle->context);
    Py_VISIT(handle->traceback);
    for (Py_ssize_t i = 0; i < Py_SIZE(handle); i++)
        Py_VISIT(handle->args[i]);
    return 0;
}

/* The loop and the context stay: whoever has the handle may ask for its repr, or run it. */
int handle_clear(struct handle_object *handle)
{
    if (!handle->is_running)
        handle_drop_call(handle);
    Py_CLEAR(handle->traceback);
    return 0;
}

void handle_dealloc(struct handle_object *handle)
{
    PyTypeObject *type = Py_TYPE(handle);
    PyObject_GC_UnTrack(handle);
    if (handle->is_threadsafe)
        handle_free_lock(handle);
    if (handle->weakrefs)
        PyObject_ClearWeakRefs((PyObject *)handle);
    handle_clear(handle);
    Py_CLEAR(handle->text);
    Py_CLEAR(handle->context);
    struct loop_object *loop = handle->loop;
    if (Py_SIZE(handle) <= 1)
        spares_give(&loop->handles, (PyObject *)handle);
    else
        PyObject_GC_Del(handle);
    Py_DECREF(loop);
    Py_DECREF(type);
}

static PyMethodDef handle_methods[] = {
    {"_run", (PyCFunction)handle_method_run, METH_NOARGS, "_run($self)\n--\n\nCall it."},
    {"cancel", (PyCFunction)handle_method_cancel, METH_NOARGS,
     "cancel($self)\n--\n\nDo not call it."},
    {"cancelled", (PyCFunction)handle_method_cancelled, METH_NOARGS, "cancelled($self)\n--\n\n"},
    {"get_context", (PyCFunction)handle_method_context, METH_NOARGS, "get_context($self)\n--\n\n"},
    {"_repr_info", (PyCFunction)handle_method_repr_info, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef timer_methods[] = {
    {"when", (PyCFunction)timer_method_when, METH_NOARGS,
     "when($self)\n--\n\nSeconds of the loop's time."},
    {"_repr_info", (PyCFunction)timer_method_repr_info, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#define MEMBER(name, type, member, flags) \
    {name, type, offsetof(struct handle_object, member), flags, NULL}

static PyMemberDef handle_members[] = {
    MEMBER("_callback", T_OBJECT, callback, READONLY),
    MEMBER("_context", T_OBJECT, context, READONLY),
    MEMBER("_loop", T_OBJECT, loop, READONLY),
    MEMBER("_source_traceback", T_OBJECT, traceback, 0),
    MEMBER("_repr", T_OBJECT, text, READONLY),
    MEMBER("_cancelled", T_BOOL, is_cancelled, READONLY),
    MEMBER("__weaklistoffset__", T_PYSSIZET, weakrefs, READONLY),
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef timer_members[] = {
    MEMBER("_when", T_DOUBLE, when, READONLY),
    MEMBER("_scheduled", T_BOOL, is_scheduled, READONLY),
    MEMBER("__weaklistoffset__", T_PYSSIZET, weakrefs, READONLY),
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef handle_getters[] = {
    {"_args", (getter)handle_get_args, NULL, NULL, NULL},
    {"__class__", (getter)handle_get_class, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, "What call_soon() returns: an asyncio.Handle."},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_repr, handle_repr},
    {Py_tp_methods, handle_methods},
    {Py_tp_members, handle_members},
    {Py_tp_getset, handle_getters},
    {0, NULL},
};

static PyType_Slot timer_slots[] = {
    {Py_tp_doc, "What call_later() and call_at() return: an asyncio.TimerHandle."},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_repr, handle_repr},
    {Py_tp_hash, timer_hash},
    {Py_tp_richcompare, timer_compare},
    {Py_tp_methods, timer_methods},
    {Py_tp_members, timer_members},
    {0, NULL},
};

#define HANDLE_FLAGS                                                               \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION | \
     Py_TPFLAGS_IMMUTABLETYPE)

static PyType_Spec handle_spec = {
    .name = "zolal._zolal.Handle",
    .basicsize = offsetof(struct handle_object, args),
    .itemsize = sizeof(PyObject *),
    .flags = HANDLE_FLAGS | Py_TPFLAGS_BASETYPE,
    .slots = handle_slots,
};

static PyType_Spec timer_spec = {
    .name = "zolal._zolal.TimerHandle",
    .basicsize = offsetof(struct handle_object, args),
    .itemsize = sizeof(PyObject *),
    .flags = HANDLE_FLAGS,
    .slots = timer_slots,
};

int handle_types_add(PyObject *module)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    aio->handle_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &handle_spec, NULL);
    if (!aio->handle_type)
        return -1;
    aio->timer_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &timer_spec, (PyObject *)aio->handle_type);
    return aio->timer_type ? threadsafe_type_add(module) : -1;
}
