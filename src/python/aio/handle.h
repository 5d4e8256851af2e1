/* What call_soon(), the timers and, where asyncio has a class of its own for that (3.14),
 * call_soon_threadsafe() return: asyncio.Handle, TimerHandle and _ThreadSafeHandle, in C. They have
 * their methods and attributes, and isinstance() says that they are those. */
#ifndef ZOLAL_PYTHON_AIO_HANDLE_H
#define ZOLAL_PYTHON_AIO_HANDLE_H

#include "python/aio/loop_object.h"

/* `callback` and the arguments (ob_size of them) are NULL once it is cancelled and does not run.
 * `traceback`: where it was made, in debug mode; else NULL. `text`: its repr before it was
 * cancelled, in debug mode. `when`: of a TimerHandle, seconds of the loop's time. `ended`: of a
 * thread-safe one, held while it runs; NULL where nobody has waited for that. */
struct handle_object {
    PyObject_VAR_HEAD struct loop_object *loop;
    PyObject *callback;
    PyObject *context;
    PyObject *traceback;
    PyObject *text;
    PyObject *weakrefs;
    union {
        double when;
        PyThread_type_lock ended;
    };
    bool is_cancelled;
    bool is_scheduled; /* in the heap */
    bool is_running;
    bool is_tracked; /* by the garbage collector */
    bool is_threadsafe;
    PyObject *args[];
};

/* A handle of `type` (aio.handle_type, timer_type or threadsafe_type) that calls `callback` with
 * `args`, in `context` (NULL or None: a copy of the current one). The garbage collector does not
 * know it: see loop_let_go(). A new reference, or NULL with an exception set. */
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
    return Py_IS_TYPE(object, state->aio.handle_type) ||
           Py_IS_TYPE(object, state->aio.timer_type) ||
           Py_IS_TYPE(object, state->aio.threadsafe_type);
}

/* Tell the garbage collector of it, once. */
static inline void handle_track(struct handle_object *handle)
{
    if (!handle->is_tracked)
        PyObject_GC_Track(handle);
    handle->is_tracked = true;
}

/* Parts of a type that derives from Handle. */
int handle_traverse(struct handle_object *handle, visitproc visit, void *arg);
int handle_clear(struct handle_object *handle);
void handle_dealloc(struct handle_object *handle);
PyObject *handle_repr(struct handle_object *handle);

/* Of a thread-safe one: its run begins, its run has ended, it is freed. */
void handle_lock(struct handle_object *handle);
void handle_unlock(struct handle_object *handle);
void handle_free_lock(struct handle_object *handle);

/* The loop has done with what was ready or a timer, one of ours or another: its reference ends.
 *
 * Most of ours come and go with nobody but the loop to have them, and of 10,000 timers a fifth of
 * the time is the garbage collector's, if it looks at each. So it is not told of them: what the
 * loop alone has is a part of the loop (loop_visit_handle()), and one that others have too is kept
 * by the loop anyway. It is told of those that remain when the loop lets go of them. */
static inline void loop_let_go(struct loop_object *loop, PyObject *handle)
{
    if (Py_REFCNT(handle) > 1 && handle_is_ours(loop->state, handle))
        handle_track((struct handle_object *)handle);
    Py_DECREF(handle);
}

/* For the tp_traverse of the loop, which has `handle`. */
static inline int loop_visit_handle(struct loop_object *loop, PyObject *handle, visitproc visit,
                                    void *arg)
{
    Py_VISIT(handle);
    struct handle_object *ours = (struct handle_object *)handle;
    bool is_part =
        Py_REFCNT(handle) == 1 && handle_is_ours(loop->state, handle) && !ours->is_tracked;
    return is_part ? handle_traverse(ours, visit, arg) : 0;
}

/* Add the types. Returns 0, or -1 with an exception set. */
int handle_types_add(PyObject *module);

/* The type of thread-safe ones; after that of the others. */
int threadsafe_type_add(PyObject *module);

#endif
