#include "python/aio/stream_output.h"

#include <errno.h>

#include "python/aio/loop_object.h"
#include "python/aio/slots.h"
#include "python/aio/stream_methods.h"
#include "python/exception.h"
#include "python/socket/socket_object.h"

/* Pieces of one sendmsg(2). */
enum { PIECES_MOST = 64 };

int stream_keep(struct module_state *state, struct stream_core *core, PyObject *self,
                PyObject *rest)
{
    static const char *const keep = PY_VERSION_HEX >= 0x030C0000 ? "append" : "extend";
    PyObject *buffer = stream_buffer(state, core);
    PyObject *fd = buffer ? PyLong_FromLong(core->fd) : NULL;
    PyObject *args[] = {fd, NULL};
    args[1] = fd ? PyObject_GetAttr(self, state->strings[STRING_WRITE_READY]) : NULL;
    PyObject *done = args[1] ? loop_add_writer(stream_loop(state, core), args, 2) : NULL;
    Py_XDECREF(args[1]);
    Py_XDECREF(fd);
    if (done)
        Py_SETREF(done, PyObject_CallMethod(buffer, keep, "O", rest));
    if (done)
        Py_SETREF(done,
                  PyObject_CallMethodNoArgs(self, state->strings[STRING_MAYBE_PAUSE_PROTOCOL]));
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* Send of the pieces of a deque what the kernel takes at once. Returns how many bytes, -errno, or
 * 0 with an exception set. */
static int64_t send_pieces(PyObject *pieces, int fd)
{
    Py_buffer views[PIECES_MOST];
    struct iovec parts[PIECES_MOST];
    size_t count = 0;
    int64_t n = 0;
    PyObject *iterator = PyObject_GetIter(pieces);
    while (iterator && count < PIECES_MOST) {
        PyObject *piece = PyIter_Next(iterator);
        int seen = piece ? PyObject_GetBuffer(piece, &views[count], PyBUF_SIMPLE) : -1;
        Py_XDECREF(piece); /* the view has its own reference */
        if (seen < 0)
            break;
        parts[count] = (struct iovec){views[count].buf, (size_t)views[count].len};
        count++;
    }
    Py_XDECREF(iterator);
    if (!PyErr_Occurred())
        n = kernel_sendmsg(fd, parts, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (count > 0)
        PyBuffer_Release(&views[--count]);
    return n;
}

/* The same of a bytearray. */
static int64_t send_bytes(PyObject *bytes, int fd)
{
    return kernel_send(fd, PyByteArray_AS_STRING(bytes), (size_t)PyByteArray_GET_SIZE(bytes),
                       MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* `n` bytes of the buffer are gone. Returns 0, or -1 with an exception set. */
static int buffer_drop(PyObject *self, PyObject *buffer, int64_t n)
{
    if (PyByteArray_Check(buffer))
        return PySequence_DelSlice(buffer, 0, (Py_ssize_t)n);
    PyObject *done = PyObject_CallMethod(self, "_adjust_leftover_buffer", "L", (long long)n);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static int stream_stop_writing(struct loop_object *loop, const struct stream_core *core)
{
    PyObject *fd = PyLong_FromLong(core->fd);
    PyObject *done = fd ? loop_remove_writer(loop, fd) : NULL;
    Py_XDECREF(fd);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* Tell who waits for the buffer to be empty (sendfile), if anybody: the future's `method`. Returns
 * 0, or -1 with an exception set. */
static int tell_waiter(const struct module_state *state, const struct stream_core *core,
                       enum state_string method, PyObject *value)
{
    if (!core->empty_waiter || core->empty_waiter == Py_None)
        return 0;
    PyObject *waiter = Py_NewRef(core->empty_waiter);
    PyObject *done = PyObject_CallMethodOneArg(waiter, state->strings[method], value);
    Py_DECREF(waiter);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* The exception that is set ends the transport. */
static PyObject *write_failed(struct loop_object *loop, struct stream_core *core, PyObject *self)
{
    struct module_state *state = loop->state;
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit))
        return NULL;
    PyObject *failure = exception_fetch();
    PyObject *done = stream_stop_writing(loop, core) == 0
                         ? PyObject_CallMethod(core->buffer, "clear", NULL)
                         : NULL;
    if (done) {
        PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
        Py_SETREF(done, stream_fail(state, self, "Fatal write error on socket transport"));
    }
    if (done && tell_waiter(state, core, STRING_SET_EXCEPTION, failure) < 0)
        Py_CLEAR(done);
    Py_DECREF(failure);
    return done;
}

/* All has been sent: what was put off until then. */
static PyObject *all_written(struct loop_object *loop, struct stream_core *core, PyObject *self)
{
    struct module_state *state = loop->state;
    if (stream_stop_writing(loop, core) < 0 ||
        tell_waiter(state, core, STRING_SET_RESULT, Py_None) < 0)
        return NULL;
    if (core->is_closing) {
        core->conn_lost++; /* asyncio does not count this way out: then abort() fails */
        return PyObject_CallMethodOneArg(self, state->strings[STRING_CALL_CONNECTION_LOST],
                                         Py_None);
    }
    if (!core->has_ended)
        Py_RETURN_NONE;
    RECORDED(state);
    int result = kernel_shutdown(core->fd, SHUT_WR);
    if (result < 0)
        return socket_raise(result);
    Py_RETURN_NONE;
}

/* Send of the buffer what the kernel takes at once: as send_pieces(). */
static int64_t buffer_send(struct loop_object *loop, PyObject *buffer, int fd)
{
    RECORDED(loop->state);
    loop->is_seen = false; /* who receives it may be on this loop, too */
    return PyByteArray_Check(buffer) ? send_bytes(buffer, fd) : send_pieces(buffer, fd);
}

/* What the kernel takes of it now. */
static PyObject *write_now(struct loop_object *loop, struct stream_core *core, PyObject *self)
{
    struct module_state *state = loop->state;
    PyObject *buffer = core->buffer;
    int64_t n = buffer_send(loop, buffer, core->fd);
    if (n == -EAGAIN || n == -EINTR)
        Py_RETURN_NONE;
    if (n < 0)
        socket_raise(n);
    if (PyErr_Occurred() || buffer_drop(self, buffer, n) < 0)
        return write_failed(loop, core, self);
    PyObject *done = PyObject_CallMethodNoArgs(self, state->strings[STRING_MAYBE_RESUME_PROTOCOL]);
    if (!done || core->conn_lost) /* the protocol has aborted it */
        return done;
    Py_DECREF(done);
    int holds = PyObject_IsTrue(buffer); /* it may have written more */
    if (holds < 0)
        return NULL;
    return holds ? Py_NewRef(Py_None) : all_written(loop, core, self);
}

PyObject *stream_write_ready(PyObject *self, PyObject *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    if (!core)
        return NULL;
    struct loop_object *loop = stream_loop(state, core);
    if (!loop || core->conn_lost || !core->buffer)
        Py_RETURN_NONE;
    PyObject *buffer = Py_NewRef(core->buffer); /* the protocol may have the transport ended */
    Py_INCREF(loop);
    PyObject *done = write_now(loop, core, self);
    Py_DECREF(loop);
    Py_DECREF(buffer);
    return done;
}

PyObject *stream_write_eof(PyObject *self, PyObject *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    if (!core)
        return NULL;
    if (!stream_loop(state, core) || core->is_closing || core->has_ended)
        Py_RETURN_NONE;
    core->has_ended = true;
    int holds = core->buffer ? PyObject_IsTrue(core->buffer) : 0;
    RECORDED(state);
    int result = holds == 0 ? kernel_shutdown(core->fd, SHUT_WR) : 0;
    if (result < 0)
        socket_raise(result);
    if (holds < 0 || result < 0)
        return NULL;
    Py_RETURN_NONE;
}
