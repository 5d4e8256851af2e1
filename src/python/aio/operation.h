/* What sock_recv(), sock_recv_into(), sock_sendall() and sock_accept() return: a coroutine that
 * makes the kernel call when it is awaited, and waits only where the kernel has said EAGAIN. Data
 * are taken only by a step that hands them over at once: a task that is cancelled while it waits
 * loses none. */
#ifndef ZOLAL_PYTHON_AIO_OPERATION_H
#define ZOLAL_PYTHON_AIO_OPERATION_H

#include "python/aio/loop_object.h"

struct waiter_object;

enum operation_kind {
    OPERATION_RECV,
    OPERATION_RECV_INTO,
    OPERATION_SENDALL,
    OPERATION_ACCEPT,
};

extern const char *const operation_names[]; /* by kind: "sock_recv", ... */

enum operation_state {
    OPERATION_NEW,
    OPERATION_YIELDED, /* its turn was over before it began */
    OPERATION_WAITING,
    OPERATION_ENDED,
};

/* `argument`: sock_recv's length, or the buffer of the others. `view` is in use (view.obj) while
 * sock_sendall waits, `sent` bytes of it gone. `is_running`: in a step, which may run Python code
 * that has the operation, too. */
struct operation {
    PyObject_HEAD struct loop_object *loop;
    PyObject *socket;
    PyObject *argument;
    struct waiter_object *waiter;
    PyObject *origin; /* of a loop that is watched: cr_origin, where it was made; or NULL */
    Py_buffer view;
    Py_ssize_t sent;
    enum operation_kind kind;
    enum operation_state state;
    bool is_running;
};

/* Try it on `fd`: a new reference to the result; NULL without an exception where it has to wait;
 * NULL with one set. */
PyObject *operation_try(struct operation *operation, int fd);

PyObject *loop_sock_recv(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                         PyObject *names);
PyObject *loop_sock_recv_into(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                              PyObject *names);
PyObject *loop_sock_sendall(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                            PyObject *names);
PyObject *loop_sock_accept(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                           PyObject *names);

/* Add the type. Returns 0, or -1 with an exception set. */
int operation_type_add(PyObject *module);

#endif
