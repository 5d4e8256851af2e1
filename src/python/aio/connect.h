/* The kernel calls of asyncio's sock_connect(), on the standard library's sockets. */
#ifndef ZOLAL_PYTHON_AIO_CONNECT_H
#define ZOLAL_PYTHON_AIO_CONNECT_H

#include "python/aio/loop_object.h"

/* Methods; the docstrings in loop_type.c are their manual. */
PyObject *loop_connect(struct loop_object *loop, PyObject *const *args, Py_ssize_t count);
PyObject *loop_connect_error(struct loop_object *loop, PyObject *socket);

#endif
