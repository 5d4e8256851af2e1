#include "python/aio/stream_methods.h"

#include <errno.h>

#include "python/aio/loop_object.h"
#include "python/aio/stream_core.h"
#include "python/exception.h"
#include "python/socket/socket_object.h"

/* The loop, borrowed (the transport keeps it while it is open); NULL where it is no loop of ours,
 * as of a transport that is closed. */
static struct loop_object *core_loop(const struct module_state *state,
                                     const struct stream_core *core)
{
    bool is_ours = core && core->loop && PyObject_TypeCheck(core->loop, state->aio.loop_type);
    return is_ours ? (struct loop_object *)core->loop : NULL;
}

/* Is it true? Also where it is not set. -1: an exception is set. */
static int core_flag(PyObject *value)
{
    if (value == Py_False || value == Py_None)
        return 0;
    return value ? PyObject_IsTrue(value) : 1;
}

/* -1 with an exception set. */
static int core_fd(const struct stream_core *core)
{
    if (core->sock_fd)
        return (int)PyLong_AsLong(core->sock_fd);
    PyErr_SetString(PyExc_AttributeError, "_sock_fd");
    return -1;
}

/* self._fatal_error(the exception that is set, message); None, or NULL with an exception set. */
static PyObject *stream_fail(struct module_state *state, PyObject *self, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit))
        return NULL;
    PyObject *failure = exception_fetch();
    PyObject *text = PyUnicode_FromString(message);
    PyObject *args[] = {self, failure, text};
    PyObject *done =
        text ? PyObject_VectorcallMethod(state->strings[STRING_FATAL_ERROR], args, 3, NULL) : NULL;
    Py_XDECREF(text);
    Py_XDECREF(failure);
    return done;
}

/* What recv(2) has said, where there are no data. */
static PyObject *stream_no_data(struct module_state *state, PyObject *self, int64_t result)
{
    if (result == 0)
        return PyObject_CallMethodNoArgs(self, state->strings[STRING_READ_READY_ON_EOF]);
    if (result == -EAGAIN || result == -EINTR)
        Py_RETURN_NONE;
    socket_raise(result);
    return stream_fail(state, self, "Fatal read error on socket transport");
}

/* protocol.data_received(bytes) */
static PyObject *stream_receive(struct loop_object *loop, PyObject *self, PyObject *protocol,
                                int fd)
{
    struct module_state *state = loop->state;
    char *scratch = loop_scratch(loop);
    if (!scratch)
        return NULL;
    int64_t n = kernel_recv(fd, scratch, LOOP_SCRATCH, MSG_DONTWAIT);
    if (n <= 0)
        return stream_no_data(state, self, n);
    PyObject *bytes = PyBytes_FromStringAndSize(scratch, (Py_ssize_t)n);
    if (!bytes)
        return NULL;
    PyObject *done =
        PyObject_CallMethodOneArg(protocol, state->strings[STRING_DATA_RECEIVED], bytes);
    Py_DECREF(bytes);
    return done ? done
                : stream_fail(state, self, "Fatal error: protocol.data_received() call failed.");
}

/* The buffer that the protocol offers. Returns 0, or -1 with an exception set. */
static int stream_get_buffer(struct module_state *state, PyObject *protocol, Py_buffer *view)
{
    PyObject *hint = PyLong_FromLong(-1);
    PyObject *buffer =
        hint ? PyObject_CallMethodOneArg(protocol, state->strings[STRING_GET_BUFFER], hint) : NULL;
    int result = buffer ? PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) : -1;
    Py_XDECREF(buffer);
    Py_XDECREF(hint);
    if (result < 0 || view->len > 0)
        return result;
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    return -1;
}

/* protocol.get_buffer(-1), protocol.buffer_updated(n) */
static PyObject *stream_receive_into(struct loop_object *loop, PyObject *self, PyObject *protocol,
                                     int fd)
{
    struct module_state *state = loop->state;
    Py_buffer view;
    if (stream_get_buffer(state, protocol, &view) < 0)
        return stream_fail(state, self, "Fatal error: protocol.get_buffer() call failed.");
    int64_t n = kernel_recv(fd, view.buf, (size_t)view.len, MSG_DONTWAIT);
    PyBuffer_Release(&view);
    if (n <= 0)
        return stream_no_data(state, self, n);
    PyObject *count = PyLong_FromLongLong(n);
    PyObject *done =
        count ? PyObject_CallMethodOneArg(protocol, state->strings[STRING_BUFFER_UPDATED], count)
              : NULL;
    Py_XDECREF(count);
    return done ? done
                : stream_fail(state, self, "Fatal error: protocol.buffer_updated() call failed.");
}

static PyObject *stream_read_ready(PyObject *self, PyObject *unused)
{
    struct module_state *state = state_of_type(Py_TYPE(self));
    struct stream_core *core = state ? stream_core_of(state, self) : NULL;
    struct loop_object *loop = core ? core_loop(state, core) : NULL;
    (void)unused;
    if (!loop || !core->protocol)
        Py_RETURN_NONE;
    int is_lost = core_flag(core->conn_lost);
    if (is_lost != 0)
        return is_lost < 0 ? NULL : Py_NewRef(Py_None);
    int fd = core_fd(core);
    int is_buffered = fd < 0 ? -1 : core_flag(core->is_buffered);
    if (is_buffered < 0)
        return NULL;
    PyObject *protocol = Py_NewRef(core->protocol); /* it may set another one */
    PyObject *done = is_buffered ? stream_receive_into(loop, self, protocol, fd)
                                 : stream_receive(loop, self, protocol, fd);
    Py_DECREF(protocol);
    if (!done)
        return NULL;
    Py_DECREF(done);
    Py_RETURN_NONE;
}

/* Is there nothing that asyncio's own write() would have to see to? -1: an exception is set. */
static int core_is_free(const struct stream_core *core)
{
    PyObject *const hindrances[] = {core->conn_lost, core->eof, core->empty_waiter, core->buffer};
    for (size_t i = 0; i < sizeof(hindrances) / sizeof(hindrances[0]); i++) {
        int flag = core_flag(hindrances[i]);
        if (flag != 0)
            return flag < 0 ? -1 : 0;
    }
    return 1;
}

/* asyncio's write(), for what is unusual, and for what the kernel has left. */
static PyObject *stream_write_rest(struct module_state *state, PyObject *self, PyObject *data,
                                   Py_ssize_t sent)
{
    PyObject *rest = Py_NewRef(data);
    if (sent > 0) {
        PyObject *view = PyMemoryView_FromObject(data);
        Py_SETREF(rest, view ? PySequence_GetSlice(view, sent, PY_SSIZE_T_MAX) : NULL);
        Py_XDECREF(view);
    }
    PyObject *args[] = {self, rest};
    PyObject *done = rest ? PyObject_Vectorcall(state->aio.base_write, args, 2, NULL) : NULL;
    Py_XDECREF(rest);
    return done;
}

static PyObject *stream_write(PyObject *self, PyObject *data)
{
    struct module_state *state = state_of_type(Py_TYPE(self));
    struct stream_core *core = state ? stream_core_of(state, self) : NULL;
    Py_buffer view;
    int is_free = core && core_loop(state, core) ? core_is_free(core) : 0;
    if (!state || is_free < 0)
        return NULL;
    bool is_plain = PyBytes_Check(data) || PyByteArray_Check(data) ||
                    (PyMemoryView_Check(data) && PyMemoryView_GET_BUFFER(data)->ndim == 1 &&
                     PyMemoryView_GET_BUFFER(data)->itemsize == 1);
    if (!is_free || !is_plain)
        return stream_write_rest(state, self, data, 0);
    int fd = core_fd(core);
    if (fd < 0 || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    RECORDED(state);
    Py_ssize_t len = view.len;
    int64_t n = len > 0 ? kernel_send(fd, view.buf, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    PyBuffer_Release(&view);
    if (n == len)
        Py_RETURN_NONE;
    if (n >= 0 || n == -EAGAIN || n == -EINTR)
        return stream_write_rest(state, self, data, n > 0 ? (Py_ssize_t)n : 0);
    socket_raise(n);
    return stream_fail(state, self, "Fatal write error on socket transport");
}

static PyObject *stream_adopt(PyObject *type, PyObject *class)
{
    struct module_state *state = state_of_type((PyTypeObject *)type);
    if (!state || stream_core_adopt(state, class) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef stream_methods[] = {
    {"_adopt", stream_adopt, METH_O | METH_CLASS,
     "_adopt($type, class, /)\n--\n\nThe class of transports that has the slot _core."},
    {"_read_ready", stream_read_ready, METH_NOARGS, NULL},
    {"write", stream_write, METH_O,
     "write($self, data, /)\n--\n\nSend it, now or when there is room."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc, "The part of the transport for streams that is in C."},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_core_attributes},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    .name = "zolal._zolal.StreamMethods",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = stream_slots,
};

int stream_methods_add(PyObject *module)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    aio->stream_methods = (PyTypeObject *)PyType_FromModuleAndSpec(module, &stream_spec, NULL);
    return aio->stream_methods ? PyModule_AddType(module, aio->stream_methods) : -1;
}
