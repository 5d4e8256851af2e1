#include "python/wsgi/input.h"

#include <errno.h>
#include <string.h>

#include "http/trailer.h"
#include "python/calls.h"
#include "python/server_type.h"
#include "trace/recorder.h"

#define INPUT_STEP 65536 /* bytes read at once where the length is not known */

/* `ahead`: bytes that a readline has read too many, from `ahead_start`; NULL: none. `taken`: how
 * many of all that were ever read ahead are taken. */
struct input {
    PyObject_HEAD struct server *server;
    struct exchange *exchange; /* NULL: at the end */
    PyObject *ahead;
    Py_ssize_t ahead_start;
    uint64_t taken;
    bool cut; /* the request ended before the body did: what is left cannot be had */
};

PyObject *input_new(struct module_state *state, struct server *server, struct exchange *exchange)
{
    struct input *input = PyObject_New(struct input, state->input_type);
    if (!input)
        return NULL;
    input->server = server;
    input->exchange = exchange;
    input->ahead = NULL;
    input->ahead_start = 0;
    input->taken = 0;
    input->cut = false;
    return (PyObject *)input;
}

void input_end(PyObject *object)
{
    struct input *input = (struct input *)object;
    input->cut = exchange_body_left(input->exchange) > 0;
    input->exchange = NULL;
    input->server = NULL;
}

static void input_dealloc(struct input *input)
{
    PyTypeObject *type = Py_TYPE(input);
    Py_XDECREF(input->ahead);
    PyObject_Free(input);
    Py_DECREF(type);
}

/* Read at least one byte into `data`, waiting for the client where that must be. 0: the end; -1: an
 * exception is set. */
static Py_ssize_t input_receive(struct input *input, char *data, size_t len)
{
    if (input->cut) {
        PyErr_SetString(PyExc_ValueError, "wsgi.input after the request has ended");
        return -1;
    }
    while (input->exchange) {
        ssize_t n = exchange_read(input->exchange, data, len);
        if (n >= 0)
            return n;
        if (n == -EAGAIN)
            n = worker_wait(input->server->worker, input->exchange, WORKER_WAIT_READABLE);
        if (n < 0) {
            server_raise_wait(input->server, (int)n);
            return -1;
        }
    }
    return 0;
}

/* Take at most `len` bytes from what was read ahead. */
static size_t input_take_ahead(struct input *input, char *data, size_t len)
{
    if (!input->ahead)
        return 0;
    size_t left = (size_t)(PyBytes_GET_SIZE(input->ahead) - input->ahead_start);
    size_t n = len < left ? len : left;
    memcpy(data, PyBytes_AS_STRING(input->ahead) + input->ahead_start, n);
    input->ahead_start += (Py_ssize_t)n;
    input->taken += n;
    if (n == left)
        Py_CLEAR(input->ahead);
    return n;
}

/* Fill `data` as far as the body goes. Returns the bytes, -1 with an exception set. */
static Py_ssize_t input_fill(struct input *input, char *data, size_t len)
{
    size_t done = input_take_ahead(input, data, len);
    while (done < len) {
        Py_ssize_t n = input_receive(input, data + done, len - done);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (Py_ssize_t)done;
}

/* Exactly `len` bytes, or fewer at the end. */
static PyObject *input_read_some(struct input *input, Py_ssize_t len)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, len);
    if (!bytes)
        return NULL;
    Py_ssize_t got = input_fill(input, PyBytes_AS_STRING(bytes), (size_t)len);
    if (got < 0) {
        Py_DECREF(bytes);
        return NULL;
    }
    if (got < len)
        _PyBytes_Resize(&bytes, got);
    return bytes;
}

/* How much a read without a limit should ask for first: all, where the length is known and here. */
static Py_ssize_t input_guess(const struct input *input)
{
    Py_ssize_t ahead = input->ahead ? PyBytes_GET_SIZE(input->ahead) - input->ahead_start : 0;
    uint64_t left = input->exchange ? exchange_body_left(input->exchange) : 0;
    if (left > (1u << 30))
        left = INPUT_STEP;
    return ahead + (Py_ssize_t)left;
}

static PyObject *input_read_all(struct input *input)
{
    Py_ssize_t size = input_guess(input), done = 0;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    while (bytes) {
        Py_ssize_t got = input_fill(input, PyBytes_AS_STRING(bytes) + done, (size_t)(size - done));
        if (got < 0) {
            Py_CLEAR(bytes);
            break;
        }
        bool whole = done + got < size;
        done += got;
        if (whole || !input->exchange || exchange_body_left(input->exchange) == 0)
            break;
        size += size > INPUT_STEP ? size : INPUT_STEP;
        _PyBytes_Resize(&bytes, size);
    }
    if (bytes && done < PyBytes_GET_SIZE(bytes))
        _PyBytes_Resize(&bytes, done);
    return bytes;
}

/* Put `bytes` (stolen) behind what was read ahead. */
static int input_add_ahead(struct input *input, PyObject *bytes)
{
    if (!bytes)
        return -1;
    if (!input->ahead) {
        input->ahead = bytes;
        input->ahead_start = 0;
        return 0;
    }
    if (input->ahead_start > 0) {
        PyObject *rest =
            PyBytes_FromStringAndSize(PyBytes_AS_STRING(input->ahead) + input->ahead_start,
                                      PyBytes_GET_SIZE(input->ahead) - input->ahead_start);
        if (!rest) {
            Py_DECREF(bytes);
            return -1;
        }
        Py_SETREF(input->ahead, rest);
        input->ahead_start = 0;
    }
    PyBytes_ConcatAndDel(&input->ahead, bytes);
    return input->ahead ? 0 : -1;
}

/* Read one more piece ahead. 1: something came; 0: the end; -1: an exception is set. */
static int input_read_ahead(struct input *input)
{
    PyObject *piece = PyBytes_FromStringAndSize(NULL, INPUT_STEP);
    if (!piece)
        return -1;
    Py_ssize_t got = input_receive(input, PyBytes_AS_STRING(piece), INPUT_STEP);
    if (got <= 0) {
        Py_DECREF(piece);
        return (int)got;
    }
    if (got < INPUT_STEP)
        _PyBytes_Resize(&piece, got);
    return input_add_ahead(input, piece) < 0 ? -1 : 1;
}

/* A line with its end, or at most `limit` bytes of it (< 0: no limit). `searched` counts as `taken`
 * does: while this thread waits for more, another one may take some of what is there. */
static PyObject *input_read_line(struct input *input, Py_ssize_t limit)
{
    uint64_t searched = 0;
    if (limit == 0)
        return PyBytes_FromStringAndSize(NULL, 0);
    for (;;) {
        size_t here = 0;
        if (input->ahead) {
            const char *data = PyBytes_AS_STRING(input->ahead) + input->ahead_start;
            here = (size_t)(PyBytes_GET_SIZE(input->ahead) - input->ahead_start);
            size_t start = searched > input->taken ? (size_t)(searched - input->taken) : 0;
            const char *end = memchr(data + start, '\n', here - start);
            size_t len = end ? (size_t)(end - data) + 1 : here;
            if (limit > 0 && len >= (size_t)limit)
                return input_read_some(input, limit);
            if (end)
                return input_read_some(input, (Py_ssize_t)len);
            searched = input->taken + here;
        }
        int more = input_read_ahead(input);
        if (more < 0)
            return NULL;
        if (more == 0)
            return input_read_some(input, (Py_ssize_t)here);
    }
}

/* The limit of read, readline and readlines: an int, None or nothing. -1: no limit; -2: an
 * exception. */
static Py_ssize_t input_limit(const char *function, PyObject *const *args, Py_ssize_t count)
{
    if (count > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)", function, count);
        return -2;
    }
    if (count == 0 || args[0] == Py_None)
        return -1;
    Py_ssize_t limit = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (limit == -1 && PyErr_Occurred())
        return -2;
    return limit < 0 ? -1 : limit;
}

/* The application reads: recorded with the line where it stands. */
static void input_enter(const struct input *input)
{
    if (input->server && input->server->python_calls)
        calls_enter_from_application(input->server->state, TRACE_PYTHON_READ);
}

static PyObject *input_leave(const struct input *input, PyObject *result)
{
    if (input->server && input->server->python_calls)
        trace_python_leave(TRACE_PYTHON_READ, result == NULL);
    return result;
}

static PyObject *input_read(struct input *input, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t limit = input_limit("read", args, count);
    if (limit == -2)
        return NULL;
    input_enter(input);
    Py_ssize_t known = input_guess(input);
    /* A limit beyond what can come is no reason to allocate it. */
    bool all = limit < 0 || (limit > INPUT_STEP && limit > known);
    if (!all)
        return input_leave(input, input_read_some(input, limit));
    if (limit < 0 || !input->exchange || exchange_body_left(input->exchange) != UINT64_MAX)
        return input_leave(input, input_read_all(input));
    return input_leave(input, input_read_some(input, limit < (1 << 24) ? limit : (1 << 24)));
}

static PyObject *input_readline(struct input *input, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t limit = input_limit("readline", args, count);
    if (limit == -2)
        return NULL;
    input_enter(input);
    return input_leave(input, input_read_line(input, limit));
}

/* Lines, until they come to `hint` bytes. */
static PyObject *input_read_lines(struct input *input, Py_ssize_t hint)
{
    PyObject *lines = PyList_New(0);
    Py_ssize_t total = 0;
    while (lines && (hint <= 0 || total < hint)) {
        PyObject *line = input_read_line(input, -1);
        Py_ssize_t len = line ? PyBytes_GET_SIZE(line) : 0;
        if (!line || (len > 0 && PyList_Append(lines, line) < 0))
            Py_CLEAR(lines);
        Py_XDECREF(line);
        if (len == 0)
            break;
        total += len;
    }
    return lines;
}

static PyObject *input_readlines(struct input *input, PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t hint = input_limit("readlines", args, count);
    if (hint == -2)
        return NULL;
    input_enter(input);
    return input_leave(input, input_read_lines(input, hint));
}

static PyObject *input_next(struct input *input)
{
    input_enter(input);
    PyObject *line = input_leave(input, input_read_line(input, -1));
    if (line && PyBytes_GET_SIZE(line) == 0)
        Py_CLEAR(line);
    return line;
}

static PyObject *input_trailers(struct input *input, void *closure)
{
    (void)closure;
    struct slice section = {0};
    struct http_field field;
    PyObject *list = PyList_New(0);
    if (input->exchange)
        section = exchange_trailers(input->exchange);
    while (list && trailer_next(&section, &field)) {
        PyObject *pair = Py_BuildValue(
            "(NN)", PyUnicode_DecodeLatin1(field.name.data, (Py_ssize_t)field.name.len, NULL),
            PyUnicode_DecodeLatin1(field.value.data, (Py_ssize_t)field.value.len, NULL));
        if (!pair || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

static PyGetSetDef input_getset[] = {
    {"trailers", (getter)input_trailers, NULL,
     "The trailer fields of a chunked body that was read to its end, as [(name, value), ...], RFC "
     "9110 6.5. Those that mean something in a head only, as Host or Content-Length, are left out.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef input_methods[] = {
    {"read", (PyCFunction)(void (*)(void))input_read, METH_FASTCALL,
     "read($self, size=-1, /)\n--\n\nRead at most `size` bytes; all there are without it."},
    {"readline", (PyCFunction)(void (*)(void))input_readline, METH_FASTCALL,
     "readline($self, size=-1, /)\n--\n\nRead a line with its end, at most `size` bytes."},
    {"readlines", (PyCFunction)(void (*)(void))input_readlines, METH_FASTCALL,
     "readlines($self, hint=-1, /)\n--\n\nRead lines until they come to `hint` bytes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot input_slots[] = {
    {Py_tp_doc, "The body of a request, PEP 3333."},
    {Py_tp_dealloc, input_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, input_next},
    {Py_tp_methods, input_methods},
    {Py_tp_getset, input_getset},
    {0, NULL},
};

static PyType_Spec input_spec = {
    .name = "zolal._zolal.Input",
    .basicsize = sizeof(struct input),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = input_slots,
};

int input_type_add(PyObject *module)
{
    struct module_state *state = state_of_module(module);
    state->input_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &input_spec, NULL);
    return state->input_type ? 0 : -1;
}
