#include "python/recording.h"

#include "trace/recorder.h"

static PyObject *recording_start(PyObject *module, PyObject *args)
{
    struct module_state *state = state_of_module(module);
    struct error err = {0};
    Py_ssize_t size = 0;
    if (!PyArg_ParseTuple(args, "|n:recording_start", &size))
        return NULL;
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "size must not be negative");
        return NULL;
    }
    if (state->recording) {
        PyErr_SetString(PyExc_RuntimeError, "this process has a recording already");
        return NULL;
    }
    if (recording_create(&state->recording, (size_t)size, &err) < 0) {
        PyErr_SetString(PyExc_OSError, err.text);
        return NULL;
    }
    if (recorder_attach(state->recording) < 0) {
        recording_close(state->recording, true);
        state->recording = NULL;
        return PyErr_NoMemory();
    }
    return PyUnicode_DecodeFSDefault(recording_path(state->recording));
}

/* Detach the calling thread and end the recording, if there is one. */
static void recording_finish(struct module_state *state, bool remove)
{
    if (!state->recording)
        return;
    recorder_detach();
    recording_close(state->recording, remove);
    state->recording = NULL;
    if (state->call_names)
        PyDict_Clear(state->call_names); /* numbers of a recording that is gone */
}

static PyObject *recording_stop(PyObject *module, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"remove", NULL};
    int remove = 1;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|p:recording_stop", names, &remove))
        return NULL;
    recording_finish(state_of_module(module), remove);
    Py_RETURN_NONE;
}

void recording_end(PyObject *module)
{
    recording_finish(state_of_module(module), true);
}

static PyObject *recording_after_fork(PyObject *module, PyObject *unused)
{
    struct module_state *state = state_of_module(module);
    recorder_forget();
    if (state->recording)
        recording_forget(state->recording);
    state->recording = NULL;
    Py_RETURN_NONE;
}

static PyMethodDef recording_functions[] = {
    {"recording_start", recording_start, METH_VARARGS,
     "recording_start(size=0)\n--\n\nStart this process's recording; returns its path."},
    {"recording_stop", (PyCFunction)(void (*)(void))recording_stop, METH_VARARGS | METH_KEYWORDS,
     "recording_stop(remove=True)\n--\n\nEnd it; `remove`: delete the file."},
    {"_recording_after_fork", recording_after_fork, METH_NOARGS,
     "Forget the parent's recording, in a forked child."},
    {NULL, NULL, 0, NULL},
};

/* os.register_at_fork(after_in_child=_recording_after_fork) */
static int recording_watch_forks(PyObject *module)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *forget = PyObject_GetAttrString(module, "_recording_after_fork");
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

int recording_add(PyObject *module)
{
    if (PyModule_AddFunctions(module, recording_functions) < 0)
        return -1;
    return recording_watch_forks(module);
}
