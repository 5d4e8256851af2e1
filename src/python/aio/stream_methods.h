/* _zolal.StreamMethods: the two methods of asyncio's transport for streams that each message takes,
 * _read_ready() and write(). It has no members of its own, so that a class can derive from it and
 * from asyncio's, whose __slots__ leave room for no other layout; its state is in a slot of the
 * derived class (stream_core.h). */
#ifndef ZOLAL_PYTHON_AIO_STREAM_METHODS_H
#define ZOLAL_PYTHON_AIO_STREAM_METHODS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Add the type to the module. Returns 0, or -1 with an exception set. */
int stream_methods_add(PyObject *module);

#endif
