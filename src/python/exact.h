/* Programs that are traced by ptrace(2), for zolal.trace.exact. */
#ifndef ZOLAL_PYTHON_EXACT_H
#define ZOLAL_PYTHON_EXACT_H

#include "python/state.h"

/* Add exact_launch, exact_attach, exact_failure and exact_status to the module. Returns 0, or -1
 * with an exception set. */
int exact_add(PyObject *module);

#endif
