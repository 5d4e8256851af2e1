/* asyncio.events._ThreadSafeHandle: while it runs, cancel() and cancelled() wait for its end in any
 * other thread. The GIL is the lock of all the rest. */
#include "python/aio/handle.h"

void handle_lock(struct handle_object *handle)
{
    handle->loop->runner = PyThread_get_thread_ident();
    if (handle->ended) /* of an earlier run: whoever has it does not need the GIL to give it back */
        PyThread_acquire_lock(handle->ended, WAIT_LOCK);
}

void handle_unlock(struct handle_object *handle)
{
    if (handle->ended)
        PyThread_release_lock(handle->ended);
}

void handle_free_lock(struct handle_object *handle)
{
    if (handle->ended)
        PyThread_free_lock(handle->ended);
}

/* Wait until it does not run in another thread. Returns 0, or -1 with an exception set. */
static int await_end(struct handle_object *handle)
{
    while (handle->is_running && handle->loop->runner != PyThread_get_thread_ident()) {
        if (!handle->ended) {
            handle->ended = PyThread_allocate_lock();
            if (!handle->ended) {
                PyErr_NoMemory();
                return -1;
            }
            PyThread_acquire_lock(handle->ended, NOWAIT_LOCK);
        }
        PyThread_type_lock ended = handle->ended;
        PyLockStatus status;
        Py_BEGIN_ALLOW_THREADS status = PyThread_acquire_lock_timed(ended, -1, 1);
        if (status == PY_LOCK_ACQUIRED)
            PyThread_release_lock(ended); /* for the next who waits */
        Py_END_ALLOW_THREADS if (status == PY_LOCK_INTR && PyErr_CheckSignals() < 0) return -1;
    }
    return 0;
}

static PyObject *threadsafe_cancel(struct handle_object *handle, PyObject *unused)
{
    (void)unused;
    if (await_end(handle) < 0 || handle_cancel(handle) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *threadsafe_cancelled(struct handle_object *handle, PyObject *unused)
{
    (void)unused;
    return await_end(handle) < 0 ? NULL : PyBool_FromLong(handle->is_cancelled);
}

static PyMethodDef threadsafe_methods[] = {
    {"cancel", (PyCFunction)threadsafe_cancel, METH_NOARGS,
     "cancel($self)\n--\n\nDo not call it; where it is being called, wait for the end."},
    {"cancelled", (PyCFunction)threadsafe_cancelled, METH_NOARGS, "cancelled($self)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot threadsafe_slots[] = {
    {Py_tp_doc, "What call_soon_threadsafe() returns: an asyncio.events._ThreadSafeHandle."},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_repr, handle_repr},
    {Py_tp_methods, threadsafe_methods},
    {0, NULL},
};

static PyType_Spec threadsafe_spec = {
    .name = "zolal._zolal.ThreadSafeHandle",
    .basicsize = offsetof(struct handle_object, args),
    .itemsize = sizeof(PyObject *),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = threadsafe_slots,
};

int threadsafe_type_add(PyObject *module)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    aio->threadsafe_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &threadsafe_spec,
                                                                    (PyObject *)aio->handle_type);
    return aio->threadsafe_type ? 0 : -1;
}
