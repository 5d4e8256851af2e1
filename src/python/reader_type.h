/* _zolal.Reader and _zolal.Event: a recording for Python's views, over trace/reader.h. */
#ifndef ZOLAL_PYTHON_READER_TYPE_H
#define ZOLAL_PYTHON_READER_TYPE_H

#include "python/state.h"

/* Add both types to the module. Returns 0, or -1 with an exception set. */
int reader_type_add(PyObject *module);

#endif
