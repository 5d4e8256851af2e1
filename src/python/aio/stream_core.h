/* A transport for streams: asyncio's _SelectorSocketTransport, whose attributes are members of a C
 * struct at the object's end: no dictionary, no look-up, and what few programs ask for is made when
 * they ask: the socket object of an accepted connection, the addresses as Python has them, the
 * dictionary of get_extra_info(), the write buffer. asyncio's own methods work on it, by the same
 * names; those that each connection or message takes are in C (stream_life.c, stream_methods.c).
 *
 * All of it with the GIL. */
#ifndef ZOLAL_PYTHON_AIO_STREAM_CORE_H
#define ZOLAL_PYTHON_AIO_STREAM_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "socket/address.h"

struct loop_object;
struct module_state;

/* Objects: member, attribute of the transport. Those that begin with _core are behind an attribute
 * that is made when asked for; they are here so that the collector sees them. */
#define STREAM_OBJECTS(X)             \
    X(protocol, "_protocol")          \
    X(server, "_server")              \
    X(empty_waiter, "_empty_waiter")  \
    X(loop, "_core_loop")             \
    X(sock, "_core_sock")             \
    X(extra, "_core_extra")           \
    X(buffer, "_core_buffer")         \
    X(high_water, "_core_high_water") \
    X(low_water, "_core_low_water")   \
    X(peername, "_core_peername")     \
    X(sockname, "_core_sockname")

/* Member, its type, how Python's structmember.h calls that, attribute. */
#define STREAM_NUMBERS(X)                                      \
    X(fd, int, T_INT, "_sock_fd")                              \
    X(conn_lost, int, T_INT, "_conn_lost")                     \
    X(is_closing, bool, T_BOOL, "_closing")                    \
    X(is_paused, bool, T_BOOL, "_paused")                      \
    X(has_ended, bool, T_BOOL, "_eof")                         \
    X(is_buffered, bool, T_BOOL, "_is_buffered")               \
    X(protocol_connected, bool, T_BOOL, "_protocol_connected") \
    X(protocol_paused, bool, T_BOOL, "_protocol_paused")

/* What a socket object is made as, or was. */
struct socket_kind {
    bool is_zolals; /* zolal.socket.socket; else socket.socket */
    uint16_t family;
    int type; /* without SOCK_NONBLOCK */
    int protocol;
};

/* Of a socket object of either class, or one that derives from it. Returns 0, or -1 with an
 * exception set. */
int socket_kind_of(const struct module_state *state, PyObject *sock, struct socket_kind *kind);

/* A socket object of that kind, non-blocking, which owns `fd`; -1: a closed one. NULL with an
 * exception set, and `fd` is still the caller's. */
PyObject *socket_of_kind(const struct module_state *state, const struct socket_kind *kind, int fd);

/* An IP address as the kernel gave it; another kind is made an object at once. sin_family
 * AF_UNSPEC: none. */
union stream_address {
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/* The references are strong, NULL where there is none (yet). `sock`: also NULL while nobody has
 * asked for it, None once it is closed. */
struct stream_core {
#define X(name, text) PyObject *name;
    STREAM_OBJECTS(X)
#undef X
    union stream_address peer;
    union stream_address local;
#define X(name, type, kind, text) type name;
    STREAM_NUMBERS(X)
#undef X
    bool owns_fd;  /* it is open, and there is no socket object */
    bool is_begun; /* __init__ ran */
    struct socket_kind kind;
};

/* The transport's; NULL without an exception where the object is no such transport. */
struct stream_core *stream_core_of(const struct module_state *state, PyObject *transport);

/* The same of a method's own object, and the module's state; NULL with an exception set. */
struct stream_core *stream_self(PyObject *self, struct module_state **state);

/* A new transport, not begun. NULL with an exception set. */
PyObject *stream_alloc(struct module_state *state);

/* The loop, borrowed (the transport keeps it while it is open); NULL where it is no loop of ours,
 * as of a transport that is closed. */
struct loop_object *stream_loop(const struct module_state *state, const struct stream_core *core);

/* Keep the peer's address, or the local one. Returns 0, or -1 with an exception set. */
int stream_keep_peer(struct stream_core *core, const struct address *addr);
int stream_keep_local(struct stream_core *core, const struct address *addr);

/* The socket object, made if there is none: a new reference, None where it is closed. NULL with an
 * exception set. */
PyObject *stream_socket(struct module_state *state, struct stream_core *core);

/* The write buffer, made if there is none: borrowed. NULL with an exception set. */
PyObject *stream_buffer(const struct module_state *state, struct stream_core *core);

/* The dictionary of get_extra_info(), made if there is none: borrowed. NULL with an exception set.
 */
PyObject *stream_extra(struct module_state *state, struct stream_core *core);

/* transport.get_extra_info(name, default=None) */
PyObject *stream_get_extra_info(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                PyObject *names);

/* The attributes behind the members of STREAM_OBJECTS that begin with _core. */
extern PyGetSetDef stream_core_attributes[];

#endif
