#include "python/socket/socket_object.h"

/* A closed peer is an exception here, never a SIGPIPE. */
static int64_t make_send(int fd, struct socket_call *call)
{
    return kernel_send(fd, call->data, call->len, call->flags | MSG_NOSIGNAL);
}

static int64_t make_sendto(int fd, struct socket_call *call)
{
    return kernel_sendto(fd, call->data, call->len, call->flags | MSG_NOSIGNAL, &call->addr->sa,
                         call->addr->len);
}

static int64_t make_sendfile(int fd, struct socket_call *call)
{
    return kernel_sendfile(fd, call->in_fd, &call->offset, call->len);
}

/* The buffer and the flags of send and sendall. `format`: PyArg_ParseTuple's. */
static int send_arguments(PyObject *const *args, Py_ssize_t count, const char *format,
                          Py_buffer *data, int *flags)
{
    PyObject *tuple, *keywords;
    if (count == 1 && PyBytes_CheckExact(args[0]))
        return PyObject_GetBuffer(args[0], data, PyBUF_SIMPLE);
    if (arguments_from_stack(&tuple, &keywords, args, count, NULL) < 0)
        return -1;
    int parsed = PyArg_ParseTuple(tuple, format, data, flags);
    Py_DECREF(tuple);
    return parsed ? 0 : -1;
}

PyObject *socket_send(struct socket_object *socket, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer data;
    struct socket_call call = {.make = make_send, .events = POLLOUT};
    if (send_arguments(args, count, "y*|i:send", &data, &call.flags) < 0)
        return NULL;
    call.data = data.buf;
    call.len = (size_t)data.len;
    int64_t n = socket_call(socket, &call);
    PyBuffer_Release(&data);
    return n < 0 ? NULL : PyLong_FromLongLong(n);
}

/* The time-out is that of the whole. */
static int send_all(struct socket_object *socket, const Py_buffer *data, int flags)
{
    struct socket_call call = {.make = make_send, .events = POLLOUT, .flags = flags};
    call.data = data->buf;
    call.len = (size_t)data->len;
    do {
        int64_t n = socket_call(socket, &call);
        if (n < 0)
            return -1;
        call.data = (char *)call.data + n;
        call.len -= (size_t)n;
        /* A signal may have come while the kernel took a part, and is told by no EINTR. */
        if (call.len > 0 && PyErr_CheckSignals() < 0)
            return -1;
    } while (call.len > 0);
    return 0;
}

PyObject *socket_sendall(struct socket_object *socket, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer data;
    int flags = 0;
    if (send_arguments(args, count, "y*|i:sendall", &data, &flags) < 0)
        return NULL;
    int result = send_all(socket, &data, flags);
    PyBuffer_Release(&data);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *socket_sendto(struct socket_object *socket, PyObject *args)
{
    Py_buffer data;
    PyObject *object;
    struct address addr;
    struct socket_call call = {.make = make_sendto, .events = POLLOUT, .addr = &addr};
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    if (count != 2 && count != 3)
        return PyErr_Format(PyExc_TypeError, "sendto() takes 2 or 3 arguments (%zd given)", count);
    if (count == 2 ? !PyArg_ParseTuple(args, "y*O:sendto", &data, &object)
                   : !PyArg_ParseTuple(args, "y*iO:sendto", &data, &call.flags, &object))
        return NULL;
    int64_t n = -1;
    RECORDED(socket->state);
    if (address_from_object(&addr, socket->family, object, "sendto") == 0 &&
        PySys_Audit("socket.sendto", "OO", socket, object) == 0) {
        call.data = data.buf;
        call.len = (size_t)data.len;
        n = socket_call(socket, &call);
    }
    PyBuffer_Release(&data);
    return n < 0 ? NULL : PyLong_FromLongLong(n);
}

PyObject *socket_sendfile(struct socket_object *socket, PyObject *args)
{
    long long offset;
    Py_ssize_t len;
    struct socket_call call = {.make = make_sendfile, .events = POLLOUT, .blocks_anyway = true};
    if (!PyArg_ParseTuple(args, "iLn:_sendfile", &call.in_fd, &offset, &len))
        return NULL;
    if (len < 0) {
        PyErr_SetString(PyExc_ValueError, "count must not be negative");
        return NULL;
    }
    call.offset = (off_t)offset;
    call.len = (size_t)len;
    int64_t n = socket_call(socket, &call);
    return n < 0 ? NULL : PyLong_FromLongLong(n);
}
