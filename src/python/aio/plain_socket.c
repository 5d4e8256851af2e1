#include "python/aio/plain_socket.h"

#include <errno.h>
#include <stddef.h>
#include <structmember.h>

#include "python/socket/socket_object.h"

bool plain_socket_is(const struct aio_state *aio, PyObject *socket)
{
    PyObject *class = (PyObject *)Py_TYPE(socket);
    return class == aio->socket_class || class == aio->zolal_socket_class;
}

/* How an object of _socket.socket begins. */
struct standard_socket {
    PyObject_HEAD int fd;
    int family;
    int type;
    int protocol;
};

static bool member_is_at(PyObject *descriptor, size_t offset)
{
    return Py_IS_TYPE(descriptor, &PyMemberDescr_Type) &&
           (size_t)((PyMemberDescrObject *)descriptor)->d_member->offset == offset;
}

bool plain_sockets_are_known(const struct aio_state *aio)
{
    return member_is_at(aio->socket_family, offsetof(struct standard_socket, family)) &&
           member_is_at(aio->socket_type, offsetof(struct standard_socket, type)) &&
           member_is_at(aio->socket_protocol, offsetof(struct standard_socket, protocol));
}

int plain_socket_fd(const struct module_state *state, PyObject *socket)
{
    int fd;
    if (Py_IS_TYPE(socket, (PyTypeObject *)state->aio.zolal_socket_class)) {
        fd = ((struct socket_object *)socket)->fd;
    } else if (state->aio.has_fd) {
        fd = ((struct standard_socket *)socket)->fd;
    } else {
        PyObject *number = PyObject_CallMethodNoArgs(socket, state->strings[STRING_FILENO]);
        fd = number ? (int)PyLong_AsLong(number) : -1;
        Py_XDECREF(number);
    }
    if (fd < 0 && !PyErr_Occurred())
        socket_raise(-EBADF);
    return fd;
}

int plain_socket_check(PyObject *socket)
{
    PyObject *timeout = PyObject_CallMethod(socket, "gettimeout", NULL);
    int blocks = timeout ? timeout == Py_None || PyObject_IsTrue(timeout) : -1;
    Py_XDECREF(timeout);
    if (blocks > 0)
        PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
    return blocks == 0 ? 0 : -1;
}
