/* The inside of a responder; only responder.c, answer.c and start_response.c look here. */
#ifndef ZOLAL_PYTHON_WSGI_RESPONDER_STATE_H
#define ZOLAL_PYTHON_WSGI_RESPONDER_STATE_H

#include "python/server_type.h"
#include "python/wsgi/response_fields.h"

/* What a step of the answer came to. */
enum step {
    STEP_FAILED = -1, /* an exception is set */
    STEP_DONE = 0,    /* the iterable has ended */
    STEP_AGAIN = 1,   /* there is more */
    STEP_WAIT = 2     /* the client must take what there is first */
};

/* `exchange` is NULL once the answer is over. `result` is what the application returned, `iterator`
 * its iterator. `is_list`: stepping runs no code of the application. */
struct responder {
    PyObject_HEAD vectorcallfunc vectorcall;
    struct server *server;
    struct exchange *exchange;
    PyObject *environ; /* says which request it was, when something fails */
    PyObject *input;   /* NULL: the request has no body */
    PyObject *result;
    PyObject *iterator;
    PyObject *write; /* what start_response returns, bound to this object */
    struct wsgi_head head;
    bool is_list;
    bool is_file;
};

/* Whose application code runs in this thread: wsgi.early_hints asks. NULL: none. */
extern _Thread_local struct responder *responder_here __attribute__((tls_model("initial-exec")));

/* ---- responder.c */

/* "zolal: GET /path: what", on sys.stderr. */
void responder_log(const struct responder *responder, const char *what);

/* The application has failed: an exception is set. 500 where that can still be said. The exchange
 * is over. */
void responder_fail(struct responder *responder);

/* The exchange is over: let go of everything. */
void responder_release(struct responder *responder);

/* ---- answer.c */

/* The application has returned `responder->result`: begin to answer with it. */
void responder_begin(struct responder *responder);

/* Go on stepping through it. */
void responder_pump(struct responder *responder);

/* All of it has been queued: so the answer ends. */
void responder_finish(struct responder *responder);

/* Queue the head. `length`: of the whole body, -1 when not known. Returns 0, or -1 with an
 * exception set. */
int responder_send_head(struct responder *responder, int64_t length);

/* Queue bytes of the body; what goes beyond Content-Length never leaves. */
enum step responder_send(struct responder *responder, PyObject *bytes);

/* The connection has ended under the answer, with `result`: an exception says so. */
enum step responder_lost(int result);

/* Is it bytes, or a subclass? Else an exception is set that says `from` whom it came. */
bool responder_check_bytes(PyObject *item, const char *from);

/* ---- start_response.c */

/* The vectorcall of a responder: start_response(status, headers, exc_info=None) -> write. */
PyObject *responder_call(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords);

#endif
