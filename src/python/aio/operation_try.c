/* The kernel calls of the socket operations. */
#include <errno.h>

#include "python/aio/operation.h"
#include "python/aio/slots.h"
#include "python/exception.h"
#include "python/socket/socket_object.h"

/* What is to be said of a call that failed: nothing where it would have had to wait, and where a
 * signal came, which the next try sees. */
static PyObject *raise_unless_waiting(int64_t result)
{
    if (result != -EAGAIN && result != -EINTR)
        socket_raise(result);
    return NULL;
}

/* `n` of `len` bytes came. Less says that there are no more now, but only of a stream which is
 * watched edge-triggered and whose end has not come: there the next event is sure. */
static void note_short_read(struct operation *operation, int fd, int64_t n, size_t len)
{
    if (n <= 0 || (size_t)n >= len)
        return;
    struct slot *slot = slot_of_socket(operation->loop, fd, operation->socket);
    if (slot && slot->is_tcp && !slot->is_ended && slot->registered & EPOLLET)
        slot->is_drained = true;
}

static int64_t receive(struct operation *operation, int fd, void *data, size_t len)
{
    int64_t n = kernel_recv(fd, data, len, MSG_DONTWAIT);
    note_short_read(operation, fd, n, len);
    return n;
}

/* More than the scratch holds. */
static PyObject *try_recv_large(struct operation *operation, int fd, Py_ssize_t len)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, len);
    if (!bytes)
        return NULL;
    int64_t n = receive(operation, fd, PyBytes_AS_STRING(bytes), (size_t)len);
    if (n < 0) {
        Py_DECREF(bytes);
        return raise_unless_waiting(n);
    }
    if (n < len)
        _PyBytes_Resize(&bytes, (Py_ssize_t)n);
    return bytes;
}

static PyObject *try_recv(struct operation *operation, int fd)
{
    Py_ssize_t len = PyNumber_AsSsize_t(operation->argument, PyExc_OverflowError);
    if (len < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return NULL;
    }
    if (len == 0)
        return PyBytes_FromStringAndSize(NULL, 0);
    if (len > LOOP_SCRATCH)
        return try_recv_large(operation, fd, len);
    char *scratch = loop_scratch(operation->loop);
    if (!scratch)
        return NULL;
    int64_t n = receive(operation, fd, scratch, (size_t)len);
    return n < 0 ? raise_unless_waiting(n) : PyBytes_FromStringAndSize(scratch, (Py_ssize_t)n);
}

static PyObject *try_recv_into(struct operation *operation, int fd)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(operation->argument, &buffer, PyBUF_WRITABLE) < 0) {
        if (PyErr_ExceptionMatches(PyExc_BufferError))
            PyErr_Format(PyExc_TypeError, "sock_recv_into() takes a writable buffer, not %.200s",
                         Py_TYPE(operation->argument)->tp_name);
        return NULL;
    }
    int64_t n = buffer.len > 0 ? receive(operation, fd, buffer.buf, (size_t)buffer.len) : 0;
    PyBuffer_Release(&buffer);
    return n < 0 ? raise_unless_waiting(n) : PyLong_FromLongLong(n);
}

static PyObject *try_sendall(struct operation *operation, int fd)
{
    Py_buffer *view = &operation->view;
    operation->loop->is_seen = false;
    if (!view->obj && PyObject_GetBuffer(operation->argument, view, PyBUF_SIMPLE) < 0)
        return NULL;
    do {
        int64_t n = kernel_send(fd, (const char *)view->buf + operation->sent,
                                (size_t)(view->len - operation->sent), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return raise_unless_waiting(n);
        operation->sent += (Py_ssize_t)n;
    } while (operation->sent < view->len);
    Py_RETURN_NONE;
}

/* What the listening socket says of itself, for the new one. */
static PyObject *socket_attribute(struct operation *operation, PyObject *descriptor,
                                  const char *name)
{
    PyObject *socket = operation->socket;
    if (PyObject_TypeCheck(socket, operation->loop->state->socket_type))
        return PyObject_GetAttrString(socket, name);
    return Py_TYPE(descriptor)->tp_descr_get(descriptor, socket, NULL);
}

/* A socket of the listener's class for `fd`, non-blocking: SOCK_NONBLOCK in its type says so
 * without another call. NULL with an exception set, and `fd` closed. */
static PyObject *accepted_socket(struct operation *operation, int fd)
{
    const struct aio_state *aio = &operation->loop->state->aio;
    PyObject *family = socket_attribute(operation, aio->socket_family, "family");
    PyObject *type = socket_attribute(operation, aio->socket_type, "type");
    PyObject *protocol = socket_attribute(operation, aio->socket_protocol, "proto");
    PyObject *socket = NULL;
    if (family && type && protocol)
        socket = PyObject_CallFunction((PyObject *)Py_TYPE(operation->socket), "OlOi", family,
                                       PyLong_AsLong(type) | SOCK_NONBLOCK, protocol, fd);
    Py_XDECREF(protocol);
    Py_XDECREF(type);
    Py_XDECREF(family);
    if (!socket)
        kernel_close(fd);
    return socket;
}

static PyObject *try_accept(struct operation *operation, int fd)
{
    struct address addr = {.len = sizeof(addr.storage)};
    int accepted;
    /* The listening socket may be a blocking one. */
    Py_BEGIN_ALLOW_THREADS accepted =
        kernel_accept4(fd, &addr.sa, &addr.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    Py_END_ALLOW_THREADS if (accepted < 0) return raise_unless_waiting(accepted);
    PyObject *socket = accepted_socket(operation, accepted);
    PyObject *peer = socket ? address_as_object(&addr) : NULL;
    PyObject *pair = peer ? PyTuple_Pack(2, socket, peer) : NULL;
    Py_XDECREF(peer);
    Py_XDECREF(socket);
    return pair;
}

PyObject *operation_try(struct operation *operation, int fd)
{
    switch (operation->kind) {
    case OPERATION_RECV:
        return try_recv(operation, fd);
    case OPERATION_RECV_INTO:
        return try_recv_into(operation, fd);
    case OPERATION_SENDALL:
        return try_sendall(operation, fd);
    case OPERATION_ACCEPT:
        return try_accept(operation, fd);
    }
    return NULL;
}
