#include "python/reader_type.h"

#include <errno.h>
#include <structmember.h>

#include "trace/reader.h"

struct reader_object {
    PyObject_HEAD struct reader *reader; /* NULL: closed */
};

enum { EVENT_FIELDS = 17, EVENT_IN_SEQUENCE = 12 };

static PyStructSequence_Field event_fields[EVENT_FIELDS + 1] = {
    {"kind", "call, request_begin, request_end, state, python_enter, python_leave, python_yield, "
             "python_resume, python_switch, python_whole, first_line, lost"},
    {"op", "the call's name, the state left, what Python was called for, received or sent"},
    {"thread", "gettid(2)"},
    {"connection", "its number, 0: none"},
    {"request", "its number, 0: none"},
    {"begin_ns", "CLOCK_MONOTONIC"},
    {"end_ns", "CLOCK_MONOTONIC"},
    {"fd", "descriptor, -1: none"},
    {"argument", "as src/trace/event.h says"},
    {"result", "-errno on failure"},
    {"name", "what is called"},
    {"args", "more arguments, as src/trace/event.h says"},
    {"place", "of a call: the lines of Python that led to it; of a python_whole: what is called"},
    {"encrypted", "of a call: the bytes that it moved begin a TLS record"},
    {"under_way", "of a python_enter: it had begun before Python calls were recorded here"},
    {"resumed", "of a python_whole: it began as a python_resume"},
    {"suspended", "of a python_whole: it ended as a python_yield"},
    {NULL, NULL},
};

static PyStructSequence_Desc event_desc = {
    .name = "zolal._zolal.Event",
    .doc = "One event of a recording.",
    .fields = event_fields,
    .n_in_sequence = EVENT_IN_SEQUENCE,
};

static const char *event_kind(const struct trace_event *event)
{
    static const char *const names[] = {
        [TRACE_CALL] = "call",
        [TRACE_REQUEST_BEGIN] = "request_begin",
        [TRACE_REQUEST_END] = "request_end",
        [TRACE_STATE] = "state",
        [TRACE_PYTHON_ENTER] = "python_enter",
        [TRACE_PYTHON_LEAVE] = "python_leave",
        [TRACE_FIRST_LINE] = "first_line",
        [TRACE_PYTHON_YIELD] = "python_yield",
        [TRACE_PYTHON_RESUME] = "python_resume",
        [TRACE_PYTHON_SWITCH] = "python_switch",
        [TRACE_PYTHON_WHOLE] = "python_whole",
        [TRACE_LOST] = "lost",
    };
    const char *name = event->kind <= TRACE_LOST ? names[event->kind] : NULL;
    return name ? name : "unknown";
}

/* A name from a table; numbers beyond it (a damaged file) are "?". */
static const char *name_of(const char *const *names, size_t count, unsigned number)
{
    return number < count ? names[number] : "?";
}

static const char *event_operation(const struct trace_event *event)
{
    static const char *const calls[] = {
#define X(name, text) text,
        TRACE_OPERATIONS(X)
#undef X
    };
    static const char *const python[] = {
#define X(name, text) text,
        TRACE_PYTHON_CALLS(X)
#undef X
    };
    static const char *const ways[] = {[TRACE_RECEIVED] = "received", [TRACE_SENT] = "sent"};
    switch (event->kind) {
    case TRACE_FIRST_LINE:
        return name_of(ways, sizeof(ways) / sizeof(*ways), event->op);
    case TRACE_CALL: /* of TRACE_OTHER: event_name */
        return name_of(calls, TRACE_OPERATION_COUNT, event->op);
    case TRACE_PYTHON_ENTER:
    case TRACE_PYTHON_LEAVE:
    case TRACE_PYTHON_YIELD:
    case TRACE_PYTHON_RESUME:
    case TRACE_PYTHON_SWITCH:
    case TRACE_PYTHON_WHOLE:
        return name_of(python, TRACE_PYTHON_COUNT, event->op);
    default:
        return "";
    }
}

static PyObject *name_object(struct reader *reader, uint32_t number)
{
    struct slice name = reader_name(reader, number);
    return PyUnicode_DecodeUTF8(name.data ? name.data : "", (Py_ssize_t)name.len, "replace");
}

/* (("function (file)", line), ...), the innermost first. */
static PyObject *place_object(struct reader *reader, uint32_t place)
{
    struct trace_frame frames[TRACE_FRAMES_MAX];
    size_t count = reader_place(reader, place, frames);
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple && i < count; i++) {
        PyObject *frame =
            Py_BuildValue("NI", name_object(reader, frames[i].name), (unsigned)frames[i].line);
        if (frame)
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, frame);
        else
            Py_CLEAR(tuple);
    }
    return tuple;
}

/* A call of another kind has its name among the recording's, and the number of that above its own.
 */
static PyObject *event_name(struct reader *reader, const struct trace_event *event)
{
    if (event->kind == TRACE_CALL && event->op == TRACE_OTHER && event->argument >> 32 != 0)
        return name_object(reader, (uint32_t)(event->argument >> 32));
    if (event->kind == TRACE_CALL && event->op == TRACE_OTHER)
        return PyUnicode_FromFormat("syscall_%llu", (unsigned long long)event->argument);
    return PyUnicode_InternFromString(event_operation(event));
}

static PyObject *event_object(struct module_state *state, struct reader *reader,
                              const struct reader_event *from)
{
    const struct trace_event *event = &from->event;
    bool has_place = event->kind == TRACE_CALL || event->kind == TRACE_PYTHON_WHOLE;
    unsigned flags = event->flags;
    PyObject *object = PyStructSequence_New(state->event_type);
    if (!object)
        return NULL;
    PyObject *values[EVENT_FIELDS] = {
        PyUnicode_InternFromString(event_kind(event)),
        event_name(reader, event),
        PyLong_FromUnsignedLong(from->thread),
        PyLong_FromUnsignedLong(event->connection),
        PyLong_FromUnsignedLongLong(event->request),
        PyLong_FromUnsignedLongLong(reader_monotonic_ns(reader, event->t0)),
        PyLong_FromUnsignedLongLong(reader_monotonic_ns(reader, event->t1)),
        PyLong_FromLong(event->fd),
        PyLong_FromUnsignedLongLong(event->argument),
        PyLong_FromLongLong(event->result),
        name_object(reader, has_place ? 0 : event->name),
        PyBytes_FromStringAndSize((const char *)from->args, (Py_ssize_t)from->args_len),
        place_object(reader, has_place ? event->name : 0),
        PyBool_FromLong(event->kind == TRACE_CALL && (flags & TRACE_ENCRYPTED)),
        PyBool_FromLong(event->kind == TRACE_PYTHON_ENTER && (flags & TRACE_UNDER_WAY)),
        PyBool_FromLong(event->kind == TRACE_PYTHON_WHOLE && (flags & TRACE_RESUMED)),
        PyBool_FromLong(event->kind == TRACE_PYTHON_WHOLE && (flags & TRACE_SUSPENDED)),
    };
    bool failed = false;
    for (Py_ssize_t i = 0; i < EVENT_FIELDS; i++) {
        failed |= !values[i];
        PyStructSequence_SetItem(object, i, values[i]);
    }
    if (failed)
        Py_CLEAR(object);
    return object;
}

static int reader_object_init(struct reader_object *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "offset", NULL};
    PyObject *path;
    unsigned long long offset = 0;
    struct error err = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O&|K:Reader", names, PyUnicode_FSConverter,
                                     &path, &offset))
        return -1;
    if (self->reader)
        reader_close(self->reader);
    self->reader = NULL;
    int result = reader_open(&self->reader, PyBytes_AS_STRING(path), offset, &err);
    Py_DECREF(path);
    if (result == 0)
        return 0;
    if (result == -EINVAL || result == -EPROTO) {
        PyErr_SetString(PyExc_ValueError, err.text);
        return -1;
    }
    PyObject *arguments = Py_BuildValue("(is)", err.code, err.text);
    if (arguments)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
    return -1;
}

static bool reader_object_check(const struct reader_object *self)
{
    if (!self->reader)
        PyErr_SetString(PyExc_ValueError, "the reader is closed");
    return self->reader != NULL;
}

static PyObject *reader_object_read(struct reader_object *self, PyObject *args)
{
    Py_ssize_t most = 10000;
    struct module_state *state = state_of_type(Py_TYPE(self));
    struct reader_event event;
    if (!PyArg_ParseTuple(args, "|n:read", &most) || !reader_object_check(self))
        return NULL;
    PyObject *events = PyList_New(0);
    while (events && PyList_GET_SIZE(events) < most && reader_next(self->reader, &event) == 1) {
        PyObject *object = event_object(state, self->reader, &event);
        if (!object || PyList_Append(events, object) < 0)
            Py_CLEAR(events);
        Py_XDECREF(object);
    }
    return events;
}

static PyObject *reader_object_noted(struct reader_object *self, PyObject *unused)
{
    struct module_state *state = state_of_type(Py_TYPE(self));
    struct reader_event event;
    if (!reader_object_check(self))
        return NULL;
    PyObject *events = PyList_New(0);
    int found = 0;
    for (uint32_t number = 0; events && found >= 0; number++) {
        found = reader_under_way(self->reader, number, &event);
        PyObject *object = found == 1 ? event_object(state, self->reader, &event) : NULL;
        if (found == 1 && (!object || PyList_Append(events, object) < 0))
            Py_CLEAR(events);
        Py_XDECREF(object);
    }
    return events;
}

static PyObject *reader_object_close(struct reader_object *self, PyObject *unused)
{
    if (self->reader)
        reader_close(self->reader);
    self->reader = NULL;
    Py_RETURN_NONE;
}

static PyObject *reader_object_pid(struct reader_object *self, void *unused)
{
    if (!reader_object_check(self))
        return NULL;
    return PyLong_FromUnsignedLong(reader_header(self->reader)->pid);
}

static PyObject *reader_object_ended(struct reader_object *self, void *unused)
{
    if (!reader_object_check(self))
        return NULL;
    return PyBool_FromLong(reader_header(self->reader)->state == RECORDING_ENDED);
}

/* What an array of the header holds, up to the first NUL; `len` > 0: all up to there. */
static PyObject *header_text(const char *text, size_t size, size_t len)
{
    size_t used = len > 0 ? len : strnlen(text, size);
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)used, "replace");
}

/* Of arguments with a NUL behind each. */
static size_t program_len(const struct recording_header *header)
{
    size_t len = sizeof(header->program);
    while (len > 0 && header->program[len - 1] == '\0')
        len--;
    return len;
}

static PyObject *reader_object_header(struct reader_object *self, PyObject *unused)
{
    if (!reader_object_check(self))
        return NULL;
    const struct recording_header *header = reader_header(self->reader);
    size_t len = program_len(header);
    PyObject *program = len ? header_text(header->program, 0, len) : PyUnicode_FromString("");
    return Py_BuildValue(
        "{sIsIsNsNsNsKsKsIsK}", "pid", header->pid, "parent", header->parent, "program", program,
        "python", header_text(header->python, sizeof(header->python), 0), "note",
        header_text(header->note, sizeof(header->note), 0), "began_monotonic_ns",
        (unsigned long long)header->calibration.monotonic_ns, "began_realtime_ns",
        (unsigned long long)header->calibration.realtime_ns, "filled_up",
        (unsigned)header->filled_up, "dropped", (unsigned long long)header->dropped);
}

static PyObject *reader_object_copy(struct reader_object *self, PyObject *args)
{
    int fd;
    if (!PyArg_ParseTuple(args, "i:copy", &fd) || !reader_object_check(self))
        return NULL;
    int64_t result = reader_copy(self->reader, fd);
    if (result >= 0)
        return PyLong_FromLongLong(result);
    errno = (int)-result;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static void reader_object_dealloc(struct reader_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->reader)
        reader_close(self->reader);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef reader_methods[] = {
    {"read", (PyCFunction)reader_object_read, METH_VARARGS,
     "read($self, most=10000, /)\n--\n\nWhat is new, oldest first; [] when there is nothing."},
    {"noted", (PyCFunction)reader_object_noted, METH_NOARGS,
     "noted($self)\n--\n\nThe latest call that each thread is known to have begun, without its "
     "end; one\n"
     "whose begin_ns a call of the thread's has is over."},
    {"header", (PyCFunction)reader_object_header, METH_NOARGS,
     "header($self)\n--\n\nWhose recording it is, by the names of src/trace/recording.h; "
     "`program`:\n"
     "its arguments, NULs between them."},
    {"copy", (PyCFunction)reader_object_copy, METH_VARARGS,
     "copy($self, fd, /)\n--\n\nWrite a recording of what this one has, without its holes. "
     "Returns\n"
     "how many bytes that were."},
    {"close", (PyCFunction)reader_object_close, METH_NOARGS, "close($self)\n--\n\nClose it."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef reader_members[] = {
    {"pid", (getter)reader_object_pid, NULL, "The writer's process.", NULL},
    {"ended", (getter)reader_object_ended, NULL, "The writer has ended the recording.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "Reader(path, offset=0)\n--\n\nReads a recording, live or after its process is "
                "gone; offset: where\n"
                "it begins in a file of several."},
    {Py_tp_init, reader_object_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, reader_object_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_getset, reader_members},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "zolal._zolal.Reader",
    .basicsize = sizeof(struct reader_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = reader_slots,
};

int reader_type_add(PyObject *module)
{
    struct module_state *state = state_of_module(module);
    state->event_type = PyStructSequence_NewType(&event_desc);
    if (!state->event_type || PyModule_AddType(module, state->event_type) < 0)
        return -1;
    state->reader_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &reader_spec, NULL);
    return state->reader_type ? PyModule_AddType(module, state->reader_type) : -1;
}
