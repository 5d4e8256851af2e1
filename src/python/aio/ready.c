/* Callbacks that are to run: the ring, and the methods that fill it. */
#include "base/memory.h"
#include "python/aio/handle.h"

enum { RING_SIZE_FIRST = 64 };

static int ready_grow(struct ready_ring *ring)
{
    size_t size = ring->size > 0 ? 2 * ring->size : RING_SIZE_FIRST;
    PyObject **handles = memory_new_array(size, sizeof(PyObject *));
    if (!handles) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < ring->count; i++)
        handles[i] = ring->handles[(ring->first + i) & (ring->size - 1)];
    memory_free(ring->handles);
    ring->handles = handles;
    ring->size = size;
    ring->first = 0;
    return 0;
}

int ready_push(struct loop_object *loop, PyObject *handle)
{
    struct ready_ring *ring = &loop->ready;
    if (ring->count == ring->size && ready_grow(ring) < 0) {
        loop_let_go(loop, handle);
        return -1;
    }
    ring->handles[(ring->first + ring->count++) & (ring->size - 1)] = handle;
    return 0;
}

PyObject *ready_pop(struct loop_object *loop)
{
    struct ready_ring *ring = &loop->ready;
    PyObject *handle = ring->handles[ring->first];
    ring->first = (ring->first + 1) & (ring->size - 1);
    ring->count--;
    return handle;
}

int loop_check_open(struct loop_object *loop)
{
    if (!loop->is_closed)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

int loop_check_call(struct loop_object *loop, PyObject *callback, const char *method,
                    bool any_thread)
{
    PyObject *done = any_thread ? Py_NewRef(Py_None)
                                : PyObject_CallMethod((PyObject *)loop, "_check_thread", NULL);
    if (done)
        Py_SETREF(done,
                  PyObject_CallMethod((PyObject *)loop, "_check_callback", "Os", callback, method));
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* The one keyword, context=, of the methods that take a callback. Returns 0, or -1 with TypeError
 * set. */
static int context_argument(const struct module_state *state, PyObject *const *args,
                            Py_ssize_t count, PyObject *names, PyObject **context)
{
    *context = NULL;
    if (!names || PyTuple_GET_SIZE(names) == 0)
        return 0;
    PyObject *name = PyTuple_GET_ITEM(names, 0);
    int same = name == state->strings[STRING_CONTEXT] ||
               PyUnicode_Compare(name, state->strings[STRING_CONTEXT]) == 0;
    if (PyTuple_GET_SIZE(names) == 1 && same) {
        *context = args[count];
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "got an unexpected keyword argument '%U'",
                 same ? PyTuple_GET_ITEM(names, 1) : name);
    return -1;
}

/* A handle of `type` from a method's arguments: `skip` of them, callback, what it is called with.
 */
static struct handle_object *handle_from_arguments(struct loop_object *loop, PyTypeObject *type,
                                                   PyObject *const *args, Py_ssize_t count,
                                                   PyObject *names, Py_ssize_t skip,
                                                   const char *method)
{
    PyObject *context;
    bool any_thread = strcmp(method, "call_soon_threadsafe") == 0;
    if (count <= skip) {
        PyErr_Format(PyExc_TypeError, "%s() takes %s callback", method,
                     skip > 0 ? "a time and a" : "a");
        return NULL;
    }
    if (context_argument(loop->state, args, count, names, &context) < 0 ||
        loop_check_open(loop) < 0)
        return NULL;
    if (loop->is_debug && loop_check_call(loop, args[skip], method, any_thread) < 0)
        return NULL;
    return handle_new(type, loop, args[skip], args + skip + 1, count - skip - 1, context);
}

PyObject *loop_call_soon(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                         PyObject *names)
{
    struct handle_object *handle = handle_from_arguments(loop, loop->state->aio.handle_type, args,
                                                         count, names, 0, "call_soon");
    if (!handle || ready_push(loop, Py_NewRef(handle)) < 0)
        Py_CLEAR(handle);
    return (PyObject *)handle;
}

PyObject *loop_call_soon_threadsafe(struct loop_object *loop, PyObject *const *args,
                                    Py_ssize_t count, PyObject *names)
{
    const struct aio_state *aio = &loop->state->aio;
    struct handle_object *handle =
        handle_from_arguments(loop, aio->threadsafe_class ? aio->threadsafe_type : aio->handle_type,
                              args, count, names, 0, "call_soon_threadsafe");
    if (!handle || ready_push(loop, Py_NewRef(handle)) < 0)
        Py_CLEAR(handle);
    loop_wake(loop);
    return (PyObject *)handle;
}

PyObject *loop_add_callback(struct loop_object *loop, PyObject *handle)
{
    if (ready_push(loop, Py_NewRef(handle)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *timer_add(struct loop_object *loop, double when, PyObject *const *args,
                           Py_ssize_t count, PyObject *names, const char *method)
{
    struct handle_object *handle =
        handle_from_arguments(loop, loop->state->aio.timer_type, args, count, names, 1, method);
    if (!handle)
        return NULL;
    handle->when = when;
    if (timers_push(loop, handle) < 0)
        Py_CLEAR(handle);
    return (PyObject *)handle;
}

/* The first argument, seconds. -1 with an exception set. */
static double seconds_argument(PyObject *const *args, Py_ssize_t count, const char *none)
{
    if (count == 0 || args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, none);
        return -1;
    }
    return PyFloat_AsDouble(args[0]);
}

PyObject *loop_call_later(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                          PyObject *names)
{
    double delay = seconds_argument(args, count, "delay must not be None");
    if (delay == -1 && PyErr_Occurred())
        return NULL;
    return timer_add(loop, loop_now() + delay, args, count, names, "call_later");
}

PyObject *loop_call_at(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                       PyObject *names)
{
    double when = seconds_argument(args, count, "when cannot be None");
    if (when == -1 && PyErr_Occurred())
        return NULL;
    return timer_add(loop, when, args, count, names, "call_at");
}
