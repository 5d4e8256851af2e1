#include "python/places.h"

#if PY_VERSION_HEX < 0x030B0000
#include <frameobject.h>
#endif

#include "python/calls.h"
#include "python/state.h"
#include "trace/recorder.h"

/* So many file names and places are remembered: code that is made as a program runs has ever new
 * ones. */
enum { REMEMBERED = 4096 };

/* What two frames that stand at the same instruction have in common. */
struct frame_key {
    PyCodeObject *code; /* lent by the frame */
    intptr_t instruction;
};

/* Of the instruction a frame stands at, the byte in its code. */
static int frame_instruction(PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030B0000
    return PyFrame_GetLasti(frame);
#else
    return frame->f_lasti * (int)sizeof(_Py_CODEUNIT);
#endif
}

/* The strings of a module's code objects are one, so this is a look-up of one that is hashed. */
static bool is_of_library(struct places *places, PyObject *file)
{
    PyObject *known = PyDict_GetItemWithError(places->files, file);
    if (known)
        return known == Py_True;
    bool is_library = false;
    PyObject *folders = places->folders;
    Py_ssize_t count = folders ? PyTuple_GET_SIZE(folders) : 0; /* ended by a finalizer */
    for (Py_ssize_t i = 0; !is_library && i < count; i++)
        is_library =
            PyUnicode_Tailmatch(file, PyTuple_GET_ITEM(folders, i), 0, PY_SSIZE_T_MAX, -1) > 0;
    if (PyDict_GET_SIZE(places->files) >= REMEMBERED)
        PyDict_Clear(places->files);
    PyDict_SetItem(places->files, file, is_library ? Py_True : Py_False);
    return is_library;
}

/* Is this frame of a library none of the task's? `is_asked`: there was one of the program, after
 * which only what awaits it belongs to it. What the loop runs it with never does. */
static bool is_outside_task(const struct module_state *state, const PyCodeObject *code,
                            bool is_asked)
{
    const int awaits = CO_COROUTINE | CO_ITERABLE_COROUTINE | CO_ASYNC_GENERATOR;
    return code->co_name == state->strings[STRING_RUN_HANDLE] ||
           (is_asked && !(code->co_flags & awaits));
}

/* From the innermost frame on; returns how many. They run as long as we do, and hold their code. */
static size_t frames_walk(struct module_state *state, struct frame_key *keys)
{
    size_t count = 0;
    bool is_task = recorder_here->connection == TRACE_TASKS, is_asked = false;
    PyFrameObject *frame = PyEval_GetFrame();
    Py_XINCREF(frame);
    while (frame && count < TRACE_FRAMES_MAX) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        bool is_library = is_of_library(&state->places, code->co_filename);
        bool is_over = is_task && is_library && is_outside_task(state, code, is_asked);
        is_asked |= !is_library;
        if (!is_over)
            keys[count++] = (struct frame_key){code, frame_instruction(frame)};
        PyFrameObject *outer = is_over || (is_asked && !is_task) ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(code);
        Py_DECREF(frame);
        frame = outer;
    }
    Py_XDECREF(frame);
    return count;
}

static uint32_t place_write(struct module_state *state, const struct frame_key *keys, size_t count)
{
    struct trace_frame frames[TRACE_FRAMES_MAX];
    for (size_t i = 0; i < count; i++) {
        int line = PyCode_Addr2Line(keys[i].code, (int)keys[i].instruction);
        frames[i].name = calls_name(state, keys[i].code);
        frames[i].line = line > 0 ? (uint32_t)line : 0;
    }
    return trace_name(slice_of((const char *)frames, count * sizeof(*frames)));
}

/* With the code objects, so that their addresses stay theirs. */
static void place_remember(struct places *places, PyObject *bytes, const struct frame_key *keys,
                           size_t count, uint32_t number)
{
    PyObject *value = PyTuple_New((Py_ssize_t)count + 1);
    PyObject *first = value ? PyLong_FromUnsignedLong(number) : NULL;
    if (first) {
        PyTuple_SET_ITEM(value, 0, first);
        for (size_t i = 0; i < count; i++)
            PyTuple_SET_ITEM(value, (Py_ssize_t)i + 1, Py_NewRef((PyObject *)keys[i].code));
        if (PyDict_GET_SIZE(places->numbers) < REMEMBERED)
            PyDict_SetItem(places->numbers, bytes, value);
    }
    Py_XDECREF(value);
}

uint32_t places_here(struct module_state *state)
{
    struct places *places = &state->places;
    struct frame_key keys[TRACE_FRAMES_MAX];
    uint32_t number = 0;
    size_t count = frames_walk(state, keys);
    PyObject *bytes =
        PyBytes_FromStringAndSize((const char *)keys, (Py_ssize_t)(count * sizeof(*keys)));
    PyObject *known = bytes ? PyDict_GetItemWithError(places->numbers, bytes) : NULL;
    if (known) {
        number = (uint32_t)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(known, 0));
    } else if (bytes && count > 0) {
        number = place_write(state, keys, count);
        place_remember(places, bytes, keys, count, number);
    }
    Py_XDECREF(bytes);
    PyErr_Clear();
    return number;
}

void places_forget(struct places *places)
{
    if (places->numbers)
        PyDict_Clear(places->numbers); /* none: the module goes away */
}

int places_init(struct places *places)
{
    places->files = PyDict_New();
    places->numbers = PyDict_New();
    return places->files && places->numbers ? 0 : -1;
}

static bool are_folders(PyObject *folders)
{
    if (!PyTuple_Check(folders))
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(folders); i++)
        if (!PyUnicode_Check(PyTuple_GET_ITEM(folders, i)))
            return false;
    return true;
}

static PyObject *places_record(PyObject *module, PyObject *folders)
{
    struct places *places = &state_of_module(module)->places;
    if (folders != Py_None && !are_folders(folders)) {
        PyErr_SetString(PyExc_TypeError, "record_places() takes a tuple of str, or None");
        return NULL;
    }
    PyDict_Clear(places->files);
    Py_XSETREF(places->folders, folders == Py_None ? NULL : Py_NewRef(folders));
    Py_RETURN_NONE;
}

static PyMethodDef places_functions[] = {
    {"record_places", places_record, METH_O,
     "record_places(folders, /)\n--\n\n"
     "From now on each call of a socket is recorded with the lines of Python that led to it, out\n"
     "to the first whose file begins with none of `folders`. None: not any more."},
    {NULL, NULL, 0, NULL},
};

int places_add(PyObject *module)
{
    return PyModule_AddFunctions(module, places_functions);
}
