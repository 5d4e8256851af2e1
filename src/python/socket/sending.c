#include "python/socket/socket_object.h"

#include <limits.h>
#include <string.h>

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

static int64_t make_sendmsg(int fd, struct socket_call *call)
{
    return kernel_sendmsg_message(fd, call->message, call->flags | MSG_NOSIGNAL);
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
    recording_join(socket->state);
    if (address_from_object(&addr, socket, object, "sendto") == 0 &&
        PySys_Audit("socket.sendto", "OO", socket, object) == 0) {
        call.data = data.buf;
        call.len = (size_t)data.len;
        n = socket_call(socket, &call);
    }
    PyBuffer_Release(&data);
    return n < 0 ? NULL : PyLong_FromLongLong(n);
}

/* The buffers of an iterable, held; `parts` points into them. */
struct send_parts {
    PyObject *sequence;
    Py_buffer *buffers;
    struct iovec *parts;
    Py_ssize_t held;
    size_t len;
};

static void send_parts_release(struct send_parts *parts)
{
    for (Py_ssize_t i = 0; i < parts->held; i++)
        PyBuffer_Release(&parts->buffers[i]);
    PyMem_Free(parts->buffers);
    PyMem_Free(parts->parts);
    Py_XDECREF(parts->sequence);
}

static int send_parts_init(struct send_parts *parts, PyObject *iterable)
{
    *parts = (struct send_parts){0};
    parts->sequence = PySequence_Fast(iterable, "sendmsg() argument 1 must be iterable");
    if (!parts->sequence)
        return -1;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(parts->sequence);
    if (count > INT_MAX) {
        PyErr_SetString(PyExc_OSError, "sendmsg() argument 1 is too long");
        return -1;
    }
    parts->buffers = PyMem_New(Py_buffer, (size_t)count);
    parts->parts = PyMem_New(struct iovec, (size_t)count);
    if (!parts->buffers || !parts->parts) {
        PyErr_NoMemory();
        return -1;
    }
    for (; parts->held < count; parts->held++) {
        Py_buffer *buffer = &parts->buffers[parts->held];
        if (!PyArg_Parse(PySequence_Fast_GET_ITEM(parts->sequence, parts->held),
                         "y*;sendmsg() argument 1 must be an iterable of bytes-like objects",
                         buffer))
            return -1;
        parts->parts[parts->held] =
            (struct iovec){.iov_base = buffer->buf, .iov_len = (size_t)buffer->len};
        parts->len += (size_t)buffer->len;
    }
    return 0;
}

static int64_t send_message(struct socket_object *socket, struct send_parts *parts, int flags,
                            struct address *addr)
{
    struct msghdr message = {.msg_iov = parts->parts, .msg_iovlen = (size_t)parts->held};
    struct socket_call call = {.make = make_sendmsg,
                               .events = POLLOUT,
                               .flags = flags,
                               .len = parts->len,
                               .message = &message};
    if (addr) {
        message.msg_name = &addr->storage;
        message.msg_namelen = addr->len;
    }
    return socket_call(socket, &call);
}

PyObject *socket_sendmsg(struct socket_object *socket, PyObject *args)
{
    PyObject *iterable, *ancillary = NULL, *object = Py_None;
    int flags = 0;
    struct address addr;
    struct send_parts parts;
    if (!PyArg_ParseTuple(args, "O|OiO:sendmsg", &iterable, &ancillary, &flags, &object))
        return NULL;
    recording_join(socket->state);
    if (object != Py_None && address_from_object(&addr, socket, object, "sendmsg") < 0)
        return NULL;
    if (PySys_Audit("socket.sendmsg", "OO", socket, object) < 0)
        return NULL;
    int64_t n = -1;
    if (send_parts_init(&parts, iterable) == 0)
        n = send_message(socket, &parts, flags, object == Py_None ? NULL : &addr);
    send_parts_release(&parts);
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
