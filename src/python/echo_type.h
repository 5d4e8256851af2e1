/* _zolal.Echo: the echo server. */
#ifndef ZOLAL_PYTHON_ECHO_TYPE_H
#define ZOLAL_PYTHON_ECHO_TYPE_H

#include "python/state.h"

/* Add the type to the module. Returns 0, or -1 with an exception set. */
int echo_type_add(PyObject *module);

#endif
