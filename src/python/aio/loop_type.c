#include "python/aio/loop_object.h"

#include <errno.h>
#include <stddef.h>
#include <structmember.h>

#include "base/memory.h"
#include "python/aio/accept.h"
#include "python/aio/connect.h"
#include "python/aio/handle.h"
#include "python/aio/operation.h"
#include "python/aio/slots.h"
#include "python/aio/stream_life.h"
#include "socket/kernel.h"

static PyObject *raise_errno(int result)
{
    errno = -result;
    return PyErr_SetFromErrno(PyExc_OSError);
}

void loop_close_descriptors(struct loop_object *loop)
{
    if (loop->epoll_fd >= 0)
        kernel_close(loop->epoll_fd);
    if (loop->wake_fd >= 0)
        kernel_close(loop->wake_fd);
    loop->epoll_fd = loop->wake_fd = -1;
}

int loop_open(struct loop_object *loop)
{
    int result = loop->epoll_fd = kernel_epoll_create();
    if (result >= 0)
        result = loop->wake_fd = kernel_eventfd();
    /* Edge-triggered: each write is an event, and the count need never be read. */
    if (result >= 0)
        result = kernel_epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, EPOLLIN | EPOLLET,
                                  slot_data(loop->wake_fd, 0));
    if (result >= 0)
        return slots_register_all(loop);
    loop_close_descriptors(loop);
    raise_errno(result);
    return -1;
}

char *loop_scratch(struct loop_object *loop)
{
    if (!loop->scratch)
        loop->scratch = memory_new_array(LOOP_SCRATCH, 1);
    if (!loop->scratch)
        PyErr_NoMemory();
    return loop->scratch;
}

void loop_clear_all(struct loop_object *loop)
{
    struct ready_ring ready = loop->ready;
    struct timer_heap timers = loop->timers;
    loop->ready = (struct ready_ring){0};
    loop->timers = (struct timer_heap){0};
    for (size_t i = 0; i < ready.count; i++)
        loop_let_go(loop, ready.handles[(ready.first + i) & (ready.size - 1)]);
    for (size_t i = 0; i < timers.count; i++) {
        timers.entries[i].handle->is_scheduled = false;
        loop_let_go(loop, (PyObject *)timers.entries[i].handle);
    }
    memory_free(ready.handles);
    memory_free(timers.entries);
    slots_clear(loop);
}

static PyObject *loop_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    struct module_state *state = state_of_type(type);
    (void)args;
    (void)keywords;
    if (!state || aio_import(&state->aio) < 0)
        return NULL;
    struct loop_object *loop = (struct loop_object *)type->tp_alloc(type, 0);
    if (!loop)
        return NULL;
    loop->state = state;
    loop->epoll_fd = loop->wake_fd = -1;
    loop->budget = LOOP_BUDGET;
    recording_join(state);
    if (loop_open(loop) < 0)
        Py_CLEAR(loop);
    return (PyObject *)loop;
}

static PyObject *loop_core_close(struct loop_object *loop, PyObject *unused)
{
    (void)unused;
    recording_join(loop->state);
    loop_close_descriptors(loop);
    loop_clear_all(loop);
    Py_CLEAR(loop->done);
    Py_CLEAR(loop->bytes);
    memory_free(loop->scratch);
    loop->scratch = NULL;
    Py_RETURN_NONE;
}

static PyObject *loop_core_reopen(struct loop_object *loop, PyObject *unused)
{
    (void)unused;
    loop_close_descriptors(loop);
    if (loop_open(loop) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *loop_time(struct loop_object *loop, PyObject *unused)
{
    (void)loop;
    (void)unused;
    return PyFloat_FromDouble(loop_now());
}

static PyObject *loop_write_to_self(struct loop_object *loop, PyObject *unused)
{
    (void)unused;
    loop_wake(loop);
    Py_RETURN_NONE;
}

static PyObject *loop_get_debug(struct loop_object *loop, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(loop->is_debug);
}

/* class(*args, loop=loop), without a dict being made for it. */
static PyObject *loop_make(struct loop_object *loop, PyObject *class, PyObject *args)
{
    PyObject *made = NULL;
    if (!loop->keywords && (loop->keywords = PyDict_New()) &&
        PyDict_SetItem(loop->keywords, loop->state->strings[STRING_LOOP], (PyObject *)loop) < 0)
        Py_CLEAR(loop->keywords);
    if (args && loop->keywords)
        made = PyObject_Call(class, args, loop->keywords);
    Py_XDECREF(args);
    return made;
}

static PyObject *loop_create_future(struct loop_object *loop, PyObject *unused)
{
    (void)unused;
    return loop_make(loop, loop->state->aio.future_class, PyTuple_New(0));
}

/* asyncio.tasks.Task: of this moment, since programs put another in its place. A new reference, or
 * NULL with an exception set. */
static PyObject *task_class_now(const struct loop_object *loop)
{
    const struct aio_state *aio = &loop->state->aio;
    PyObject *class = PyDict_GetItemWithError(aio->task_names, loop->state->strings[STRING_TASK]);
    if (!class && PyErr_Occurred())
        return NULL;
    return Py_NewRef(class ? class : aio->task_class);
}

/* asyncio.Task(coro, loop=loop, **keywords); with a task factory as asyncio has it. */
PyObject *loop_create_task(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                           PyObject *names)
{
    enum { KEYWORDS_MOST = 6 };
    const struct aio_state *aio = &loop->state->aio;
    PyObject *stack[KEYWORDS_MOST + 2];
    Py_ssize_t keywords = names ? PyTuple_GET_SIZE(names) : 0;
    bool is_plain = count == 1 && (!loop->task_factory || loop->task_factory == Py_None);
    if (count > 1 || keywords > KEYWORDS_MOST) {
        PyErr_SetString(PyExc_TypeError, "create_task() takes a coroutine and keywords");
        return NULL;
    }
    if (loop_check_open(loop) < 0)
        return NULL;
    stack[0] = is_plain ? args[0] : (PyObject *)loop;
    for (Py_ssize_t i = is_plain ? 1 : 0; i < count + keywords; i++)
        stack[i + (is_plain ? 0 : 1)] = args[i];
    if (!is_plain)
        return PyObject_Vectorcall(aio->base_create_task, stack, (size_t)count + 1, names);
    PyObject *class = task_class_now(loop), *task = NULL;
    PyObject *all = class && keywords > 0 ? PyTuple_New(keywords + 1) : NULL;
    if (class && keywords == 0)
        task = loop_make(loop, class, PyTuple_Pack(1, args[0]));
    if (all) {
        for (Py_ssize_t i = 0; i < keywords; i++)
            PyTuple_SET_ITEM(all, i, Py_NewRef(PyTuple_GET_ITEM(names, i)));
        PyTuple_SET_ITEM(all, keywords, Py_NewRef(loop->state->strings[STRING_LOOP]));
        stack[keywords + 1] = (PyObject *)loop;
        task = PyObject_Vectorcall(class, stack, 1, all);
    }
    Py_XDECREF(all);
    Py_XDECREF(class);
    return task;
}

static PyObject *loop_debug(struct loop_object *loop, void *unused)
{
    (void)unused;
    return PyBool_FromLong(loop->is_debug);
}

static int loop_set_debug(struct loop_object *loop, PyObject *value, void *unused)
{
    (void)unused;
    int on = value ? PyObject_IsTrue(value) : 0;
    if (on < 0)
        return -1;
    loop->is_debug = on > 0;
    return 0;
}

static int loop_traverse(struct loop_object *loop, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(loop));
    Py_VISIT(loop->task_factory);
    Py_VISIT(loop->done);
    Py_VISIT(loop->keywords);
    int result = 0;
    for (size_t i = 0; i < loop->ready.count && result == 0; i++)
        result = loop_visit_handle(
            loop, loop->ready.handles[(loop->ready.first + i) & (loop->ready.size - 1)], visit,
            arg);
    for (size_t i = 0; i < loop->timers.count && result == 0; i++)
        result = loop_visit_handle(loop, (PyObject *)loop->timers.entries[i].handle, visit, arg);
    return result ? result : slots_traverse(loop, visit, arg);
}

static int loop_clear(struct loop_object *loop)
{
    Py_CLEAR(loop->task_factory);
    Py_CLEAR(loop->done);
    Py_CLEAR(loop->keywords);
    loop_clear_all(loop);
    return 0;
}

static void loop_dealloc(struct loop_object *loop)
{
    PyTypeObject *type = Py_TYPE(loop);
    PyObject_GC_UnTrack(loop);
    loop_close_descriptors(loop);
    loop_clear(loop);
    spares_free(&loop->handles);
    spares_free(&loop->waiters);
    spares_free(&loop->operations);
    Py_CLEAR(loop->bytes);
    memory_free(loop->scratch);
    type->tp_free((PyObject *)loop);
    Py_DECREF(type);
}

#define METHOD(function) ((PyCFunction)(void (*)(void))(function))
#define KEYWORDS         (METH_FASTCALL | METH_KEYWORDS)

static PyMethodDef loop_methods[] = {
    {"_run_once", METHOD(loop_run_once), METH_NOARGS,
     "_run_once($self)\n--\n\nWait, and run what is ready and due: a turn, or several (_runs_on)."},
    {"call_soon", METHOD(loop_call_soon), KEYWORDS,
     "call_soon(callback, *args, context=None)\n\nHave it called in the next turn."},
    {"call_soon_threadsafe", METHOD(loop_call_soon_threadsafe), KEYWORDS,
     "call_soon_threadsafe(callback, *args, context=None)\n\nThe same, from any thread."},
    {"call_later", METHOD(loop_call_later), KEYWORDS,
     "call_later(delay, callback, *args, context=None)\n\nHave it called in `delay` seconds."},
    {"call_at", METHOD(loop_call_at), KEYWORDS,
     "call_at(when, callback, *args, context=None)\n\nHave it called at a time of time()."},
    {"time", METHOD(loop_time), METH_NOARGS, "time($self)\n--\n\nSeconds: time.monotonic()."},
    {"get_debug", METHOD(loop_get_debug), METH_NOARGS, "get_debug($self)\n--\n\n"},
    {"create_future", METHOD(loop_create_future), METH_NOARGS,
     "create_future($self)\n--\n\nAn asyncio.Future of this loop."},
    {"create_task", METHOD(loop_create_task), KEYWORDS,
     "create_task(coro, *, name=None, context=None)\n\nAn asyncio.Task of this loop."},
    {"sock_recv", METHOD(loop_sock_recv), KEYWORDS,
     "sock_recv(sock, n)\n\nAt most `n` bytes; b'' at the end."},
    {"sock_recv_into", METHOD(loop_sock_recv_into), KEYWORDS,
     "sock_recv_into(sock, buf)\n\nThe same into a buffer; how many came."},
    {"sock_sendall", METHOD(loop_sock_sendall), KEYWORDS,
     "sock_sendall(sock, data)\n\nSend all of it."},
    {"sock_accept", METHOD(loop_sock_accept), KEYWORDS,
     "sock_accept(sock)\n\nA connection: (socket, address). The socket is non-blocking."},
    {"_add_callback", METHOD(loop_add_callback), METH_O, NULL},
    {"_write_to_self", METHOD(loop_write_to_self), METH_NOARGS, NULL},
    {"_add_reader", METHOD(loop_add_reader), METH_FASTCALL, NULL},
    {"_add_writer", METHOD(loop_add_writer), METH_FASTCALL, NULL},
    {"_remove_reader", METHOD(loop_remove_reader), METH_O, NULL},
    {"_remove_writer", METHOD(loop_remove_writer), METH_O, NULL},
    {"_accept_connection", METHOD(loop_accept_connection), KEYWORDS, NULL},
    {"_connect", METHOD(loop_connect), METH_FASTCALL,
     "_connect($self, sock, address, /)\n--\n\nconnect(2): BlockingIOError while it goes on."},
    {"_connect_error", METHOD(loop_connect_error), METH_O,
     "_connect_error($self, sock, /)\n--\n\nSO_ERROR of it: what became of it, an errno or 0."},
    {"_ensure_fd_no_transport", METHOD(loop_ensure_fd_no_transport), METH_O, NULL},
    {"_forget_transport", METHOD(loop_forget_transport), METH_O, NULL},
    {"_watched", METHOD(loop_watched), METH_NOARGS,
     "_watched($self)\n--\n\n[(fd, reader, writer), ...], a handle or None each."},
    {"_core_close", METHOD(loop_core_close), METH_NOARGS,
     "_core_close($self)\n--\n\nClose the loop's descriptors and drop all callbacks."},
    {"_core_reopen", METHOD(loop_core_reopen), METH_NOARGS,
     "_core_reopen($self)\n--\n\nIn a forked child: descriptors of its own."},
    {NULL, NULL, 0, NULL},
};

/* asyncio's own methods set and read these. */
static PyMemberDef loop_members[] = {
    {"_closed", T_BOOL, offsetof(struct loop_object, is_closed), 0, NULL},
    {"_stopping", T_BOOL, offsetof(struct loop_object, is_stopping), 0, NULL},
    {"_runs_on", T_BOOL, offsetof(struct loop_object, runs_on), 0, NULL},
    {"_is_watched", T_BOOL, offsetof(struct loop_object, is_watched), 0, NULL},
    {"_has_forked", T_BOOL, offsetof(struct loop_object, has_forked), 0, NULL},
    {"_task_factory", T_OBJECT, offsetof(struct loop_object, task_factory), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef loop_getters[] = {
    {"_debug", (getter)loop_debug, (setter)loop_set_debug, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, "The part of zolal.EventLoop that is in C."},
    {Py_tp_new, loop_new},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},
    {Py_tp_methods, loop_methods},
    {Py_tp_members, loop_members},
    {Py_tp_getset, loop_getters},
    {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "zolal._zolal.LoopCore",
    .basicsize = sizeof(struct loop_object),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = loop_slots,
};

int loop_type_add(PyObject *module)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    aio->loop_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &loop_spec, NULL);
    return aio->loop_type ? PyModule_AddType(module, aio->loop_type) : -1;
}
