/* The sockets of which the loop makes the kernel calls itself: the standard library's and zolal's.
 * What derives from them may have a recv() of its own, and is left to asyncio. */
#ifndef ZOLAL_PYTHON_AIO_PLAIN_SOCKET_H
#define ZOLAL_PYTHON_AIO_PLAIN_SOCKET_H

#include "python/aio/loop_object.h"

bool plain_socket_is(const struct aio_state *aio, PyObject *socket);

/* Its descriptor. -1 with OSError set where it is closed. */
int plain_socket_fd(const struct module_state *state, PyObject *socket);

/* As asyncio says it, in debug mode, of a blocking one. Returns 0, or -1 with an exception set. */
int plain_socket_check(PyObject *socket);

/* Are the standard library's laid out as we think? Then a descriptor is read without a call. */
bool plain_sockets_are_known(const struct aio_state *aio);

#endif
