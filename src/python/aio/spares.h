/* Memory of objects that come and go with each message, kept for the next ones of their type: what
 * an allocator and the garbage collector's list would take is taken once. */
#ifndef ZOLAL_PYTHON_AIO_SPARES_H
#define ZOLAL_PYTHON_AIO_SPARES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

enum { SPARES_MOST = 16 };

/* Each is the memory of an object that is no more, untracked, whose type was let go. */
struct spares {
    PyObject *objects[SPARES_MOST];
    size_t count;
};

/* A new object, untracked, of `type` and with `items` of its (0 where it has a fixed size), in
 * memory that was given for as many at least. NULL: there is none; no exception is set. */
static inline PyObject *spares_take(struct spares *spares, PyTypeObject *type, Py_ssize_t items)
{
    if (spares->count == 0)
        return NULL;
    PyObject *object = spares->objects[--spares->count];
    return type->tp_itemsize > 0 ? (PyObject *)PyObject_InitVar((PyVarObject *)object, type, items)
                                 : PyObject_Init(object, type);
}

/* At the end of tp_dealloc, instead of PyObject_GC_Del(). An object that was finalized is not kept:
 * its memory would be taken for finalized ever after. */
static inline void spares_give(struct spares *spares, PyObject *object)
{
    if (spares->count < SPARES_MOST && !PyObject_GC_IsFinalized(object))
        spares->objects[spares->count++] = object;
    else
        PyObject_GC_Del(object);
}

static inline void spares_free(struct spares *spares)
{
    while (spares->count > 0)
        PyObject_GC_Del(spares->objects[--spares->count]);
}

#endif
