/* What a weak reference refers to, whatever the Python. */
#ifndef ZOLAL_PYTHON_WEAKREF_H
#define ZOLAL_PYTHON_WEAKREF_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* `reference` is one. A new reference; NULL without an exception where it is gone. */
static inline PyObject *weakref_get(PyObject *reference)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *object;
    PyWeakref_GetRef(reference, &object);
    return object;
#else
    PyObject *object = PyWeakref_GET_OBJECT(reference);
    return object == Py_None ? NULL : Py_NewRef(object);
#endif
}

#endif
