#include "python/socket/socket_object.h"
#include "python/socket/socket_type.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "base/clock.h"

enum { POLLED_ON_STACK = 32, NS_PER_MS = 1000000 };

/* The pair that is most: two ints. False: look closer. */
static bool polled_from_ints(struct pollfd *polled, PyObject *pair)
{
    if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2 ||
        !PyLong_CheckExact(PyTuple_GET_ITEM(pair, 0)) ||
        !PyLong_CheckExact(PyTuple_GET_ITEM(pair, 1)))
        return false;
    int overflow = 0;
    long fd = PyLong_AsLongAndOverflow(PyTuple_GET_ITEM(pair, 0), &overflow);
    long events = PyLong_AsLongAndOverflow(PyTuple_GET_ITEM(pair, 1), &overflow);
    if (fd < 0 || fd > INT_MAX || events != (events & 0xFFFF))
        return false;
    *polled = (struct pollfd){.fd = (int)fd, .events = (short)events};
    return true;
}

/* (fd, events), the first an int or something with fileno(); -1 with an exception set. */
static int polled_from_pair(struct pollfd *polled, PyObject *pair)
{
    PyObject *object;
    int events;
    if (polled_from_ints(polled, pair))
        return 0;
    if (!PyTuple_Check(pair)) {
        PyErr_SetString(PyExc_TypeError, "poll takes a list of (fd, events)");
        return -1;
    }
    if (!PyArg_ParseTuple(pair, "Oi;poll takes a list of (fd, events)", &object, &events))
        return -1;
    if (events != (events & 0xFFFF)) {
        PyErr_SetString(PyExc_OverflowError, "poll: events are 16 bits");
        return -1;
    }
    *polled = (struct pollfd){.fd = PyObject_AsFileDescriptor(object), .events = (short)events};
    return polled->fd < 0 ? -1 : 0;
}

/* [(fd, events), ...] into `fds`; -1 with an exception set. */
static int polled_from_list(struct pollfd *fds, PyObject *list, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *pair = PyList_GetItem(list, i); /* a fileno() may have cut the list */
        if (!pair)
            return -1;
        Py_INCREF(pair);
        int result = polled_from_pair(&fds[i], pair);
        Py_DECREF(pair);
        if (result < 0)
            return -1;
    }
    return 0;
}

static PyObject *polled_as_list(const struct pollfd *fds, Py_ssize_t count)
{
    PyObject *list = PyList_New(0);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        if (!fds[i].revents)
            continue;
        PyObject *pair = Py_BuildValue("ii", fds[i].fd, (int)(unsigned short)fds[i].revents);
        if (!pair || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

/* poll(2) until something is ready or the time is over; -1 with an exception set. */
static int poll_patiently(struct pollfd *fds, Py_ssize_t count, int timeout_ms)
{
    uint64_t deadline_ns =
        timeout_ms > 0 ? clock_monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS : 0;
    for (;;) {
        int ready;
        Py_BEGIN_ALLOW_THREADS ready = kernel_poll(fds, (size_t)count, timeout_ms);
        Py_END_ALLOW_THREADS if (ready >= 0) return ready;
        if (ready != -EINTR) {
            socket_raise(ready);
            return -1;
        }
        if (PyErr_CheckSignals() < 0)
            return -1;
        uint64_t now = clock_monotonic_ns();
        uint64_t left_ns = now < deadline_ns ? deadline_ns - now : 0;
        if (timeout_ms >= 0)
            timeout_ms = (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS);
    }
}

static int timeout_ms_from_object(PyObject *object, int *timeout_ms)
{
    *timeout_ms = -1;
    if (object == Py_None)
        return 0;
    long value = PyLong_AsLong(object);
    if (value == -1 && PyErr_Occurred())
        return -1;
    if (value > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "timeout is too large");
        return -1;
    }
    *timeout_ms = value < 0 ? -1 : (int)value;
    return 0;
}

static PyObject *function_poll(PyObject *module, PyObject *const *args, Py_ssize_t arg_count)
{
    struct pollfd on_stack[POLLED_ON_STACK], *fds = on_stack;
    PyObject *result = NULL;
    int timeout_ms;
    if (arg_count != 2 || !PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "poll takes a list of (fd, events) and milliseconds");
        return NULL;
    }
    if (timeout_ms_from_object(args[1], &timeout_ms) < 0)
        return NULL;
    PyObject *list = args[0];
    Py_ssize_t count = PyList_GET_SIZE(list);
    recording_join(state_of_module(module));
    if (count > POLLED_ON_STACK)
        fds = PyMem_New(struct pollfd, (size_t)count);
    if (!fds)
        return PyErr_NoMemory();
    if (polled_from_list(fds, list, count) == 0 && poll_patiently(fds, count, timeout_ms) >= 0)
        result = polled_as_list(fds, count);
    if (fds != on_stack)
        PyMem_Free(fds);
    return result;
}

static PyObject *function_socketpair(PyObject *module, PyObject *args)
{
    int family = AF_UNIX, type = SOCK_STREAM, protocol = 0, fds[2];
    if (!PyArg_ParseTuple(args, "|iii:socketpair", &family, &type, &protocol))
        return NULL;
    RECORDED(state_of_module(module));
    int result = kernel_socketpair(family, type | SOCK_CLOEXEC, protocol, fds);
    return result < 0 ? socket_raise(result) : Py_BuildValue("ii", fds[0], fds[1]);
}

static PyObject *function_dup(PyObject *module, PyObject *object)
{
    int fd;
    if (!PyArg_Parse(object, "i:dup", &fd))
        return NULL;
    RECORDED(state_of_module(module));
    int copy = kernel_fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? socket_raise(copy) : PyLong_FromLong(copy);
}

static PyObject *function_close(PyObject *module, PyObject *object)
{
    int fd, result;
    if (!PyArg_Parse(object, "i:close", &fd))
        return NULL;
    RECORDED(state_of_module(module));
    Py_BEGIN_ALLOW_THREADS result = kernel_close(fd);
    Py_END_ALLOW_THREADS if (result < 0 && result != -ECONNRESET) return socket_raise(result);
    Py_RETURN_NONE;
}

static PyObject *function_get_inheritable(PyObject *module, PyObject *object)
{
    int fd;
    if (!PyArg_Parse(object, "i:get_inheritable", &fd))
        return NULL;
    RECORDED(state_of_module(module));
    int flags = kernel_fcntl(fd, F_GETFD, 0);
    return flags < 0 ? socket_raise(flags) : PyBool_FromLong(!(flags & FD_CLOEXEC));
}

static PyObject *function_set_inheritable(PyObject *module, PyObject *args)
{
    int fd, inheritable;
    if (!PyArg_ParseTuple(args, "ip:set_inheritable", &fd, &inheritable))
        return NULL;
    RECORDED(state_of_module(module));
    int result = kernel_fcntl(fd, F_SETFD, inheritable ? 0 : FD_CLOEXEC);
    if (result < 0)
        return socket_raise(result);
    Py_RETURN_NONE;
}

static PyObject *function_getdefaulttimeout(PyObject *module, PyObject *unused)
{
    return timeout_as_object(state_of_module(module)->default_timeout_ns);
}

static PyObject *function_setdefaulttimeout(PyObject *module, PyObject *object)
{
    int64_t timeout_ns;
    if (timeout_from_object(&timeout_ns, object) < 0)
        return NULL;
    state_of_module(module)->default_timeout_ns = timeout_ns;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"poll", (PyCFunction)(void (*)(void))function_poll, METH_FASTCALL,
     "poll(fds, timeout_ms, /)\n--\n\n"
     "Wait until one of [(fd, events), ...] is ready: poll(2). `timeout_ms`: None waits for ever.\n"
     "Returns [(fd, revents), ...] of those that are; [] when the time is over."},
    {"socketpair", function_socketpair, METH_VARARGS,
     "socketpair(family=AF_UNIX, type=SOCK_STREAM, proto=0, /)\n--\n\n"
     "Two connected descriptors, close-on-exec: socketpair(2)."},
    {"dup_socket", function_dup, METH_O,
     "dup_socket(fd, /)\n--\n\nAnother descriptor of it, close-on-exec: fcntl(2)."},
    {"close_socket", function_close, METH_O, "close_socket(fd, /)\n--\n\nclose(2)."},
    {"get_inheritable", function_get_inheritable, METH_O,
     "get_inheritable(fd, /)\n--\n\nDoes a program that is started get it: fcntl(2)."},
    {"set_inheritable", function_set_inheritable, METH_VARARGS,
     "set_inheritable(fd, inheritable, /)\n--\n\nSay whether: fcntl(2), FD_CLOEXEC."},
    {"getdefaulttimeout", function_getdefaulttimeout, METH_NOARGS,
     "getdefaulttimeout()\n--\n\nSeconds that new sockets wait, None: for ever."},
    {"setdefaulttimeout", function_setdefaulttimeout, METH_O,
     "setdefaulttimeout(timeout, /)\n--\n\nSeconds that new sockets wait, None: for ever."},
    {NULL, NULL, 0, NULL},
};

int socket_functions_add(PyObject *module)
{
    state_of_module(module)->default_timeout_ns = TIMEOUT_NONE;
    return PyModule_AddFunctions(module, functions);
}
