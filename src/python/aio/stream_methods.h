/* The class of transports for streams, and the two of its methods that each message takes,
 * _read_ready() and write(). */
#ifndef ZOLAL_PYTHON_AIO_STREAM_METHODS_H
#define ZOLAL_PYTHON_AIO_STREAM_METHODS_H

#include "python/state.h"

/* self._fatal_error(the exception that is set, message), of a transport or of TLS on one. None;
 * NULL with an exception set: what a program is ended by is not reported, and stays. */
PyObject *stream_fail(struct module_state *state, PyObject *self, const char *message);

/* What write() does, for bytes that are no object yet. `self`: a transport that has a struct
 * stream_core. Returns 0, or -1 with an exception set. */
int stream_send(struct module_state *state, PyObject *self, const char *data, size_t len);

/* Add make_stream_transport() to the module, which makes the class from asyncio's. Returns 0, or -1
 * with an exception set. */
int stream_transport_add(PyObject *module);

#endif
