#include "python/aio/stream_methods.h"

#include <errno.h>
#include <stddef.h>
#include <structmember.h>

#include "python/aio/loop_object.h"
#include "python/aio/stream_life.h"
#include "python/aio/stream_output.h"
#include "python/aio/stream_reader.h"
#include "python/aio/tls_core.h"
#include "python/exception.h"
#include "python/socket/socket_object.h"

PyObject *stream_fail(struct module_state *state, PyObject *self, const char *message)
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

/* Of these sizes the last object that was received is kept and filled again, where its protocol has
 * not kept it: glibc takes its time for blocks beyond 1 KiB. */
enum { SPARE_LEAST = 512, SPARE_MOST = 64 * 1024 };

/* That of what it held before. */
static void bytes_forget_hash(PyObject *bytes)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    ((PyBytesObject *)bytes)->ob_shash = -1;
#pragma GCC diagnostic pop
}

static PyObject *bytes_take(struct loop_object *loop, const char *data, Py_ssize_t len)
{
    PyObject *bytes = loop->bytes;
    if (!bytes || len > loop->bytes_room || len < loop->bytes_room / 2)
        return PyBytes_FromStringAndSize(data, len);
    loop->bytes = NULL;
    Py_SET_SIZE(bytes, len);
    memcpy(PyBytes_AS_STRING(bytes), data, (size_t)len);
    PyBytes_AS_STRING(bytes)[len] = '\0';
    bytes_forget_hash(bytes);
    return bytes;
}

/* The end of bytes_take(). */
static void bytes_give(struct loop_object *loop, PyObject *bytes)
{
    Py_ssize_t len = Py_SIZE(bytes);
    if (Py_REFCNT(bytes) != 1 || len < SPARE_LEAST || len > SPARE_MOST) {
        Py_DECREF(bytes);
        return;
    }
    Py_XSETREF(loop->bytes, bytes);
    loop->bytes_room = len;
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
    PyObject *done = NULL;
    int fed = stream_reader_feed(state, protocol, scratch, (Py_ssize_t)n);
    if (fed > 0)
        Py_RETURN_NONE;
    if (fed == 0) {
        PyObject *bytes = bytes_take(loop, scratch, (Py_ssize_t)n);
        if (!bytes)
            return NULL;
        done = PyObject_CallMethodOneArg(protocol, state->strings[STRING_DATA_RECEIVED], bytes);
        bytes_give(loop, bytes);
    }
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

/* What came is decrypted from memory that all connections share. */
static PyObject *stream_receive_tls(struct loop_object *loop, PyObject *self,
                                    struct tls_core *protocol, int fd)
{
    char *scratch = loop_scratch(loop);
    if (!scratch)
        return NULL;
    int64_t n = kernel_recv(fd, scratch, TLS_RECEIVE, MSG_DONTWAIT);
    if (n <= 0)
        return stream_no_data(loop->state, self, n);
    PyObject *done = tls_receive(protocol, scratch, (size_t)n);
    return done ? done
                : stream_fail(loop->state, self,
                              "Fatal error: protocol.buffer_updated() call failed.");
}

static PyObject *stream_read_ready(PyObject *self, PyObject *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    if (!core)
        return NULL;
    struct loop_object *loop = stream_loop(state, core);
    if (!loop || !core->protocol || core->conn_lost)
        Py_RETURN_NONE;
    PyObject *protocol = Py_NewRef(core->protocol); /* it may set another one */
    PyObject *done;
    Py_INCREF(loop);
    if (core->is_buffered && PyObject_TypeCheck(protocol, state->aio.tls_core_type))
        done = stream_receive_tls(loop, self, (struct tls_core *)protocol, core->fd);
    else
        done = core->is_buffered ? stream_receive_into(loop, self, protocol, core->fd)
                                 : stream_receive(loop, self, protocol, core->fd);
    Py_DECREF(loop);
    Py_DECREF(protocol);
    if (!done)
        return NULL;
    Py_DECREF(done);
    Py_RETURN_NONE;
}

/* Is there nothing that asyncio's own write() would have to see to? -1: an exception is set. */
static int core_is_free(const struct stream_core *core)
{
    if (core->conn_lost || core->has_ended || core->empty_waiter != Py_None)
        return 0;
    int holds = core->buffer ? PyObject_IsTrue(core->buffer) : 0;
    return holds < 0 ? -1 : !holds;
}

/* The bytes of it: of `bytes` itself without a view being made, which most are. Returns 0, or -1
 * with an exception set. */
static int data_open(PyObject *data, Py_buffer *view)
{
    if (!PyBytes_CheckExact(data))
        return PyObject_GetBuffer(data, view, PyBUF_SIMPLE);
    *view = (Py_buffer){.buf = PyBytes_AS_STRING(data), .len = PyBytes_GET_SIZE(data)};
    return 0;
}

/* asyncio's write(), for what is unusual. */
static PyObject *stream_write_otherwise(struct module_state *state, PyObject *self, PyObject *data)
{
    PyObject *args[] = {self, data};
    return PyObject_Vectorcall(state->aio.base_write, args, 2, NULL);
}

/* Keep what the kernel has left. */
static PyObject *stream_write_rest(struct module_state *state, PyObject *self, PyObject *data,
                                   Py_ssize_t sent)
{
    PyObject *view = PyMemoryView_FromObject(data);
    PyObject *rest = view ? PySequence_GetSlice(view, sent, PY_SSIZE_T_MAX) : NULL;
    int result = rest ? stream_keep(state, stream_core_of(state, self), self, rest) : -1;
    Py_XDECREF(rest);
    Py_XDECREF(view);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

int stream_send(struct module_state *state, PyObject *self, const char *data, size_t len)
{
    struct stream_core *core = stream_core_of(state, self);
    struct loop_object *loop = core ? stream_loop(state, core) : NULL;
    int is_free = loop ? core_is_free(core) : 0;
    if (is_free < 0)
        return -1;
    RECORDED(state);
    if (loop)
        loop->is_seen = false; /* who receives it may be on this loop, too */
    int64_t n = is_free ? kernel_send(core->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (n == (int64_t)len)
        return 0;
    PyObject *done = NULL;
    if (n >= 0 || n == -EAGAIN || n == -EINTR) {
        size_t sent = n > 0 ? (size_t)n : 0;
        PyObject *rest = PyBytes_FromStringAndSize(data + sent, (Py_ssize_t)(len - sent));
        if (rest)
            done = is_free ? stream_write_rest(state, self, rest, 0)
                           : stream_write_otherwise(state, self, rest);
        Py_XDECREF(rest);
    } else {
        socket_raise(n);
        done = stream_fail(state, self, "Fatal write error on socket transport");
    }
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static PyObject *stream_write(PyObject *self, PyObject *data)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    struct loop_object *loop = core ? stream_loop(state, core) : NULL;
    Py_buffer view;
    int is_free = loop ? core_is_free(core) : 0;
    if (!core || is_free < 0)
        return NULL;
    bool is_plain = PyBytes_Check(data) || PyByteArray_Check(data) ||
                    (PyMemoryView_Check(data) && PyMemoryView_GET_BUFFER(data)->ndim == 1 &&
                     PyMemoryView_GET_BUFFER(data)->itemsize == 1);
    if (!is_free || !is_plain)
        return stream_write_otherwise(state, self, data);
    if (data_open(data, &view) < 0)
        return NULL;
    RECORDED(state);
    loop->is_seen = false; /* who receives it may be on this loop, too */
    Py_ssize_t len = view.len;
    int64_t n =
        len > 0 ? kernel_send(core->fd, view.buf, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    PyBuffer_Release(&view);
    if (n == len)
        Py_RETURN_NONE;
    if (n >= 0 || n == -EAGAIN || n == -EINTR)
        return stream_write_rest(state, self, data, n > 0 ? (Py_ssize_t)n : 0);
    socket_raise(n);
    return stream_fail(state, self, "Fatal write error on socket transport");
}

#define METHOD(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef stream_methods[] = {
    {"_read_ready", stream_read_ready, METH_NOARGS, NULL},
    {"_read_ready__on_eof", stream_read_ready_on_eof, METH_NOARGS, NULL},
    {"_add_reader", METHOD(stream_add_reader), METH_FASTCALL, NULL},
    {"_call_connection_lost", stream_call_connection_lost, METH_O, NULL},
    {"write", stream_write, METH_O,
     "write($self, data, /)\n--\n\nSend it, now or when there is room."},
    {"_write_ready", stream_write_ready, METH_NOARGS, NULL},
    {"write_eof", stream_write_eof, METH_NOARGS,
     "write_eof($self)\n--\n\nEnd our side, once what was written is sent."},
    {"close", stream_close, METH_NOARGS,
     "close($self)\n--\n\nClose it, once what was written is sent."},
    {"is_closing", stream_is_closing, METH_NOARGS, "is_closing($self)\n--\n\n"},
    {"set_protocol", stream_set_protocol, METH_O, "set_protocol($self, protocol, /)\n--\n\n"},
    {"get_extra_info", METHOD(stream_get_extra_info), METH_FASTCALL | METH_KEYWORDS,
     "get_extra_info($self, name, default=None)\n--\n\n"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc,
     "asyncio's transport for streams, with what each connection and message takes in C."},
    {Py_tp_init, stream_init},
    {Py_tp_finalize, stream_finalize},
    {Py_tp_methods, stream_methods},
    {Py_tp_members, NULL}, /* see below */
    {Py_tp_getset, stream_core_attributes},
    {0, NULL},
};

/* Where in an object of a class that derives from `base` the core is. */
static Py_ssize_t core_offset(const PyTypeObject *base)
{
    Py_ssize_t align = (Py_ssize_t) _Alignof(struct stream_core);
    return (base->tp_basicsize + align - 1) / align * align;
}

/* The members are where asyncio's class ends, which each Python has elsewhere. That class is one
 * of Python code, whose dealloc, traverse and clear see to members of T_OBJECT_EX. */
static PyObject *class_make(PyObject *module, PyTypeObject *base)
{
    PyMemberDef members[] = {
#define X(name, text) {text, T_OBJECT_EX, offsetof(struct stream_core, name), 0, NULL},
        STREAM_OBJECTS(X)
#undef X
#define X(name, type, kind, text) {text, kind, offsetof(struct stream_core, name), 0, NULL},
            STREAM_NUMBERS(X)
#undef X
                {NULL, 0, 0, 0, NULL},
    };
    PyType_Slot slots[sizeof(stream_slots) / sizeof(stream_slots[0])];
    PyType_Spec spec = {
        .name = "zolal.event_loop._StreamTransport",
        .basicsize = (int)(core_offset(base) + (Py_ssize_t)sizeof(struct stream_core)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = slots,
    };
    for (PyMemberDef *member = members; member->name; member++)
        member->offset += core_offset(base);
    memcpy(slots, stream_slots, sizeof(slots));
    for (PyType_Slot *slot = slots; slot->slot; slot++)
        if (slot->slot == Py_tp_members)
            slot->pfunc = members;
    return PyType_FromModuleAndSpec(module, &spec, (PyObject *)base);
}

static PyObject *make_stream_transport(PyObject *module, PyObject *base)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    if (!PyType_Check(base))
        return PyErr_Format(PyExc_TypeError, "%R is no class", base);
    PyObject *class = class_make(module, (PyTypeObject *)base);
    if (!class)
        return NULL;
    aio->core_offset = core_offset((PyTypeObject *)base);
    Py_XSETREF(aio->transport_class, Py_NewRef(class));
    return class;
}

static PyMethodDef functions[] = {
    {"make_stream_transport", make_stream_transport, METH_O,
     "make_stream_transport(base, /)\n--\n\nThe loop's class of transports for streams."},
    {NULL, NULL, 0, NULL},
};

int stream_transport_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
