/* wsgi.input: the request's body as a stream of bytes. PEP 3333 "Input and Error Streams". */
#ifndef ZOLAL_PYTHON_WSGI_INPUT_H
#define ZOLAL_PYTHON_WSGI_INPUT_H

#include "python/state.h"
#include "server/exchange.h"

struct server;

/* A stream over the body of `exchange`, or an empty one when that is NULL. Returns a new reference,
 * or NULL with an exception set. `server` must live as long as the exchange. */
PyObject *input_new(struct module_state *state, struct server *server, struct exchange *exchange);

/* The exchange is over: what is read from now on is empty. */
void input_end(PyObject *input);

int input_type_add(PyObject *module);

#endif
