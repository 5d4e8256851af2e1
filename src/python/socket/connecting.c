#include "python/socket/socket_object.h"

#include <errno.h>

PyObject *socket_bind(struct socket_object *socket, PyObject *object)
{
    struct address addr;
    int fd, result;
    RECORDED(socket->state);
    if (address_from_object(&addr, socket->family, object, "bind") < 0 ||
        PySys_Audit("socket.bind", "OO", socket, object) < 0)
        return NULL;
    fd = socket->fd;
    Py_BEGIN_ALLOW_THREADS result = kernel_bind(fd, &addr.sa, addr.len);
    Py_END_ALLOW_THREADS if (result < 0) return socket_raise(result);
    Py_RETURN_NONE;
}

/* What became of a connect that goes on by itself: SO_ERROR, socket(7). */
static int connect_outcome(struct socket_object *socket)
{
    int code = 0;
    socklen_t len = sizeof(code);
    int result = kernel_getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &code, &len);
    return result < 0 ? result : code == EISCONN ? 0 : -code;
}

/* What connect_to returns besides 0 and -errno. */
enum { CONNECT_RAISED = 1, CONNECT_TIMED_OUT };

static int connect_to(struct socket_object *socket, const struct address *addr)
{
    int64_t timeout_ns = socket->timeout_ns;
    int fd = socket->fd, result;
    Py_BEGIN_ALLOW_THREADS result = kernel_connect(fd, &addr->sa, addr->len);
    Py_END_ALLOW_THREADS if (result == -EINTR)
    {
        /* It goes on nevertheless: another connect(2) would be EALREADY. */
        if (PyErr_CheckSignals() < 0)
            return CONNECT_RAISED;
        if (timeout_ns == 0)
            return result;
    }
    else if (result != -EINPROGRESS || timeout_ns <= 0)
    {
        return result;
    }
    int ready = socket_wait(socket, POLLOUT, socket_deadline(timeout_ns));
    if (ready < 0)
        return CONNECT_RAISED;
    return ready == 0 ? CONNECT_TIMED_OUT : connect_outcome(socket);
}

PyObject *socket_connect(struct socket_object *socket, PyObject *object)
{
    struct address addr;
    RECORDED(socket->state);
    if (address_from_object(&addr, socket->family, object, "connect") < 0 ||
        PySys_Audit("socket.connect", "OO", socket, object) < 0)
        return NULL;
    int result = connect_to(socket, &addr);
    if (result == CONNECT_RAISED)
        return NULL;
    if (result == CONNECT_TIMED_OUT)
        return socket_raise_timeout();
    if (result < 0)
        return socket_raise(result);
    Py_RETURN_NONE;
}

PyObject *socket_connect_ex(struct socket_object *socket, PyObject *object)
{
    struct address addr;
    RECORDED(socket->state);
    if (address_from_object(&addr, socket->family, object, "connect_ex") < 0 ||
        PySys_Audit("socket.connect", "OO", socket, object) < 0)
        return NULL;
    int result = connect_to(socket, &addr);
    if (result == CONNECT_RAISED)
        return NULL;
    return PyLong_FromLong(result == CONNECT_TIMED_OUT ? EAGAIN : -result);
}

PyObject *socket_listen(struct socket_object *socket, PyObject *args)
{
    int backlog = SOMAXCONN < 128 ? SOMAXCONN : 128;
    RECORDED(socket->state);
    if (!PyArg_ParseTuple(args, "|i:listen", &backlog))
        return NULL;
    int result = kernel_listen(socket->fd, backlog < 0 ? 0 : backlog);
    if (result < 0)
        return socket_raise(result);
    Py_RETURN_NONE;
}

static int64_t make_accept(int fd, struct socket_call *call)
{
    call->addr->len = sizeof(call->addr->storage);
    return kernel_accept4(fd, &call->addr->sa, &call->addr->len, SOCK_CLOEXEC);
}

PyObject *socket_accept(struct socket_object *socket, PyObject *object)
{
    struct socket_object *accepted = (struct socket_object *)object;
    struct address addr = {0};
    struct socket_call call = {
        .make = make_accept, .events = POLLIN, .blocks_anyway = true, .addr = &addr};
    RECORDED(socket->state);
    if (!PyObject_TypeCheck(object, socket->state->socket_type) || accepted->fd >= 0) {
        PyErr_SetString(PyExc_TypeError, "_accept() takes a socket that was never opened");
        return NULL;
    }
    int fd = (int)socket_call(socket, &call);
    if (fd < 0 || socket_begin(accepted, fd, socket->family, socket->type, socket->protocol) < 0)
        return NULL;
    return address_as_object(&addr);
}

PyObject *socket_shutdown(struct socket_object *socket, PyObject *object)
{
#if PY_VERSION_HEX >= 0x030D0000
    int how = PyLong_AsInt(object);
#else
    int how = _PyLong_AsInt(object);
#endif
    if (how == -1 && PyErr_Occurred())
        return NULL;
    RECORDED(socket->state);
    int result = kernel_shutdown(socket->fd, how);
    if (result < 0)
        return socket_raise(result);
    Py_RETURN_NONE;
}

PyObject *socket_getsockname(struct socket_object *socket, PyObject *unused)
{
    struct address addr = {.len = sizeof(addr.storage)};
    RECORDED(socket->state);
    int result = kernel_getsockname(socket->fd, &addr.sa, &addr.len);
    return result < 0 ? socket_raise(result) : address_as_object(&addr);
}

PyObject *socket_getpeername(struct socket_object *socket, PyObject *unused)
{
    struct address addr = {.len = sizeof(addr.storage)};
    RECORDED(socket->state);
    int result = kernel_getpeername(socket->fd, &addr.sa, &addr.len);
    return result < 0 ? socket_raise(result) : address_as_object(&addr);
}

PyObject *socket_getsockopt(struct socket_object *socket, PyObject *args)
{
    int level, option, room = 0, value = 0;
    socklen_t len = sizeof(value);
    if (!PyArg_ParseTuple(args, "ii|i:getsockopt", &level, &option, &room))
        return NULL;
    RECORDED(socket->state);
    if (room == 0) {
        int result = kernel_getsockopt(socket->fd, level, option, &value, &len);
        return result < 0 ? socket_raise(result) : PyLong_FromLong(value);
    }
    if (room < 0 || room > 1024) {
        PyErr_SetString(PyExc_OSError, "getsockopt buflen out of range");
        return NULL;
    }
    char data[1024];
    len = (socklen_t)room;
    int result = kernel_getsockopt(socket->fd, level, option, data, &len);
    return result < 0 ? socket_raise(result) : PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
}

/* setsockopt(level, option, int), (level, option, None, len) or (level, option, bytes): whichever
 * of the forms the arguments fit. Returns 0, -errno, or 1 with an exception set. */
static int set_option(struct socket_object *socket, PyObject *args)
{
    int level, option, value;
    unsigned len;
    PyObject *none;
    Py_buffer bytes;
    if (PyArg_ParseTuple(args, "iii:setsockopt", &level, &option, &value))
        return kernel_setsockopt(socket->fd, level, option, &value, sizeof(value));
    PyErr_Clear();
    if (PyArg_ParseTuple(args, "iiO!I:setsockopt", &level, &option, Py_TYPE(Py_None), &none, &len))
        return kernel_setsockopt(socket->fd, level, option, NULL, len);
    PyErr_Clear();
    if (!PyArg_ParseTuple(args, "iiy*:setsockopt", &level, &option, &bytes))
        return 1;
    int result = bytes.len > INT_MAX ? -EINVAL
                                     : kernel_setsockopt(socket->fd, level, option, bytes.buf,
                                                         (socklen_t)bytes.len);
    PyBuffer_Release(&bytes);
    return result;
}

PyObject *socket_setsockopt(struct socket_object *socket, PyObject *args)
{
    RECORDED(socket->state);
    int result = set_option(socket, args);
    if (result > 0)
        return NULL;
    if (result < 0)
        return socket_raise(result);
    Py_RETURN_NONE;
}
