/* _zolal.Socket: a socket of socket/kernel.h as a Python object, with the names, arguments,
 * exceptions and time-outs of CPython's `_socket.socket`. zolal/socket.py makes `zolal.socket` of
 * it. This header is the inside of python/socket/; others include socket_type.h.
 *
 * Every function here is called with the GIL. One that may block releases it around the kernel call
 * alone; while it is released another thread may close the socket, so `fd` is read anew for each
 * call. Every method says RECORDED before its kernel calls. */
#ifndef ZOLAL_PYTHON_SOCKET_SOCKET_OBJECT_H
#define ZOLAL_PYTHON_SOCKET_SOCKET_OBJECT_H

#include "python/recording.h"
#include "python/socket/addresses.h"
#include "python/state.h"
#include "socket/kernel.h"

/* -1 in `timeout_ns`: no time-out, the kernel's calls block. 0: non-blocking. Else nanoseconds, and
 * O_NONBLOCK is set. */
#define TIMEOUT_NONE (-1)

struct socket_object {
    PyObject_HEAD struct module_state *state;
    int fd; /* -1: not made yet, closed or detached */
    int family;
    int type; /* without SOCK_NONBLOCK and SOCK_CLOEXEC */
    int protocol;
    int64_t timeout_ns;
};

/* A kernel call that is made again after a signal and, with a time-out, once the socket is ready.
 * `make` makes it on `fd` and returns its result or -errno; the members below are its arguments,
 * for it to read and write. */
struct socket_call {
    int64_t (*make)(int fd, struct socket_call *call);
    short events;         /* what it waits for: POLLIN or POLLOUT */
    bool blocks_anyway;   /* it has no flags: release the GIL even when non-blocking */
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: it has not begun to wait */
    int flags;
    void *data;
    size_t len;
    struct address *addr;
    struct msghdr *message;
    int in_fd; /* kernel_sendfile's */
    off_t offset;
};

/* Open `socket` with a descriptor that it owns from now on, and the module's default time-out (none
 * of a `type` with SOCK_NONBLOCK). Returns 0; -1 with an exception set and the descriptor closed.
 */
int socket_begin(struct socket_object *socket, int fd, int family, int type, int protocol);

/* Make it. Returns its result, >= 0; -1 with an exception set: OSError of the errno, TimeoutError,
 * or whatever a signal handler raised. The call's flags get MSG_DONTWAIT when the socket is not a
 * blocking one. Calls that share a deadline share `call`. */
int64_t socket_call(struct socket_object *socket, struct socket_call *call);

/* Wait until the socket is ready for `events` or the deadline (0: none) is over: poll(2). Returns 1
 * (also when it is closed: the call that follows says so), 0: the time is over, -1: a signal
 * handler raised or poll failed. */
int socket_wait(struct socket_object *socket, short events, uint64_t deadline_ns);

/* When a wait that begins now with the socket's time-out is over; 0: never. */
uint64_t socket_deadline(int64_t timeout_ns);

/* Raise OSError (the subclass of the errno) for -errno; TimeoutError("timed out"). Both return
 * NULL. */
PyObject *socket_raise(int64_t result);
PyObject *socket_raise_timeout(void);

/* None, or seconds as int or float, as settimeout() takes them: TIMEOUT_NONE or nanoseconds,
 * rounded up. Returns 0, or -1 with TypeError, ValueError (negative, NaN) or OverflowError set. */
int timeout_from_object(int64_t *timeout_ns, PyObject *object);

/* The other way: None or float. */
PyObject *timeout_as_object(int64_t timeout_ns);

/* The address that `object` says, for a socket of this family. `caller`: the method's name, for the
 * exception's text. A host's name is looked up, without the GIL. Returns 0, or -1 with an exception
 * set: TypeError, OverflowError (a port beyond 65535), OSError, socket.gaierror. */
int address_from_object(struct address *addr, int family, PyObject *object, const char *caller);

/* The arguments of a METH_FASTCALL method as PyArg_ParseTupleAndKeywords takes them; what it says
 * of wrong ones is what CPython says. `*keywords` is NULL without `names`. Both are owned by the
 * caller. Returns 0, or -1 with an exception set. */
int arguments_from_stack(PyObject **tuple, PyObject **keywords, PyObject *const *args,
                         Py_ssize_t count, PyObject *names);

/* Methods, by what they do; the docstrings in socket_type.c are their manual. */
PyObject *socket_bind(struct socket_object *socket, PyObject *addr);
PyObject *socket_connect(struct socket_object *socket, PyObject *addr);
PyObject *socket_connect_ex(struct socket_object *socket, PyObject *addr);
PyObject *socket_listen(struct socket_object *socket, PyObject *args);
PyObject *socket_accept(struct socket_object *socket, PyObject *accepted);
PyObject *socket_shutdown(struct socket_object *socket, PyObject *how);
PyObject *socket_getsockname(struct socket_object *socket, PyObject *unused);
PyObject *socket_getpeername(struct socket_object *socket, PyObject *unused);
PyObject *socket_getsockopt(struct socket_object *socket, PyObject *args);
PyObject *socket_setsockopt(struct socket_object *socket, PyObject *args);
PyObject *socket_recv(struct socket_object *socket, PyObject *const *args, Py_ssize_t count);
PyObject *socket_recv_into(struct socket_object *socket, PyObject *const *args, Py_ssize_t count,
                           PyObject *names);
PyObject *socket_recvfrom(struct socket_object *socket, PyObject *args);
PyObject *socket_recvfrom_into(struct socket_object *socket, PyObject *args, PyObject *keywords);
PyObject *socket_send(struct socket_object *socket, PyObject *const *args, Py_ssize_t count);
PyObject *socket_sendall(struct socket_object *socket, PyObject *const *args, Py_ssize_t count);
PyObject *socket_sendto(struct socket_object *socket, PyObject *args);
PyObject *socket_sendmsg(struct socket_object *socket, PyObject *args);
PyObject *socket_recvmsg(struct socket_object *socket, PyObject *args);
PyObject *socket_recvmsg_into(struct socket_object *socket, PyObject *args);
PyObject *socket_sendfile(struct socket_object *socket, PyObject *args);

#endif
