#include "python/recording.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

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
    if (recorder_attach_until_end(state->recording) < 0) {
        recording_close(state->recording, true);
        state->recording = NULL;
        return PyErr_NoMemory();
    }
    return PyUnicode_DecodeFSDefault(recording_path(state->recording));
}

/* Numbers of a recording that is gone. */
static void recording_forget_names(struct module_state *state)
{
    if (state->call_names)
        PyDict_Clear(state->call_names);
    places_forget(&state->places);
}

/* Detach the calling thread and end the recording, if there is one. */
static void recording_finish(struct module_state *state, bool remove)
{
    if (!state->recording)
        return;
    recorder_detach();
    recording_close(state->recording, remove);
    state->recording = NULL;
    recording_forget_names(state);
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

static PyObject *recording_get_path(PyObject *module, PyObject *unused)
{
    const struct module_state *state = state_of_module(module);
    (void)unused;
    if (!state->recording)
        Py_RETURN_NONE;
    return PyUnicode_DecodeFSDefault(recording_path(state->recording));
}

void recording_end(PyObject *module)
{
    recording_finish(state_of_module(module), true);
}

void recording_after_fork(struct module_state *state)
{
    recorder_forget();
    if (state->recording)
        recording_forget(state->recording);
    state->recording = NULL;
    recording_forget_names(state);
}

/* Where this extension's code lies: the object that a function of it is in. */
struct own_code {
    uintptr_t inside, begin, end;
};

static int find_own_code(struct dl_phdr_info *object, size_t size, void *context)
{
    struct own_code *own = context;
    uintptr_t begin = UINTPTR_MAX, end = 0;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type != PT_LOAD)
            continue;
        uintptr_t from = object->dlpi_addr + part->p_vaddr;
        begin = from < begin ? from : begin;
        end = from + part->p_memsz > end ? from + part->p_memsz : end;
    }
    if (own->inside < begin || own->inside >= end)
        return 0;
    own->begin = begin;
    own->end = end;
    return 1;
}

static PyObject *recording_join_preload(PyObject *module, PyObject *unused)
{
    const char *(*join)(uintptr_t begin, uintptr_t end);
    void *found = dlsym(RTLD_DEFAULT, "zolal_preload_join");
    struct own_code own = {.inside = (uintptr_t)find_own_code};
    if (!found || dl_iterate_phdr(find_own_code, &own) == 0)
        Py_RETURN_NONE;
    memcpy(&join, &found, sizeof(join)); /* ISO C knows no cast for that */
    return PyUnicode_DecodeFSDefault(join(own.begin, own.end));
}

static PyMethodDef recording_functions[] = {
    {"recording_start", recording_start, METH_VARARGS,
     "recording_start(size=0)\n--\n\nStart this process's recording; returns its path."},
    {"recording_stop", (PyCFunction)(void (*)(void))recording_stop, METH_VARARGS | METH_KEYWORDS,
     "recording_stop(remove=True)\n--\n\nEnd it; `remove`: delete the file."},
    {"recording_path", recording_get_path, METH_NOARGS,
     "recording_path()\n--\n\nThe path of this process's recording; None: there is none."},
    {"recording_join_preload", recording_join_preload, METH_NOARGS,
     "recording_join_preload()\n--\n\nThe library of `zolal trace` records what others than this\n"
     "extension call: the path of its recording, None where it is not loaded, \"\" where it has "
     "none."},
    {NULL, NULL, 0, NULL},
};

int recording_add(PyObject *module)
{
    return PyModule_AddFunctions(module, recording_functions);
}
