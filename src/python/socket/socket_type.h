/* _zolal.Socket and the functions beside it: poll, socketpair, dup, the default time-out. */
#ifndef ZOLAL_PYTHON_SOCKET_SOCKET_TYPE_H
#define ZOLAL_PYTHON_SOCKET_SOCKET_TYPE_H

#include "python/state.h"

/* Add the type, and the functions, to the module. Return 0, or -1 with an exception set. */
int socket_type_add(PyObject *module);
int socket_functions_add(PyObject *module);

#endif
