/* The connections of servers: loop._accept_connection(), which asyncio has called when a listening
 * socket is readable. Connections without TLS become transports at once, in a copy of the context;
 * there is no task for each. */
#ifndef ZOLAL_PYTHON_AIO_ACCEPT_H
#define ZOLAL_PYTHON_AIO_ACCEPT_H

#include "python/aio/loop_object.h"

/* _accept_connection(protocol_factory, sock, sslcontext=None, server=None, backlog=100, ...) */
PyObject *loop_accept_connection(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                                 PyObject *names);

#endif
