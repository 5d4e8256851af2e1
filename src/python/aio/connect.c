#include "python/aio/connect.h"

#include "python/aio/plain_socket.h"
#include "python/aio/slots.h"
#include "python/socket/socket_object.h"

PyObject *loop_connect(struct loop_object *loop, PyObject *const *args, Py_ssize_t count)
{
    struct module_state *state = loop->state;
    struct address addr;
    int result;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "_connect() takes a socket and an address");
    RECORDED(state);
    long family = socket_number(state, args[0], state->aio.socket_family, "family");
    if ((family < 0 && PyErr_Occurred()) ||
        address_from_object(&addr, (int)family, args[1], "connect") < 0 ||
        PySys_Audit("socket.connect", "OO", args[0], args[1]) < 0)
        return NULL;
    int fd = plain_socket_fd(state, args[0]);
    if (fd < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS result = kernel_connect(fd, &addr.sa, addr.len);
    Py_END_ALLOW_THREADS if (result < 0) return socket_raise(result);
    Py_RETURN_NONE;
}

PyObject *loop_connect_error(struct loop_object *loop, PyObject *socket)
{
    int code = 0;
    socklen_t len = sizeof(code);
    RECORDED(loop->state);
    int fd = plain_socket_fd(loop->state, socket);
    if (fd < 0)
        return NULL;
    int result = kernel_getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len);
    return result < 0 ? socket_raise(result) : PyLong_FromLong(code);
}
