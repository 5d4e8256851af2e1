/* The process's recording, as Python starts and ends it. */
#ifndef ZOLAL_PYTHON_RECORDING_H
#define ZOLAL_PYTHON_RECORDING_H

#include "python/state.h"

/* Add recording_start and recording_stop to the module. Returns 0, or -1 with an exception set. */
int recording_add(PyObject *module);

/* In a forked child: forget what its parent records. */
void recording_after_fork(struct module_state *state);

/* End the recording of a module that goes away. */
void recording_end(PyObject *module);

#endif
