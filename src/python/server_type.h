/* _zolal.Server: a worker that serves a WSGI application. */
#ifndef ZOLAL_PYTHON_SERVER_TYPE_H
#define ZOLAL_PYTHON_SERVER_TYPE_H

#include "python/state.h"
#include "python/wsgi/environ.h"
#include "python/wsgi/response_fields.h"
#include "server/worker.h"

struct responder;

/* `state` is NULL until __init__. `failure`: what a Python signal handler raised in run(), to be
 * raised by it. */
struct server {
    PyObject_HEAD struct module_state *state;
    PyObject *application; /* NULL until run() */
    PyObject *on_message;
    PyObject *on_answer;
    struct worker *worker;
    struct environ_cache environs;
    struct checked_fields checked_fields;
    PyObject *failure;
    unsigned threads;
    PyObject *spawned;         /* a list: the threads that were started */
    PyObject *spare_responder; /* one kept for the next request */
    bool close_is_slow;        /* the last close() of an iterable was */
    bool python_calls;
    bool handle_signals;
    bool is_running;
};

/* worker_wait has returned `result` < 0: set what the application gets for it. What a Python signal
 * handler has raised in the wait is raised in the application; else an OSError. */
void server_raise_wait(struct server *server, int result);

/* An exception is set. Ctrl-C while the application runs ends an embedded server, as it ends its
 * wait for events: run() will raise it. Returns whether it is that; then it is taken, and nobody's
 * failure. Else it stays set. */
bool server_take_interrupt(struct server *server);

/* Is there a worker to talk to? Else an exception is set. */
bool server_check(struct server *server);

/* Add the type to the module. Returns 0, or -1 with an exception set. */
int server_type_add(PyObject *module);

#endif
