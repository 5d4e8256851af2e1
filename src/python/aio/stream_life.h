/* How a transport for streams begins and ends. */
#ifndef ZOLAL_PYTHON_AIO_STREAM_LIFE_H
#define ZOLAL_PYTHON_AIO_STREAM_LIFE_H

#include "python/aio/loop_object.h"
#include "python/aio/stream_core.h"

/* A connection that was accepted: its descriptor, its peer's address, and what its socket object is
 * to be. `sock`: that object, borrowed, which owns the descriptor then; NULL: none is made yet. */
struct stream_accepted {
    int fd;
    struct socket_kind kind;
    PyObject *sock;
    const struct address *peer;
};

/* Its transport: registers with `server` (None: none) and has protocol.connection_made() called and
 * reading begun, one after the other, in the next turn. Owns the descriptor from the call on, also
 * where it fails. A new reference, or NULL with an exception set. */
PyObject *stream_accept(struct loop_object *loop, const struct stream_accepted *accepted,
                        PyObject *protocol, PyObject *server);

/* A loop's method of that name: RuntimeError where an open transport has the descriptor. */
PyObject *loop_ensure_fd_no_transport(struct loop_object *loop, PyObject *fileobj);

/* A loop's method _forget_transport(): from now on asyncio's `_transports` knows it, which the
 * caller sees to. Its descriptor. */
PyObject *loop_forget_transport(struct loop_object *loop, PyObject *transport);

/* Slots of the type and methods of the transport, by their names in Python. */
int stream_init(PyObject *self, PyObject *args, PyObject *keywords);
void stream_finalize(PyObject *self);
PyObject *stream_set_protocol(PyObject *self, PyObject *protocol);
PyObject *stream_is_closing(PyObject *self, PyObject *unused);
PyObject *stream_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *stream_read_ready_on_eof(PyObject *self, PyObject *unused);
PyObject *stream_close(PyObject *self, PyObject *unused);
PyObject *stream_call_connection_lost(PyObject *self, PyObject *failure);

#endif
