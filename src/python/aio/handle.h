/* What call_soon() and the timers return: asyncio.Handle and asyncio.TimerHandle, in C. They have
 * their methods and attributes, and isinstance() says that they are those. */
#ifndef ZOLAL_PYTHON_AIO_HANDLE_H
#define ZOLAL_PYTHON_AIO_HANDLE_H

#include "python/aio/loop_object.h"

/* `callback` and the arguments (ob_size of them) are NULL once it is cancelled and does not run.
 * `traceback`: where it was made, in debug mode; else NULL. `text`: its repr before it was
 * cancelled, in debug mode. `when`: of a TimerHandle, seconds of the loop's time. */
struct handle_object {
    PyObject_VAR_HEAD struct loop_object *loop;
    PyObject *callback;
    PyObject *context;
    PyObject *traceback;
    PyObject *text;
    PyObject *weakrefs;
    double when;
    bool is_cancelled;
    bool is_scheduled; /* in the heap */
    bool is_running;
    PyObject *args[];
};

/* A handle of `type` (aio.handle_type or timer_type) that calls `callback` with `args`, in
 * `context` (NULL or None: a copy of the current one). A new reference, or NULL with an exception
 * set. */
struct handle_object *handle_new(PyTypeObject *type, struct loop_object *loop, PyObject *callback,
                                 PyObject *const *args, Py_ssize_t count, PyObject *context);

/* Call `callback` in `context`. A new reference, or NULL with an exception set. */
PyObject *handle_call(PyObject *context, PyObject *callback, PyObject *const *args,
                      Py_ssize_t count);

/* Report the exception that is set, the callback's, to the loop's exception handler. Returns as
 * handle_run() does. */
int handle_report(struct handle_object *handle);

/* Call it. What the callback raises is reported to the loop's exception handler. Returns 0, or -1
 * with SystemExit or KeyboardInterrupt set, or whatever the exception handler raised. */
int handle_run(struct handle_object *handle);

/* Returns 0, or -1 with an exception set (of a repr, in debug mode). */
int handle_cancel(struct handle_object *handle);

/* Is it one of ours? */
static inline bool handle_is_ours(const struct module_state *state, PyObject *object)
{
    return Py_IS_TYPE(object, state->aio.handle_type) || Py_IS_TYPE(object, state->aio.timer_type);
}

/* Add both types. Returns 0, or -1 with an exception set. */
int handle_types_add(PyObject *module);

#endif
