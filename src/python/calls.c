#include "python/calls.h"

#include "python/recording.h"
#include "trace/recorder.h"

int calls_init(struct module_state *state)
{
    state->call_names = PyDict_New();
    return state->call_names ? 0 : -1;
}

/* "qualname (file)", written into the recording. 0 when that fails. */
static uint32_t calls_write_name(struct module_state *state, PyCodeObject *code)
{
    PyObject *qualname = PyObject_GetAttr((PyObject *)code, state->strings[STRING_CO_QUALNAME]);
    if (!qualname) { /* Python 3.10 */
        PyErr_Clear();
        qualname = Py_NewRef(code->co_name);
    }
    PyObject *text = PyUnicode_FromFormat("%U (%U)", qualname, code->co_filename);
    Py_DECREF(qualname);
    if (!text)
        return 0;
    Py_ssize_t len;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &len);
    uint32_t name = utf8 ? trace_name(slice_of(utf8, (size_t)len)) : 0;
    Py_DECREF(text);
    return name;
}

/* The dict keeps the code alive, so that its address is its own. */
uint32_t calls_name(struct module_state *state, PyCodeObject *code)
{
    PyObject *known = PyDict_GetItemWithError(state->call_names, (PyObject *)code);
    if (known)
        return (uint32_t)PyLong_AsUnsignedLong(known);
    if (PyErr_Occurred())
        return 0;
    uint32_t name = calls_write_name(state, code);
    PyObject *number = PyLong_FromUnsignedLong(name);
    if (number && name > 0)
        PyDict_SetItem(state->call_names, (PyObject *)code, number);
    Py_XDECREF(number);
    return name;
}

/* The code that runs when `callee` is called, a new reference, or NULL when it is not Python's. */
static PyCodeObject *calls_code(PyObject *callee)
{
    if (PyMethod_Check(callee))
        callee = PyMethod_GET_FUNCTION(callee);
    if (PyFunction_Check(callee))
        return (PyCodeObject *)Py_NewRef(PyFunction_GET_CODE(callee));
    PyObject *call = PyObject_GetAttrString((PyObject *)Py_TYPE(callee), "__call__");
    PyCodeObject *code = NULL;
    if (call && PyFunction_Check(call))
        code = (PyCodeObject *)Py_NewRef(PyFunction_GET_CODE(call));
    Py_XDECREF(call);
    PyErr_Clear();
    return code;
}

/* A generator's code and the line where it goes on; or what an iterator's __next__ is. */
static PyCodeObject *calls_next_code(struct module_state *state, PyObject *iterator, int *line)
{
    if (PyGen_Check(iterator)) {
        PyObject *code = PyObject_GetAttrString(iterator, "gi_code");
        PyObject *frame = PyObject_GetAttr(iterator, state->strings[STRING_GI_FRAME]);
        PyObject *lineno = frame && frame != Py_None
                               ? PyObject_GetAttr(frame, state->strings[STRING_F_LINENO])
                               : NULL;
        *line = lineno && lineno != Py_None ? (int)PyLong_AsLong(lineno) : 0;
        Py_XDECREF(lineno);
        Py_XDECREF(frame);
        return (PyCodeObject *)code;
    }
    PyObject *next = PyObject_GetAttrString((PyObject *)Py_TYPE(iterator), "__next__");
    PyCodeObject *code = NULL;
    if (next && PyFunction_Check(next))
        code = (PyCodeObject *)Py_NewRef(PyFunction_GET_CODE(next));
    Py_XDECREF(next);
    return code;
}

/* What is not Python's: "generator.close", or the name of its type. */
static uint32_t calls_builtin_name(PyObject *callee)
{
    const char *type = Py_TYPE(callee)->tp_name;
    char text[128];
    if (PyCFunction_Check(callee)) {
        PyObject *self = PyCFunction_GetSelf(callee);
        const PyCFunctionObject *function = (const PyCFunctionObject *)callee;
        snprintf(text, sizeof(text), "%.60s.%.60s", self ? Py_TYPE(self)->tp_name : "builtins",
                 function->m_ml->ml_name);
        type = text;
    }
    return trace_name(slice_of_text(type));
}

void calls_enter(struct module_state *state, enum trace_python what, PyObject *callee)
{
    int line = 0;
    uint32_t name = 0;
    PyCodeObject *code =
        what == TRACE_PYTHON_NEXT ? calls_next_code(state, callee, &line) : calls_code(callee);
    if (code) {
        name = calls_name(state, code);
        line = line > 0 ? line : code->co_firstlineno;
        Py_DECREF(code);
    } else {
        name = calls_builtin_name(callee);
    }
    PyErr_Clear();
    trace_python_enter(what, name, (uint32_t)line);
}

void calls_enter_from_application(struct module_state *state, enum trace_python what)
{
    PyFrameObject *frame = PyEval_GetFrame();
    if (!frame) {
        trace_python_enter(what, 0, 0);
        return;
    }
    PyCodeObject *code = PyFrame_GetCode(frame);
    uint32_t name = calls_name(state, code);
    Py_DECREF(code);
    PyErr_Clear();
    trace_python_enter(what, name, (uint32_t)PyFrame_GetLineNumber(frame));
}

/* The number of a text as a name, remembered; 0: there are no names any more. -1: an exception is
 * set. */
static int64_t calls_text_name(struct module_state *state, PyObject *text)
{
    PyObject *known = PyDict_GetItemWithError(state->call_names, text);
    if (known)
        return (int64_t)PyLong_AsUnsignedLong(known);
    Py_ssize_t len;
    const char *utf8 = PyErr_Occurred() ? NULL : PyUnicode_AsUTF8AndSize(text, &len);
    if (!utf8)
        return -1;
    uint32_t name = trace_name(slice_of(utf8, (size_t)len));
    PyObject *number = PyLong_FromUnsignedLong(name);
    int result = number ? 0 : -1;
    if (number && name > 0)
        result = PyDict_SetItem(state->call_names, text, number);
    Py_XDECREF(number);
    return result < 0 ? -1 : (int64_t)name;
}

/* The last argument, "call" where there is none. -1 with TypeError set. */
static int calls_kind(PyObject *const *args, Py_ssize_t count, Py_ssize_t at)
{
    static const char *const texts[TRACE_PYTHON_COUNT] = {
#define X(name, text) text,
        TRACE_PYTHON_CALLS(X)
#undef X
    };
    if (count <= at)
        return TRACE_PYTHON_CALL;
    for (int kind = 0; PyUnicode_Check(args[at]) && kind < TRACE_PYTHON_COUNT; kind++)
        if (PyUnicode_CompareWithASCIIString(args[at], texts[kind]) == 0)
            return kind;
    PyErr_Format(PyExc_TypeError, "%R is no kind of call", args[at]);
    return -1;
}

static PyObject *calls_trace_enter(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct module_state *state = state_of_module(module);
    long line = 0;
    if (count < 1 || count > 3 || !PyUnicode_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "trace_enter(text, line=0) takes a str and an int");
        return NULL;
    }
    int kind = calls_kind(args, count, 2);
    if (kind < 0)
        return NULL;
    if (count >= 2 && (line = PyLong_AsLong(args[1])) == -1 && PyErr_Occurred())
        return NULL;
    recording_join(state);
    if (recorder_here) {
        int64_t name = calls_text_name(state, args[0]);
        if (name < 0)
            return NULL;
        trace_python_enter((enum trace_python)kind, (uint32_t)name, line > 0 ? (uint32_t)line : 0);
    }
    Py_RETURN_NONE;
}

static PyObject *calls_trace_leave(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    int failed = count > 0 ? PyObject_IsTrue(args[0]) : 0;
    int kind = failed < 0 ? -1 : calls_kind(args, count, 1);
    if (kind < 0)
        return NULL;
    trace_python_leave((enum trace_python)kind, failed);
    Py_RETURN_NONE;
}

static PyObject *calls_trace_subject(PyObject *module, PyObject *args)
{
    unsigned connection;
    unsigned long long request = 0;
    if (!PyArg_ParseTuple(args, "I|K:trace_subject", &connection, &request))
        return NULL;
    recording_join(state_of_module(module));
    trace_subject(connection, request);
    Py_RETURN_NONE;
}

static PyObject *calls_trace_request_begin(PyObject *module, PyObject *args)
{
    const char *method, *target;
    Py_ssize_t method_len, target_len;
    (void)module;
    if (!PyArg_ParseTuple(args, "s#s#:trace_request_begin", &method, &method_len, &target,
                          &target_len))
        return NULL;
    trace_request_begin(slice_of(method, (size_t)method_len), slice_of(target, (size_t)target_len));
    Py_RETURN_NONE;
}

static PyObject *calls_trace_request_end(PyObject *module, PyObject *args)
{
    int status;
    unsigned long long bytes;
    (void)module;
    if (!PyArg_ParseTuple(args, "iK:trace_request_end", &status, &bytes))
        return NULL;
    trace_request_end(status, bytes);
    Py_RETURN_NONE;
}

static PyMethodDef calls_functions[] = {
    {"trace_enter", (PyCFunction)(void (*)(void))calls_trace_enter, METH_FASTCALL,
     "trace_enter(text, line=0, kind='call', /)\n--\n\n"
     "Record that a call begins: \"what (file)\", its line."},
    {"trace_leave", (PyCFunction)(void (*)(void))calls_trace_leave, METH_FASTCALL,
     "trace_leave(failed=False, kind='call', /)\n--\n\nRecord that it is over."},
    {"trace_subject", calls_trace_subject, METH_VARARGS,
     "trace_subject(connection, request=0, /)\n--\n\nWhat follows in this thread belongs to them."},
    {"trace_request_begin", calls_trace_request_begin, METH_VARARGS,
     "trace_request_begin(method, target, /)\n--\n\nThe request has been read."},
    {"trace_request_end", calls_trace_request_end, METH_VARARGS,
     "trace_request_end(status, bytes, /)\n--\n\nIt is answered."},
    {NULL, NULL, 0, NULL},
};

int calls_add(PyObject *module)
{
    PyObject *tasks = PyLong_FromUnsignedLong(TRACE_TASKS);
    int result = tasks ? PyModule_AddObjectRef(module, "TASKS", tasks) : -1;
    Py_XDECREF(tasks);
    return result < 0 ? -1 : PyModule_AddFunctions(module, calls_functions);
}
