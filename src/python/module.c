/* The extension module zolal._zolal: the C core for Python. Multi-phase initialisation (PEP 489).
 */
#include "python/state.h"

#include "python/calls.h"
#include "python/echo_type.h"
#include "python/exact.h"
#include "python/places.h"
#include "python/reader_type.h"
#include "python/recording.h"
#include "python/server_type.h"
#include "python/signal_pipe.h"
#include "python/socket/socket_type.h"
#include "python/wsgi/file_wrapper.h"
#include "python/wsgi/input.h"
#include "python/wsgi/responder.h"
#include "server/limits.h"

static struct PyModuleDef module_def;

struct module_state *state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

struct module_state *state_of_type(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030B0000
    PyObject *module = PyType_GetModuleByDef(type, &module_def);
    return module ? PyModule_GetState(module) : NULL;
#else
    /* A class that Python code derives from one of ours has no module itself. */
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(type->tp_mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(type->tp_mro, i);
        PyObject *module = PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE)
                               ? ((PyHeapTypeObject *)base)->ht_module
                               : NULL;
        if (module && PyModule_GetDef(module) == &module_def)
            return PyModule_GetState(module);
    }
    return NULL;
#endif
}

static int module_add_strings(struct module_state *state)
{
    static const char *const texts[STATE_STRING_COUNT] = {
#define X(name, text) text,
        STATE_STRINGS(X)
#undef X
    };
    for (int i = 0; i < STATE_STRING_COUNT; i++) {
        state->strings[i] = PyUnicode_InternFromString(texts[i]);
        if (!state->strings[i])
            return -1;
    }
    return 0;
}

/* limits: name -> (default, meaning). */
static int module_add_limits(PyObject *module)
{
    static const struct {
        const char *name;
        unsigned long long value;
        const char *meaning;
    } rows[] = {
#define X(name, value, meaning) {#name, value, meaning},
        LIMITS(X)
#undef X
    };
    PyObject *limits = PyDict_New();
    for (size_t i = 0; limits && i < sizeof(rows) / sizeof(rows[0]); i++) {
        PyObject *row = Py_BuildValue("(Ks)", rows[i].value, rows[i].meaning);
        if (!row || PyDict_SetItemString(limits, rows[i].name, row) < 0)
            Py_CLEAR(limits);
        Py_XDECREF(row);
    }
    if (!limits)
        return -1;
    int result = PyModule_AddObjectRef(module, "limits", limits);
    Py_DECREF(limits);
    return result;
}

/* The types of what open(..., "rb") gives. */
static int module_import_io(struct module_state *state)
{
    PyObject *io = PyImport_ImportModule("io");
    if (io) {
        state->file_io = (PyTypeObject *)PyObject_GetAttrString(io, "FileIO");
        state->buffered_reader = (PyTypeObject *)PyObject_GetAttrString(io, "BufferedReader");
        state->buffered_random = (PyTypeObject *)PyObject_GetAttrString(io, "BufferedRandom");
    }
    Py_XDECREF(io);
    return state->file_io && state->buffered_reader && state->buffered_random ? 0 : -1;
}

static PyObject *module_after_fork(PyObject *module, PyObject *unused)
{
    (void)unused;
    recording_after_fork(state_of_module(module));
    signal_pipe_forget(state_of_module(module));
    Py_RETURN_NONE;
}

static PyMethodDef module_functions[] = {
    {"_after_fork", module_after_fork, METH_NOARGS,
     "Forget what is the parent's, in a forked child."},
    {NULL, NULL, 0, NULL},
};

/* os.register_at_fork(after_in_child=_after_fork) */
static int module_watch_forks(PyObject *module)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *forget = PyObject_GetAttrString(module, "_after_fork");
    PyObject *watch = os ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    PyObject *names = Py_BuildValue("(s)", "after_in_child");
    PyObject *result = NULL;
    if (forget && watch && names)
        result = PyObject_Vectorcall(watch, &forget, 0, names);
    Py_XDECREF(names);
    Py_XDECREF(watch);
    Py_XDECREF(forget);
    Py_XDECREF(os);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int module_exec(PyObject *module)
{
    struct module_state *state = state_of_module(module);
    if (module_add_strings(state) < 0 || calls_init(state) < 0 || places_init(&state->places) < 0 ||
        module_import_io(state) < 0 || signal_pipe_init(state) < 0)
        return -1;
    if (PyModule_AddStringConstant(module, "version", ZOLAL_VERSION) < 0)
        return -1;
    if (module_add_limits(module) < 0 || recording_add(module) < 0 || calls_add(module) < 0 ||
        places_add(module) < 0 || exact_add(module) < 0)
        return -1;
    if (PyModule_AddFunctions(module, module_functions) < 0 || module_watch_forks(module) < 0)
        return -1;
    if (file_wrapper_type_add(module) < 0 || input_type_add(module) < 0 ||
        responder_type_add(module) < 0 || server_type_add(module) < 0)
        return -1;
    if (socket_type_add(module) < 0 || socket_functions_add(module) < 0 || aio_add(module) < 0)
        return -1;
    return reader_type_add(module) < 0 ? -1 : echo_type_add(module);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module_state *state = state_of_module(module);
    Py_VISIT(state->call_names);
    Py_VISIT(state->places.folders);
    Py_VISIT(state->places.files);
    Py_VISIT(state->places.numbers);
    Py_VISIT(state->server_type);
    Py_VISIT(state->echo_type);
    Py_VISIT(state->responder_type);
    Py_VISIT(state->input_type);
    Py_VISIT(state->file_wrapper_type);
    Py_VISIT(state->reader_type);
    Py_VISIT(state->event_type);
    Py_VISIT(state->socket_type);
    Py_VISIT(state->file_io);
    Py_VISIT(state->buffered_reader);
    Py_VISIT(state->buffered_random);
    Py_VISIT(state->set_wakeup_fd);
    return aio_traverse(&state->aio, visit, arg);
}

static int module_clear(PyObject *module)
{
    struct module_state *state = state_of_module(module);
    for (int i = 0; i < STATE_STRING_COUNT; i++)
        Py_CLEAR(state->strings[i]);
    Py_CLEAR(state->call_names);
    Py_CLEAR(state->places.folders);
    Py_CLEAR(state->places.files);
    Py_CLEAR(state->places.numbers);
    Py_CLEAR(state->server_type);
    Py_CLEAR(state->echo_type);
    Py_CLEAR(state->responder_type);
    Py_CLEAR(state->input_type);
    Py_CLEAR(state->file_wrapper_type);
    Py_CLEAR(state->reader_type);
    Py_CLEAR(state->event_type);
    Py_CLEAR(state->socket_type);
    Py_CLEAR(state->file_io);
    Py_CLEAR(state->buffered_reader);
    Py_CLEAR(state->buffered_random);
    Py_CLEAR(state->set_wakeup_fd);
    aio_clear(&state->aio);
    return 0;
}

static void module_free(void *module)
{
    recording_end(module);
    module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "zolal._zolal",
    .m_doc = "The C core of zolal. Not a public interface: see the type stub beside it.",
    .m_size = sizeof(struct module_state),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__zolal(void);

PyMODINIT_FUNC PyInit__zolal(void)
{
#ifdef Py_GIL_DISABLED
    PyErr_SetString(PyExc_ImportError,
                    "zolal does not support free-threaded Python yet: use a build with the GIL");
    return NULL;
#else
    return PyModuleDef_Init(&module_def);
#endif
}
