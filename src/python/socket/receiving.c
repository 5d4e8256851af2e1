#include "python/socket/socket_object.h"

/* Up to so much is received on the stack and copied: cheaper than a large object that is cut to a
 * small one, and small enough for any thread's stack. */
enum { ON_STACK = 8192 };

static int64_t make_recv(int fd, struct socket_call *call)
{
    return kernel_recv(fd, call->data, call->len, call->flags);
}

static int64_t make_recvfrom(int fd, struct socket_call *call)
{
    call->addr->len = sizeof(call->addr->storage);
    return kernel_recvfrom(fd, call->data, call->len, call->flags, &call->addr->sa,
                           &call->addr->len);
}

/* Bytes of what `call` receives, at most call->len; NULL with an exception set. */
static PyObject *receive_small(struct socket_object *socket, struct socket_call *call)
{
    char data[ON_STACK];
    call->data = data;
    int64_t n = socket_call(socket, call);
    return n < 0 ? NULL : PyBytes_FromStringAndSize(data, (Py_ssize_t)n);
}

static PyObject *receive_large(struct socket_object *socket, struct socket_call *call)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)call->len);
    if (!bytes)
        return NULL;
    call->data = PyBytes_AS_STRING(bytes);
    int64_t n = socket_call(socket, call);
    if (n < 0)
        Py_CLEAR(bytes);
    else if ((size_t)n < call->len)
        _PyBytes_Resize(&bytes, (Py_ssize_t)n);
    return bytes;
}

static PyObject *receive(struct socket_object *socket, struct socket_call *call)
{
    return call->len <= ON_STACK ? receive_small(socket, call) : receive_large(socket, call);
}

/* recv's arguments where they are not one int. */
static int recv_arguments(PyObject *const *args, Py_ssize_t count, Py_ssize_t *len, int *flags)
{
    PyObject *tuple, *keywords;
    if (arguments_from_stack(&tuple, &keywords, args, count, NULL) < 0)
        return -1;
    int parsed = PyArg_ParseTuple(tuple, "n|i:recv", len, flags);
    Py_DECREF(tuple);
    return parsed ? 0 : -1;
}

PyObject *socket_recv(struct socket_object *socket, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t len;
    struct socket_call call = {.make = make_recv, .events = POLLIN};
    if (count == 1 && PyLong_CheckExact(args[0])) {
        len = PyLong_AsSsize_t(args[0]);
        if (len == -1 && PyErr_Occurred())
            return NULL;
    } else if (recv_arguments(args, count, &len, &call.flags) < 0) {
        return NULL;
    }
    if (len < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return NULL;
    }
    if (len == 0)
        return PyBytes_FromStringAndSize(NULL, 0);
    call.len = (size_t)len;
    return receive(socket, &call);
}

/* How much of the buffer: all of it for 0. -1 with an exception set. */
static Py_ssize_t buffer_part(const Py_buffer *buffer, Py_ssize_t len, const char *negative,
                              const char *too_large)
{
    if (len >= 0 && len <= buffer->len)
        return len > 0 ? len : buffer->len;
    PyErr_SetString(PyExc_ValueError, len < 0 ? negative : too_large);
    return -1;
}

/* recv_into's arguments, in whatever form. */
static int recv_into_arguments(PyObject *const *args, Py_ssize_t count, PyObject *names,
                               Py_buffer *buffer, Py_ssize_t *len, int *flags)
{
    static char *keyword_names[] = {"buffer", "nbytes", "flags", NULL};
    PyObject *tuple, *keywords;
    if (arguments_from_stack(&tuple, &keywords, args, count, names) < 0)
        return -1;
    int parsed = PyArg_ParseTupleAndKeywords(tuple, keywords, "w*|ni:recv_into", keyword_names,
                                             buffer, len, flags);
    Py_XDECREF(keywords);
    Py_DECREF(tuple);
    return parsed ? 0 : -1;
}

PyObject *socket_recv_into(struct socket_object *socket, PyObject *const *args, Py_ssize_t count,
                           PyObject *names)
{
    Py_buffer buffer;
    Py_ssize_t len = 0;
    struct socket_call call = {.make = make_recv, .events = POLLIN};
    if (recv_into_arguments(args, count, names, &buffer, &len, &call.flags) < 0)
        return NULL;
    len = buffer_part(&buffer, len, "negative buffersize in recv_into",
                      "buffer too small for requested bytes");
    int64_t n = -1;
    if (len >= 0) {
        call.data = buffer.buf;
        call.len = (size_t)len;
        n = len > 0 ? socket_call(socket, &call) : 0;
    }
    PyBuffer_Release(&buffer);
    return n < 0 ? NULL : PyLong_FromLongLong(n);
}

PyObject *socket_recvfrom(struct socket_object *socket, PyObject *args)
{
    Py_ssize_t len;
    struct address addr = {0};
    struct socket_call call = {.make = make_recvfrom, .events = POLLIN, .addr = &addr};
    if (!PyArg_ParseTuple(args, "n|i:recvfrom", &len, &call.flags))
        return NULL;
    if (len < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recvfrom");
        return NULL;
    }
    call.len = (size_t)len;
    PyObject *bytes = receive(socket, &call);
    PyObject *peer = bytes ? address_as_object(&addr) : NULL;
    PyObject *result = peer ? PyTuple_Pack(2, bytes, peer) : NULL;
    Py_XDECREF(peer);
    Py_XDECREF(bytes);
    return result;
}

PyObject *socket_recvfrom_into(struct socket_object *socket, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"buffer", "nbytes", "flags", NULL};
    Py_buffer buffer;
    Py_ssize_t len = 0;
    struct address addr = {0};
    struct socket_call call = {.make = make_recvfrom, .events = POLLIN, .addr = &addr};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "w*|ni:recvfrom_into", names, &buffer, &len,
                                     &call.flags))
        return NULL;
    len = buffer_part(&buffer, len, "negative buffersize in recvfrom_into",
                      "nbytes is greater than the length of the buffer");
    int64_t n = -1;
    if (len >= 0) {
        call.data = buffer.buf;
        call.len = (size_t)len;
        n = socket_call(socket, &call);
    }
    PyBuffer_Release(&buffer);
    if (n < 0)
        return NULL;
    PyObject *peer = address_as_object(&addr);
    return peer ? Py_BuildValue("LN", (long long)n, peer) : NULL;
}
