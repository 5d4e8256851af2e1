/* The application threads of a server: threading.Thread objects. */
#ifndef ZOLAL_PYTHON_SERVER_THREADS_H
#define ZOLAL_PYTHON_SERVER_THREADS_H

#include "python/server_type.h"

/* The method _follow(number), what each of them runs: one call. */
PyObject *server_follow(struct server *server, PyObject *number);

/* worker_config.spawn: start one more. `context`: the server. Returns 0; -EAGAIN or another -errno;
 * -ECANCELED where Python raised something, which run() is to raise. */
int server_spawn(void *context);

#endif
