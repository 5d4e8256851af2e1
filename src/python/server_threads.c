#include "python/server_threads.h"

#include <errno.h>
#include <pthread.h>

#include "python/exception.h"
#include "trace/recorder.h"

#define STARTER_STACK (1u << 20) /* bytes */

PyObject *server_follow(struct server *server, PyObject *number)
{
    struct recording *recording = server->state->recording;
    (void)number;
    bool attached = recording && recorder_attach(recording) == 0;
    int result = worker_follow(server->worker);
    if (attached)
        recorder_detach();
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* Application threads are Python's own kind, so that what looks after threads knows them. They are
 * daemons: one that is stuck in the application must not keep the process. */
static PyObject *server_make_thread(struct server *server, long number)
{
    PyObject *threading = PyImport_ImportModule("threading");
    PyObject *type = threading ? PyObject_GetAttrString(threading, "Thread") : NULL;
    PyObject *follow = PyObject_GetAttrString((PyObject *)server, "_follow");
    PyObject *none = PyTuple_New(0);
    PyObject *keywords =
        follow ? Py_BuildValue("{s:O,s:(l),s:N,s:O}", "target", follow, "args", number, "name",
                               PyUnicode_FromFormat("zolal-%ld", number), "daemon", Py_True)
               : NULL;
    PyObject *thread = type && none && keywords ? PyObject_Call(type, none, keywords) : NULL;
    Py_XDECREF(keywords);
    Py_XDECREF(none);
    Py_XDECREF(follow);
    Py_XDECREF(type);
    Py_XDECREF(threading);
    return thread;
}

/* A thread that is being started, by another one: `failure` is what has been raised, NULL: nothing.
 */
struct thread_start {
    struct server *server;
    PyObject *failure;
};

static void *server_start_thread(void *argument)
{
    struct thread_start *start = argument;
    struct server *server = start->server;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *thread = server_make_thread(server, (long)PyList_GET_SIZE(server->spawned) + 1);
    PyObject *started = thread && PyList_Append(server->spawned, thread) == 0
                            ? PyObject_CallMethod(thread, "start", NULL)
                            : NULL;
    start->failure = started ? NULL : exception_fetch();
    Py_XDECREF(started);
    Py_XDECREF(thread);
    PyGILState_Release(gil);
    return NULL;
}

/* Have `start` done by a thread that is over when this returns: 0 or -errno. */
static int server_start_apart(struct thread_start *start)
{
    pthread_attr_t attributes;
    pthread_t starter;
    int error = pthread_attr_init(&attributes);
    if (error)
        return -error;
    error = pthread_attr_setstacksize(&attributes, STARTER_STACK);
    if (!error)
        error = pthread_create(&starter, &attributes, server_start_thread, start);
    pthread_attr_destroy(&attributes);
    if (error)
        return -error;
    Py_BEGIN_ALLOW_THREADS;
    pthread_join(starter, NULL);
    Py_END_ALLOW_THREADS;
    return 0;
}

/* Python's signal handlers run in the main thread, between any two lines of threading's own code.
 * What they raise there leaves its locks held, and threads that nobody knows of, which come while
 * the interpreter ends: so it is another thread that starts one. */
int server_spawn(void *context)
{
    struct thread_start start = {.server = context};
    int result = server_start_apart(&start);
    if (result < 0 || !start.failure)
        return result;
    if (PyErr_GivenExceptionMatches(start.failure, PyExc_RuntimeError)) {
        Py_DECREF(start.failure);
        return -EAGAIN; /* can't start new thread */
    }
    Py_XSETREF(start.server->failure, start.failure);
    return -ECANCELED;
}
