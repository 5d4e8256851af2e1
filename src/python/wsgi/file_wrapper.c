#include "python/wsgi/file_wrapper.h"

#include <sys/stat.h>

#include <structmember.h>

struct file_wrapper {
    PyObject_HEAD PyObject *file;
    Py_ssize_t block_size;
};

static int file_wrapper_init(struct file_wrapper *wrapper, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"filelike", "blksize", NULL};
    PyObject *file;
    Py_ssize_t block_size = 65536;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|n:file_wrapper", names, &file, &block_size))
        return -1;
    if (block_size <= 0) {
        PyErr_SetString(PyExc_ValueError, "blksize must be positive");
        return -1;
    }
    Py_XSETREF(wrapper->file, Py_NewRef(file));
    wrapper->block_size = block_size;
    return 0;
}

static int file_wrapper_traverse(struct file_wrapper *wrapper, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(wrapper));
    Py_VISIT(wrapper->file);
    return 0;
}

static int file_wrapper_clear(struct file_wrapper *wrapper)
{
    Py_CLEAR(wrapper->file);
    return 0;
}

static void file_wrapper_dealloc(struct file_wrapper *wrapper)
{
    PyTypeObject *type = Py_TYPE(wrapper);
    PyObject_GC_UnTrack(wrapper);
    file_wrapper_clear(wrapper);
    type->tp_free((PyObject *)wrapper);
    Py_DECREF(type);
}

static PyObject *file_wrapper_next(struct file_wrapper *wrapper)
{
    if (!wrapper->file)
        return NULL;
    PyObject *data = PyObject_CallMethod(wrapper->file, "read", "n", wrapper->block_size);
    if (data && PyObject_Size(data) <= 0)
        Py_CLEAR(data); /* the end, or an exception */
    return data;
}

/* close(), when the file has one: the PEP wants it called through the wrapper. */
static PyObject *file_wrapper_close(struct file_wrapper *wrapper, PyObject *unused)
{
    PyObject *close = wrapper->file ? PyObject_GetAttrString(wrapper->file, "close") : NULL;
    if (!close) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyObject *result = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    return result;
}

/* The result of a method without arguments as a number; -1 with an exception set or not a number.
 */
static long long file_number(PyObject *file, PyObject *method)
{
    PyObject *result = PyObject_CallMethodNoArgs(file, method);
    long long number = -1;
    if (result && PyLong_Check(result))
        number = PyLong_AsLongLong(result);
    Py_XDECREF(result);
    return number;
}

/* Are the bytes that this object of io reads its descriptor's? */
static bool file_is_plain(struct module_state *state, PyObject *file)
{
    if (PyObject_TypeCheck(file, state->file_io))
        return true;
    if (!PyObject_TypeCheck(file, state->buffered_reader) &&
        !PyObject_TypeCheck(file, state->buffered_random))
        return false;
    PyObject *raw = PyObject_GetAttrString(file, "raw");
    bool is_raw = raw && PyObject_TypeCheck(raw, state->file_io);
    PyErr_Clear();
    Py_XDECREF(raw);
    return is_raw;
}

/* Are the bytes that `file` (may be NULL) reads its descriptor's? Not those of a GzipFile or a text
 * file, which have a descriptor too. An object around a file of io, as Django's, is one whose
 * read() is that file's own. */
static bool file_is_raw(struct module_state *state, PyObject *file)
{
    if (!file || file_is_plain(state, file))
        return file != NULL;
    PyObject *read = PyObject_GetAttrString(file, "read");
    PyObject *owner = read && PyCFunction_Check(read) ? PyCFunction_GetSelf(read) : NULL;
    bool is_raw = owner && file_is_plain(state, owner);
    PyErr_Clear();
    Py_XDECREF(read);
    return is_raw;
}

bool file_wrapper_range(struct module_state *state, PyObject *object, struct file_range *range)
{
    struct file_wrapper *wrapper = (struct file_wrapper *)object;
    struct stat status;
    if (!file_is_raw(state, wrapper->file))
        return false;
    long long fd = file_number(wrapper->file, state->strings[STRING_FILENO]);
    long long offset = fd >= 0 ? file_number(wrapper->file, state->strings[STRING_TELL]) : -1;
    PyErr_Clear();
    if (fd < 0 || fd > INT32_MAX || offset < 0 || fstat((int)fd, &status) < 0)
        return false;
    /* Files of /proc have a size of 0, and something in them. */
    if (!S_ISREG(status.st_mode) || offset >= status.st_size)
        return false;
    range->fd = (int)fd;
    range->offset = (off_t)offset;
    range->len = (uint64_t)(status.st_size - offset);
    return true;
}

static PyMethodDef file_wrapper_methods[] = {
    {"close", (PyCFunction)file_wrapper_close, METH_NOARGS,
     "close($self)\n--\n\nClose the file, if it can be."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef file_wrapper_members[] = {
    {"filelike", T_OBJECT_EX, offsetof(struct file_wrapper, file), READONLY, "The wrapped file."},
    {"blksize", T_PYSSIZET, offsetof(struct file_wrapper, block_size), READONLY,
     "Bytes of a piece."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot file_wrapper_slots[] = {
    {Py_tp_doc, "file_wrapper(filelike, blksize=65536)\n--\n\nA file as a response, PEP 3333."},
    {Py_tp_init, file_wrapper_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_dealloc, file_wrapper_dealloc},
    {Py_tp_traverse, file_wrapper_traverse},
    {Py_tp_clear, file_wrapper_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, file_wrapper_next},
    {Py_tp_methods, file_wrapper_methods},
    {Py_tp_members, file_wrapper_members},
    {0, NULL},
};

static PyType_Spec file_wrapper_spec = {
    .name = "zolal._zolal.FileWrapper",
    .basicsize = sizeof(struct file_wrapper),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = file_wrapper_slots,
};

int file_wrapper_type_add(PyObject *module)
{
    struct module_state *state = state_of_module(module);
    state->file_wrapper_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &file_wrapper_spec, NULL);
    return state->file_wrapper_type ? 0 : -1;
}
