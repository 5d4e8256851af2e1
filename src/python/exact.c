#include "python/exact.h"

#include "base/memory.h"
#include "exact/launch.h"
#include "python/exception.h"

#define PAGE_NAME "zolal._zolal.exact_page"

static void page_free(PyObject *capsule)
{
    launch_end(PyCapsule_GetPointer(capsule, PAGE_NAME));
}

/* (pid, page) */
static PyObject *begun(pid_t pid, struct tracer_page *page, const struct error *err)
{
    if (pid < 0)
        return exception_raise(err);
    PyObject *capsule = PyCapsule_New(page, PAGE_NAME, page_free);
    return capsule ? Py_BuildValue("(iN)", (int)pid, capsule) : NULL;
}

/* What a sequence of bytes objects holds, with NULL behind it, for exec(3); the bytes stay the
 * sequence's. NULL with an exception set. */
static char **strings_of(PyObject *sequence)
{
    Py_ssize_t count = PyList_Check(sequence) ? PyList_GET_SIZE(sequence) : -1;
    char **strings = count < 0 ? NULL : memory_new_array((size_t)count + 1, sizeof(*strings));
    if (!strings)
        return count < 0 ? (PyErr_SetString(PyExc_TypeError, "a list is wanted"), NULL)
                         : (char **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++) {
        if (PyBytes_AsStringAndSize(PyList_GET_ITEM(sequence, i), &strings[i], NULL) < 0) {
            memory_free(strings);
            return NULL;
        }
    }
    strings[count] = NULL;
    return strings;
}

static int mask_of(PyObject *numbers, sigset_t *mask)
{
    sigemptyset(mask);
    PyObject *iterator = PyObject_GetIter(numbers), *number;
    while (iterator && (number = PyIter_Next(iterator))) {
        sigaddset(mask, (int)PyLong_AsLong(number));
        Py_DECREF(number);
    }
    Py_XDECREF(iterator);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *exact_launch(PyObject *module, PyObject *args)
{
    struct launch launch = {0};
    struct tracer_page *page = NULL;
    struct error err;
    PyObject *argv, *envp, *mask;
    int has_all;
    if (!PyArg_ParseTuple(args, "ynpyOOO:exact_launch", &launch.folder, &launch.size, &has_all,
                          &launch.path, &argv, &envp, &mask) ||
        mask_of(mask, &launch.mask) < 0)
        return NULL;
    launch.has_all = has_all;
    char **words = strings_of(argv), **variables = words ? strings_of(envp) : NULL;
    pid_t pid = -1;
    if (variables) {
        launch.argv = words;
        launch.envp = variables;
        pid = launch_program(&launch, &page, &err);
    }
    memory_free(words);
    if (!variables)
        return NULL;
    memory_free(variables);
    return begun(pid, page, &err);
}

static PyObject *exact_attach(PyObject *module, PyObject *args)
{
    struct launch launch = {0};
    struct tracer_page *page = NULL;
    struct error err;
    int pid, has_all;
    if (!PyArg_ParseTuple(args, "ynpi:exact_attach", &launch.folder, &launch.size, &has_all, &pid))
        return NULL;
    launch.has_all = has_all;
    pid_t tracer;
    Py_BEGIN_ALLOW_THREADS tracer = launch_attach(&launch, pid, &page, &err);
    Py_END_ALLOW_THREADS return begun(tracer, page, &err);
}

static PyObject *exact_failure(PyObject *module, PyObject *capsule)
{
    int code;
    const struct tracer_page *page = PyCapsule_GetPointer(capsule, PAGE_NAME);
    const char *what = page ? launch_failure(page, &code) : NULL;
    if (!page)
        return NULL;
    if (!what)
        Py_RETURN_NONE;
    return Py_BuildValue("(si)", what, code);
}

static PyObject *exact_status(PyObject *module, PyObject *capsule)
{
    int status;
    const struct tracer_page *page = PyCapsule_GetPointer(capsule, PAGE_NAME);
    if (!page)
        return NULL;
    if (!launch_has_ended(page, &status))
        Py_RETURN_NONE;
    return PyLong_FromLong(status);
}

static PyMethodDef functions[] = {
    {"exact_launch", exact_launch, METH_VARARGS,
     "exact_launch(folder, size, has_all, path, argv, environ, mask, /)\n--\n\n"
     "Run a program that is traced: (its pid, what the next two ask)."},
    {"exact_attach", exact_attach, METH_VARARGS,
     "exact_attach(folder, size, has_all, pid, /)\n--\n\n"
     "Trace one that runs: (the tracer's pid, what the next two ask)."},
    {"exact_failure", exact_failure, METH_O,
     "exact_failure(page, /)\n--\n\nWhat has failed: None, ('trace' or 'run', errno)."},
    {"exact_status", exact_status, METH_O,
     "exact_status(page, /)\n--\n\nHow it has ended, by waitpid(2); None: it has not."},
    {NULL, NULL, 0, NULL},
};

int exact_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
