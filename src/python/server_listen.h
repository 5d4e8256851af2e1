/* The methods of _zolal.Server that have to do with its listeners; the type stub says what they do.
 */
#ifndef ZOLAL_PYTHON_SERVER_LISTEN_H
#define ZOLAL_PYTHON_SERVER_LISTEN_H

#include "python/server_type.h"

PyObject *server_listen(struct server *server, PyObject *args, PyObject *keywords);
PyObject *server_adopt(struct server *server, PyObject *args, PyObject *keywords);
PyObject *server_filenos(struct server *server, PyObject *unused);

#endif
