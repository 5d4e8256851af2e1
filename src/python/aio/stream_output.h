/* What a stream's transport sends later, because the kernel had no room: core->buffer, a bytearray
 * or, from Python 3.12 on, a deque of pieces, as asyncio has it. */
#ifndef ZOLAL_PYTHON_AIO_STREAM_OUTPUT_H
#define ZOLAL_PYTHON_AIO_STREAM_OUTPUT_H

#include "python/aio/stream_core.h"

/* Keep `rest`, bytes-like, until there is room, and have the protocol paused where that is much.
 * Returns 0, or -1 with an exception set. */
int stream_keep(struct module_state *state, struct stream_core *core, PyObject *self,
                PyObject *rest);

/* Methods, as asyncio's class has them. */
PyObject *stream_write_ready(PyObject *self, PyObject *unused);
PyObject *stream_write_eof(PyObject *self, PyObject *unused);

#endif
