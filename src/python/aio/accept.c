#include "python/aio/accept.h"

#include <errno.h>

#include "python/aio/plain_socket.h"
#include "python/aio/slots.h"
#include "python/aio/stream_life.h"
#include "python/exception.h"
#include "python/socket/socket_object.h"

/* Arguments of _accept_connection(), by their places. */
enum { ARG_FACTORY, ARG_SOCK, ARG_CONTEXT, ARG_SERVER, ARG_BACKLOG, ARGS_LEAST };

/* `args`: what _accept_connection() was called with. */
struct acceptance {
    struct loop_object *loop;
    PyObject *const *args;
    Py_ssize_t count;
    struct socket_kind kind; /* of the listening socket, and of what it gives */
};

/* loop.method(first, *args from `from` on). NULL with an exception set. */
static PyObject *call_hook(const struct acceptance *accept, enum state_string method,
                           PyObject *first, PyObject *second, Py_ssize_t from)
{
    enum { ARGS_MOST = 16 };
    PyObject *stack[ARGS_MOST + 3] = {(PyObject *)accept->loop, first};
    size_t count = 2;
    if (second)
        stack[count++] = second;
    for (Py_ssize_t i = from; i < accept->count && i < ARGS_MOST; i++)
        stack[count++] = accept->args[i];
    return PyObject_VectorcallMethod(accept->loop->state->strings[method], stack, count, NULL);
}

/* A connection whose protocol or transport could not be made: asyncio says so in debug mode alone.
 * Returns 0, or -1 with SystemExit or KeyboardInterrupt set. */
static int connection_failed(const struct acceptance *accept, PyObject *protocol)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit))
        return -1;
    PyObject *failure = exception_fetch();
    PyObject *done = Py_None;
    if (accept->loop->is_debug)
        done = call_hook(accept, STRING_ACCEPT_FAILED, failure, protocol ? protocol : Py_None,
                         accept->count);
    if (done != Py_None)
        Py_XDECREF(done);
    Py_XDECREF(failure);
    return done ? 0 : -1;
}

/* Without TLS. Owns the descriptor, unless there is a socket object. Returns 0 or -1. */
static int connection_begin(const struct acceptance *accept, const struct stream_accepted *accepted)
{
    PyObject *context = PyContext_CopyCurrent();
    bool is_inside = context && PyContext_Enter(context) == 0;
    PyObject *protocol = is_inside ? PyObject_CallNoArgs(accept->args[ARG_FACTORY]) : NULL;
    PyObject *transport = NULL;
    if (protocol)
        transport = stream_accept(accept->loop, accepted, protocol, accept->args[ARG_SERVER]);
    else if (!accepted->sock)
        kernel_close(accepted->fd);
    int result = transport ? 0 : connection_failed(accept, protocol);
    Py_XDECREF(transport);
    Py_XDECREF(protocol);
    if (is_inside && PyContext_Exit(context) < 0)
        result = -1;
    Py_XDECREF(context);
    return result;
}

/* With TLS it takes a handshake, which asyncio's own coroutine does. Debug mode says what came. */
static int connection_show(const struct acceptance *accept, const struct stream_accepted *accepted)
{
    PyObject *peer = address_as_object(accepted->peer);
    PyObject *done = peer && accept->loop->is_debug
                         ? call_hook(accept, STRING_ACCEPTED, accepted->sock, peer, ARG_SERVER)
                         : Py_XNewRef(peer);
    if (done && accept->args[ARG_CONTEXT] != Py_None)
        Py_SETREF(done, call_hook(accept, STRING_ACCEPTED_SECURE, accepted->sock, peer, 0));
    Py_XDECREF(done);
    Py_XDECREF(peer);
    return done ? 0 : -1;
}

static int connection_accepted(const struct acceptance *accept, int fd, const struct address *peer)
{
    bool is_secure = accept->args[ARG_CONTEXT] != Py_None;
    struct stream_accepted accepted = {.fd = fd, .kind = accept->kind, .peer = peer};
    if (is_secure || accept->loop->is_debug) {
        accepted.sock = socket_of_kind(accept->loop->state, &accept->kind, fd);
        if (!accepted.sock) {
            kernel_close(fd);
            return -1;
        }
        int shown = connection_show(accept, &accepted);
        if (shown < 0 || is_secure) {
            Py_DECREF(accepted.sock);
            return shown;
        }
    }
    int result = connection_begin(accept, &accepted);
    Py_XDECREF(accepted.sock);
    return result;
}

/* accept(2) has failed. Returns 0 where that is seen to, or is no failure; else -1. */
static int accept_failed(const struct acceptance *accept, int result)
{
    if (result == -EAGAIN || result == -EINTR || result == -ECONNABORTED)
        return 0;
    socket_raise(result);
    if (result != -EMFILE && result != -ENFILE && result != -ENOBUFS && result != -ENOMEM)
        return -1;
    PyObject *failure = exception_fetch();
    PyObject *done = failure ? call_hook(accept, STRING_ACCEPT_LATER, failure, NULL, 0) : NULL;
    Py_XDECREF(done);
    Py_XDECREF(failure);
    return done ? 0 : -1;
}

/* One, and all where there was one at the look before: accept(2) of an empty queue is dear, as the
 * kernel makes a socket first. */
static long accept_most(const struct loop_object *loop, const struct slot *slot, long backlog)
{
    return slot->accepted_in + 1 == loop->looks && backlog > 0 ? backlog : 1;
}

/* Take connections from the queue; if some are left, epoll(7) says so again. Returns 0 or -1. */
static int accept_some(const struct acceptance *accept, int listener, long backlog)
{
    struct slot *slot = slot_get(accept->loop, listener);
    if (!slot)
        return -1;
    long most = accept_most(accept->loop, slot, backlog);
    slot->accepted_in = accept->loop->looks;
    for (long i = 0; i < most; i++) {
        struct address peer = {.len = sizeof(peer.storage)};
        int fd = kernel_accept4(listener, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return accept_failed(accept, fd);
        if (connection_accepted(accept, fd, &peer) < 0)
            return -1;
    }
    return 0;
}

/* Is it a call of asyncio's own for a socket of which we know what its accept() gives? */
static bool is_usual(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                     PyObject *names)
{
    const struct aio_state *aio = &loop->state->aio;
    return !names && count >= ARGS_LEAST && aio->transport_class &&
           plain_socket_is(aio, args[ARG_SOCK]);
}

PyObject *loop_accept_connection(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                                 PyObject *names)
{
    struct acceptance accept = {.loop = loop, .args = args, .count = count};
    bool usual = is_usual(loop, args, count, names);
    if (usual && socket_kind_of(loop->state, args[ARG_SOCK], &accept.kind) < 0)
        return NULL;
    sa_family_t family = accept.kind.family;
    if (!usual || (family != AF_INET && family != AF_INET6 && family != AF_UNIX)) {
        PyObject *stack[ARGS_LEAST + 12] = {(PyObject *)loop};
        Py_ssize_t all = count + (names ? PyTuple_GET_SIZE(names) : 0);
        if (all > ARGS_LEAST + 10)
            return PyErr_Format(PyExc_TypeError, "_accept_connection() takes fewer arguments");
        memcpy(stack + 1, args, (size_t)all * sizeof(*args));
        return PyObject_Vectorcall(loop->state->aio.base_accept_connection, stack,
                                   (size_t)count + 1, names);
    }
    int fd = plain_socket_fd(loop->state, args[ARG_SOCK]);
    long backlog = PyLong_AsLong(args[ARG_BACKLOG]);
    if (fd < 0 || (backlog == -1 && PyErr_Occurred()))
        return NULL;
    RECORDED(loop->state);
    if (accept_some(&accept, fd, backlog) < 0)
        return NULL;
    Py_RETURN_NONE;
}
