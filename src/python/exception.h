/* Exceptions: the one that is set, whatever the Python, and one of ours. */
#ifndef ZOLAL_PYTHON_EXCEPTION_H
#define ZOLAL_PYTHON_EXCEPTION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "base/error.h"

/* Take it: an instance with its traceback, owned by the caller; NULL when none is set. */
static inline PyObject *exception_fetch(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value && traceback)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* Set OSError(errno, text), so that str() is our line and the subclass is errno's. Returns NULL. */
static inline void *exception_raise(const struct error *err)
{
    PyObject *arguments = Py_BuildValue("(is)", err->code, err->text);
    if (arguments)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

#endif
