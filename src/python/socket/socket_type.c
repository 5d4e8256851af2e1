#include "python/socket/socket_type.h"

#include <errno.h>
#include <stddef.h>
#include <structmember.h>

#include "python/exception.h"
#include "python/socket/socket_object.h"

int arguments_from_stack(PyObject **tuple, PyObject **keywords, PyObject *const *args,
                         Py_ssize_t count, PyObject *names)
{
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    *keywords = NULL;
    *tuple = PyTuple_New(count);
    if (!*tuple)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(*tuple, i, Py_NewRef(args[i]));
    if (named == 0)
        return 0;
    *keywords = PyDict_New();
    int failed = *keywords ? 0 : -1;
    for (Py_ssize_t i = 0; !failed && i < named; i++)
        failed = PyDict_SetItem(*keywords, PyTuple_GET_ITEM(names, i), args[count + i]);
    if (!failed)
        return 0;
    Py_CLEAR(*keywords);
    Py_CLEAR(*tuple);
    return -1;
}

static PyObject *socket_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    struct socket_object *socket = (struct socket_object *)type->tp_alloc(type, 0);
    if (!socket)
        return NULL;
    socket->state = state_of_type(type);
    socket->fd = -1;
    socket->timeout_ns = TIMEOUT_NONE;
    return (PyObject *)socket;
}

/* Close what the object has, whatever comes of it. */
static int socket_drop(struct socket_object *socket)
{
    int fd = socket->fd, result;
    if (fd < 0)
        return 0;
    socket->fd = -1;
    RECORDED(socket->state);
    Py_BEGIN_ALLOW_THREADS result = kernel_close(fd);
    Py_END_ALLOW_THREADS return result;
}

/* An int option of the descriptor, where the caller did not say it. */
static int socket_learn(int fd, int option, int *value)
{
    socklen_t len = sizeof(*value);
    int result = *value == -1 ? kernel_getsockopt(fd, SOL_SOCKET, option, value, &len) : 0;
    if (result == 0)
        return 0;
    socket_raise(result);
    return -1;
}

/* The descriptor that `object` says, which must be a socket's; family, type and protocol are asked
 * for where they are -1. Returns it, or -1 with an exception set. */
static int socket_adopt(PyObject *object, int *family, int *type, int *protocol)
{
    struct address addr = {.len = sizeof(addr.storage)};
    long fd = PyLong_AsLong(object);
    if (fd == -1 && PyErr_Occurred())
        return -1;
    if (fd < 0) {
        PyErr_SetString(PyExc_ValueError, "negative file descriptor");
        return -1;
    }
    int result = fd == (int)fd ? kernel_getsockname((int)fd, &addr.sa, &addr.len) : -EBADF;
    if (result < 0) {
        socket_raise(result);
        return -1;
    }
    if (*family == -1)
        *family = addr.sa.sa_family;
    if (socket_learn((int)fd, SO_TYPE, type) < 0 ||
        socket_learn((int)fd, SO_PROTOCOL, protocol) < 0)
        return -1;
    return (int)fd;
}

static int socket_make(int family, int type, int protocol)
{
    int fd = kernel_socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd >= 0)
        return fd;
    socket_raise(fd);
    return -1;
}

int socket_begin(struct socket_object *socket, int fd, int family, int type, int protocol)
{
    bool nonblocking = type & SOCK_NONBLOCK;
    int64_t timeout_ns = nonblocking ? 0 : socket->state->default_timeout_ns;
    socket->fd = fd;
    socket->family = family;
    socket->type = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    socket->protocol = protocol;
    socket->timeout_ns = timeout_ns;
    if (nonblocking || timeout_ns < 0)
        return 0;
    int result = kernel_set_nonblocking(fd, 1);
    if (result == 0)
        return 0;
    socket_drop(socket);
    socket_raise(result);
    return -1;
}

static int socket_init(struct socket_object *socket, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"family", "type", "proto", "fileno", NULL};
    int family = -1, type = -1, protocol = -1;
    PyObject *fileno = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|iiiO:socket", names, &family, &type,
                                     &protocol, &fileno))
        return -1;
    if (PySys_Audit("socket.__new__", "Oiii", socket, family, type, protocol) < 0)
        return -1;
    RECORDED(socket->state);
    if (fileno == Py_None) {
        family = family == -1 ? AF_INET : family;
        type = type == -1 ? SOCK_STREAM : type;
        protocol = protocol == -1 ? 0 : protocol;
    }
    int fd = fileno == Py_None ? socket_make(family, type, protocol)
                               : socket_adopt(fileno, &family, &type, &protocol);
    if (fd < 0)
        return -1;
    socket_drop(socket); /* of an __init__ before */
    return socket_begin(socket, fd, family, type, protocol);
}

static PyObject *socket_close(struct socket_object *socket, PyObject *unused)
{
    int result = socket_drop(socket);
    if (result < 0 && result != -ECONNRESET)
        return socket_raise(result);
    Py_RETURN_NONE;
}

static PyObject *socket_detach(struct socket_object *socket, PyObject *unused)
{
    int fd = socket->fd;
    socket->fd = -1;
    return PyLong_FromLong(fd);
}

static PyObject *socket_fileno(struct socket_object *socket, PyObject *unused)
{
    return PyLong_FromLong(socket->fd);
}

static PyObject *socket_apply_timeout(struct socket_object *socket, int64_t timeout_ns)
{
    RECORDED(socket->state);
    int result = kernel_set_nonblocking(socket->fd, timeout_ns >= 0);
    if (result < 0)
        return socket_raise(result);
    socket->timeout_ns = timeout_ns;
    Py_RETURN_NONE;
}

static PyObject *socket_settimeout(struct socket_object *socket, PyObject *object)
{
    int64_t timeout_ns;
    if (timeout_from_object(&timeout_ns, object) < 0)
        return NULL;
    return socket_apply_timeout(socket, timeout_ns);
}

static PyObject *socket_gettimeout(struct socket_object *socket, PyObject *unused)
{
    return timeout_as_object(socket->timeout_ns);
}

static PyObject *socket_setblocking(struct socket_object *socket, PyObject *object)
{
#if PY_VERSION_HEX >= 0x030C0000
    long block = PyObject_IsTrue(object);
#else
    long block = PyLong_AsLong(object); /* as that Python's own sockets take it */
#endif
    if (block == -1 && PyErr_Occurred())
        return NULL;
    return socket_apply_timeout(socket, block ? TIMEOUT_NONE : 0);
}

static PyObject *socket_getblocking(struct socket_object *socket, PyObject *unused)
{
    return PyBool_FromLong(socket->timeout_ns != 0);
}

static PyObject *socket_timeout(struct socket_object *socket, void *unused)
{
    return timeout_as_object(socket->timeout_ns);
}

static PyObject *socket_repr(struct socket_object *socket)
{
    return PyUnicode_FromFormat("<socket object, fd=%d, family=%d, type=%d, proto=%d>", socket->fd,
                                socket->family, socket->type, socket->protocol);
}

/* Dropped while it is open: ResourceWarning, then closed. */
static void socket_finalize(struct socket_object *socket)
{
    if (socket->fd < 0)
        return;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (PyErr_ResourceWarning((PyObject *)socket, 1, "unclosed %R", socket) < 0 &&
        PyErr_ExceptionMatches(PyExc_Warning))
        PyErr_WriteUnraisable((PyObject *)socket); /* warnings are errors here */
    socket_drop(socket);
    PyErr_Restore(type, value, traceback);
}

static void socket_dealloc(struct socket_object *socket)
{
    PyTypeObject *type = Py_TYPE(socket);
    if (PyObject_CallFinalizerFromDealloc((PyObject *)socket) < 0)
        return; /* somebody has it again */
    type->tp_free((PyObject *)socket);
    Py_DECREF(type);
}

#define METHOD(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef socket_methods[] = {
    {"_accept", METHOD(socket_accept), METH_O,
     "_accept($self, accepted, /)\n--\n\n"
     "Open `accepted` with a connection, close-on-exec, and return its peer: accept4(2)."},
    {"bind", METHOD(socket_bind), METH_O, "bind($self, address, /)\n--\n\nbind(2)."},
    {"close", METHOD(socket_close), METH_NOARGS, "close($self)\n--\n\nclose(2); again: nothing."},
    {"connect", METHOD(socket_connect), METH_O, "connect($self, address, /)\n--\n\nconnect(2)."},
    {"connect_ex", METHOD(socket_connect_ex), METH_O,
     "connect_ex($self, address, /)\n--\n\nconnect(2): 0, or the errno instead of an exception."},
    {"detach", METHOD(socket_detach), METH_NOARGS,
     "detach($self)\n--\n\nThe descriptor, which is the caller's from now on; -1 if there is "
     "none."},
    {"fileno", METHOD(socket_fileno), METH_NOARGS,
     "fileno($self)\n--\n\nThe descriptor; -1 when closed."},
    {"getpeername", METHOD(socket_getpeername), METH_NOARGS,
     "getpeername($self)\n--\n\ngetpeername(2)."},
    {"getsockname", METHOD(socket_getsockname), METH_NOARGS,
     "getsockname($self)\n--\n\ngetsockname(2)."},
    {"getsockopt", METHOD(socket_getsockopt), METH_VARARGS,
     "getsockopt($self, level, option, buflen=0, /)\n--\n\n"
     "getsockopt(2): an int; bytes of at most `buflen` (1 to 1024) when that is given."},
    {"setsockopt", METHOD(socket_setsockopt), METH_VARARGS,
     "setsockopt(level, option, value: int | bytes), setsockopt(level, option, None, optlen)\n\n"
     "setsockopt(2)."},
    {"listen", METHOD(socket_listen), METH_VARARGS,
     "listen($self, backlog=128, /)\n--\n\n"
     "listen(2). The kernel caps it at net.core.somaxconn; below 0 is 0."},
    {"recv", METHOD(socket_recv), METH_FASTCALL,
     "recv($self, bufsize, flags=0, /)\n--\n\nAt most `bufsize` bytes; b'' at the end: recv(2)."},
    {"recv_into", METHOD(socket_recv_into), METH_FASTCALL | METH_KEYWORDS,
     "recv_into($self, /, buffer, nbytes=0, flags=0)\n--\n\n"
     "Into `buffer`, at most `nbytes` (0: all of it); returns how many came: recv(2)."},
    {"recvfrom", METHOD(socket_recvfrom), METH_VARARGS,
     "recvfrom($self, bufsize, flags=0, /)\n--\n\n(bytes, the sender's address): recvfrom(2)."},
    {"recvfrom_into", METHOD(socket_recvfrom_into), METH_VARARGS | METH_KEYWORDS,
     "recvfrom_into($self, /, buffer, nbytes=0, flags=0)\n--\n\n"
     "(how many, the sender's address): recvfrom(2)."},
    {"send", METHOD(socket_send), METH_FASTCALL,
     "send($self, data, flags=0, /)\n--\n\nHow many bytes the kernel took: send(2)."},
    {"sendall", METHOD(socket_sendall), METH_FASTCALL,
     "sendall($self, data, flags=0, /)\n--\n\n"
     "All of `data`. The time-out is that of the whole; after an exception nobody knows how much."},
    {"sendto", METHOD(socket_sendto), METH_VARARGS,
     "sendto(data, address), sendto(data, flags, address)\n\n"
     "How many bytes the kernel took: sendto(2)."},
    {"sendmsg", METHOD(socket_sendmsg), METH_VARARGS,
     "sendmsg($self, buffers, ancdata=(), flags=0, address=None, /)\n--\n\n"
     "How many bytes of the parts the kernel took: sendmsg(2). `ancdata`: (level, type, data) "
     "each,\n"
     "cmsg(3)."},
    {"recvmsg", METHOD(socket_recvmsg), METH_VARARGS,
     "recvmsg($self, bufsize, ancbufsize=0, flags=0, /)\n--\n\n"
     "(data, [(level, type, data), ...], flags, the sender's address): recvmsg(2), cmsg(3)."},
    {"recvmsg_into", METHOD(socket_recvmsg_into), METH_VARARGS,
     "recvmsg_into($self, buffers, ancbufsize=0, flags=0, /)\n--\n\n"
     "The same into an iterable of buffers, and how many bytes in the place of data."},
    {"_sendfile", METHOD(socket_sendfile), METH_VARARGS,
     "_sendfile($self, in_fd, offset, count, /)\n--\n\n"
     "How many bytes of the file the kernel took, 0 at its end: sendfile(2)."},
    {"setblocking", METHOD(socket_setblocking), METH_O,
     "setblocking($self, flag, /)\n--\n\nTrue: settimeout(None). False: settimeout(0)."},
    {"getblocking", METHOD(socket_getblocking), METH_NOARGS,
     "getblocking($self)\n--\n\nFalse when the time-out is 0."},
    {"settimeout", METHOD(socket_settimeout), METH_O,
     "settimeout($self, timeout, /)\n--\n\n"
     "Seconds (int or float) that a call waits before TimeoutError; None: for ever; 0: not at "
     "all."},
    {"gettimeout", METHOD(socket_gettimeout), METH_NOARGS,
     "gettimeout($self)\n--\n\nSeconds, or None."},
    {"shutdown", METHOD(socket_shutdown), METH_O,
     "shutdown($self, how, /)\n--\n\nSHUT_RD, SHUT_WR or SHUT_RDWR: shutdown(2)."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef socket_members[] = {
    {"family", T_INT, offsetof(struct socket_object, family), READONLY, "the socket family"},
    {"type", T_INT, offsetof(struct socket_object, type), READONLY, "the socket type"},
    {"proto", T_INT, offsetof(struct socket_object, protocol), READONLY, "the socket protocol"},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef socket_getters[] = {
    {"timeout", (getter)socket_timeout, NULL, "the socket timeout", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot socket_slots[] = {
    {Py_tp_doc, "Socket(family=-1, type=-1, proto=-1, fileno=None)\n--\n\n"
                "A socket: socket(2), or the descriptor `fileno`. Close-on-exec."},
    {Py_tp_new, socket_new},
    {Py_tp_init, socket_init},
    {Py_tp_dealloc, socket_dealloc},
    {Py_tp_finalize, socket_finalize},
    {Py_tp_repr, socket_repr},
    {Py_tp_methods, socket_methods},
    {Py_tp_members, socket_members},
    {Py_tp_getset, socket_getters},
    {0, NULL},
};

static PyType_Spec socket_spec = {
    .name = "zolal._zolal.Socket",
    .basicsize = sizeof(struct socket_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = socket_slots,
};

int socket_type_add(PyObject *module)
{
    struct module_state *state = state_of_module(module);
    state->socket_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &socket_spec, NULL);
    return state->socket_type ? PyModule_AddType(module, state->socket_type) : -1;
}
