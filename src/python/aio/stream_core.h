/* What each message asks of a transport for streams, in one object: asyncio's methods set and read
 * these attributes of the transport, and here they are members. The transport has it in a slot,
 * whose place in the object is known: to find it costs a load, where an attribute costs a look-up.
 */
#ifndef ZOLAL_PYTHON_AIO_STREAM_CORE_H
#define ZOLAL_PYTHON_AIO_STREAM_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct module_state;

/* Member, attribute of the transport. */
#define STREAM_FIELDS(X)             \
    X(loop, "_loop")                 \
    X(protocol, "_protocol")         \
    X(sock_fd, "_sock_fd")           \
    X(conn_lost, "_conn_lost")       \
    X(eof, "_eof")                   \
    X(empty_waiter, "_empty_waiter") \
    X(buffer, "_buffer")             \
    X(is_buffered, "_is_buffered")

/* Strong references; NULL where the attribute is not set. */
struct stream_core {
    PyObject_HEAD
#define X(name, text) PyObject *name;
    STREAM_FIELDS(X)
#undef X
};

/* The transport's, which owns it; NULL without an exception where there is none. */
struct stream_core *stream_core_of(const struct module_state *state, PyObject *transport);

/* The attributes, for the type that the transport's class derives from. */
extern PyGetSetDef stream_core_attributes[];

/* Have transports of `class` keep it in their slot "_core". Returns 0, or -1 with an exception set.
 */
int stream_core_adopt(struct module_state *state, PyObject *class);

/* Make the type. Returns 0, or -1 with an exception set. */
int stream_core_type_add(PyObject *module);

#endif
