/* The responder: one request's conversation with the application. It is the start_response that the
 * application calls, it steps through the iterable, and it makes sure that close() is called once.
 * PEP 3333 "The start_response() Callable", "Handling the Content-Length Header", "Error Handling".
 */
#ifndef ZOLAL_PYTHON_WSGI_RESPONDER_H
#define ZOLAL_PYTHON_WSGI_RESPONDER_H

#include "python/state.h"
#include "server/exchange.h"

struct server;

/* The handler that serves requests with the server's application. */
struct handler responder_handler(struct server *server);

/* Let go of the responder that is kept for the next request. */
void responder_drop_spare(struct server *server);

/* wsgi.early_hints of the request that the server's application is answering now: a list of (name,
 * value). */
PyObject *responder_early_hints(PyObject *server, PyObject *headers);

int responder_type_add(PyObject *module);

#endif
