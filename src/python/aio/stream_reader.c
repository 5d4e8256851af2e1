#include "python/aio/stream_reader.h"

#include <string.h>

#include "python/state.h"
#include "python/weakref.h"

/* Would object.name() call `function`? -1: an exception is set. */
static int method_is(PyObject *object, PyObject *name, const PyObject *function)
{
    PyObject *method = PyObject_GetAttr(object, name);
    if (!method)
        return -1;
    int result = PyMethod_Check(method) && PyMethod_GET_FUNCTION(method) == function;
    Py_DECREF(method);
    return result;
}

/* The protocol's reader, a new reference; NULL without an exception where it has none any more. */
static PyObject *reader_of(const struct module_state *state, PyObject *protocol)
{
    PyObject *reference = PyObject_GetAttr(protocol, state->strings[STRING_STREAM_READER_WR]);
    PyObject *reader = reference && PyWeakref_Check(reference) ? weakref_get(reference) : NULL;
    Py_XDECREF(reference);
    return reader;
}

static int attribute_is_true(const struct module_state *state, PyObject *object,
                             enum state_string name)
{
    PyObject *value = PyObject_GetAttr(object, state->strings[name]);
    int result = value ? PyObject_IsTrue(value) : -1;
    Py_XDECREF(value);
    return result;
}

/* reader._buffer.extend(data). Returns its length then, or -1 with an exception set. */
static Py_ssize_t reader_extend(const struct module_state *state, PyObject *reader,
                                const char *data, Py_ssize_t len)
{
    PyObject *buffer = PyObject_GetAttr(reader, state->strings[STRING_BUFFER]);
    if (!buffer)
        return -1;
    if (!PyByteArray_Check(buffer)) {
        PyErr_SetString(PyExc_TypeError, "the reader's buffer is no bytearray");
        Py_DECREF(buffer);
        return -1;
    }
    Py_ssize_t before = PyByteArray_GET_SIZE(buffer);
    int result = PyByteArray_Resize(buffer, before + len);
    if (result == 0)
        memcpy(PyByteArray_AS_STRING(buffer) + before, data, (size_t)len);
    Py_DECREF(buffer);
    return result < 0 ? -1 : before + len;
}

/* reader._wakeup_waiter(). Returns 0, or -1 with an exception set. */
static int reader_wake(const struct module_state *state, PyObject *reader)
{
    PyObject *waiter = PyObject_GetAttr(reader, state->strings[STRING_WAITER]);
    if (!waiter || waiter == Py_None) {
        Py_XDECREF(waiter);
        return waiter ? 0 : -1;
    }
    int result = PyObject_SetAttr(reader, state->strings[STRING_WAITER], Py_None);
    PyObject *done =
        result == 0 ? PyObject_CallMethodNoArgs(waiter, state->strings[STRING_CANCELLED]) : NULL;
    if (done == Py_False)
        Py_SETREF(done,
                  PyObject_CallMethodOneArg(waiter, state->strings[STRING_SET_RESULT], Py_None));
    Py_XDECREF(done);
    Py_DECREF(waiter);
    return done ? 0 : -1;
}

/* transport.pause_reading(); a transport that cannot is asked no more. */
static int reader_pause_transport(const struct module_state *state, PyObject *reader,
                                  PyObject *transport)
{
    PyObject *done = PyObject_CallMethod(transport, "pause_reading", NULL);
    Py_XDECREF(done);
    if (done)
        return PyObject_SetAttr(reader, state->strings[STRING_PAUSED], Py_True);
    if (!PyErr_ExceptionMatches(PyExc_NotImplementedError))
        return -1;
    PyErr_Clear();
    return PyObject_SetAttr(reader, state->strings[STRING_TRANSPORT], Py_None);
}

/* `size` bytes wait in the reader: where that is more than twice its limit, no more are received.
 * Returns 0, or -1 with an exception set. */
static int reader_pause(const struct module_state *state, PyObject *reader, Py_ssize_t size)
{
    PyObject *limit = PyObject_GetAttr(reader, state->strings[STRING_LIMIT]);
    PyObject *half = limit ? PyLong_FromSsize_t(size / 2 + size % 2) : NULL;
    int is_beyond = half ? PyObject_RichCompareBool(half, limit, Py_GT) : -1;
    Py_XDECREF(half);
    Py_XDECREF(limit);
    if (is_beyond <= 0)
        return is_beyond;
    int is_paused = attribute_is_true(state, reader, STRING_PAUSED);
    if (is_paused != 0)
        return is_paused < 0 ? -1 : 0;
    PyObject *transport = PyObject_GetAttr(reader, state->strings[STRING_TRANSPORT]);
    int result = !transport             ? -1
                 : transport == Py_None ? 0
                                        : reader_pause_transport(state, reader, transport);
    Py_XDECREF(transport);
    return result;
}

/* reader.feed_data(data): as stream_reader_feed(). */
static int reader_feed(const struct module_state *state, PyObject *reader, const char *data,
                       Py_ssize_t len)
{
    int is_known =
        Py_IS_TYPE(reader, (PyTypeObject *)state->aio.reader_class)
            ? method_is(reader, state->strings[STRING_FEED_DATA], state->aio.base_feed_data)
            : 0;
    int has_ended = is_known > 0 ? attribute_is_true(state, reader, STRING_EOF) : 0;
    if (is_known <= 0 || has_ended != 0) /* data after the end: feed_data() says so */
        return is_known < 0 || has_ended < 0 ? -1 : 0;
    Py_ssize_t size = reader_extend(state, reader, data, len);
    if (size < 0 || reader_wake(state, reader) < 0 || reader_pause(state, reader, size) < 0)
        return -1;
    return 1;
}

int stream_reader_feed(const struct module_state *state, PyObject *protocol, const char *data,
                       Py_ssize_t len)
{
    if (!Py_IS_TYPE(protocol, (PyTypeObject *)state->aio.reader_protocol_class))
        return 0;
    int is_known =
        method_is(protocol, state->strings[STRING_DATA_RECEIVED], state->aio.base_data_received);
    if (is_known <= 0)
        return is_known;
    PyObject *reader = reader_of(state, protocol);
    if (!reader)
        return PyErr_Occurred() ? -1 : 1;
    int result = reader_feed(state, reader, data, len);
    Py_DECREF(reader);
    return result;
}
