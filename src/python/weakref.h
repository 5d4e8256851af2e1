/* What a weak reference refers to, whatever the Python. */
#ifndef ZOLAL_PYTHON_WEAKREF_H
#define ZOLAL_PYTHON_WEAKREF_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* A new reference; NULL without an exception where it is gone. */
static inline PyObject *weakref_get(PyObject *reference)
{
    PyObject *object;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyWeakref_GetRef(reference, &object) < 0)
        PyErr_Clear(); /* it is no weak reference */
#else
    object = PyWeakref_GetObject(reference);
    PyErr_Clear();
    object = !object || object == Py_None ? NULL : Py_NewRef(object);
#endif
    return object;
}

#endif
