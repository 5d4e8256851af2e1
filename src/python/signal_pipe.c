#include "python/signal_pipe.h"

#include <errno.h>
#include <fcntl.h>

#include "socket/kernel.h"

int signal_pipe_init(struct module_state *state)
{
    PyObject *signal = PyImport_ImportModule("_signal");
    state->set_wakeup_fd = signal ? PyObject_GetAttrString(signal, "set_wakeup_fd") : NULL;
    Py_XDECREF(signal);
    return state->set_wakeup_fd ? 0 : -1;
}

/* Returns what was set before; -1: nothing; -2: an exception is set. */
static int set_wakeup_fd(struct module_state *state, int fd)
{
    PyObject *before = PyObject_CallFunction(state->set_wakeup_fd, "i", fd);
    int result = before ? (int)PyLong_AsLong(before) : -2;
    Py_XDECREF(before);
    return result;
}

/* Does the exception say that this is not the main thread, or that the descriptor is of no use? */
static bool set_wakeup_fd_refused(void)
{
    if (!PyErr_ExceptionMatches(PyExc_ValueError) && !PyErr_ExceptionMatches(PyExc_OSError))
        return false;
    PyErr_Clear();
    return true;
}

/* Should there be a pipe? Not where the program has a descriptor of its own for this, which stays;
 * one that the program has closed, and left there, is replaced. -1: an exception is set. */
static int signal_pipe_is_wanted(struct module_state *state)
{
    if (state->signals)
        return 0; /* this server runs in another one's application */
    int before = set_wakeup_fd(state, -1);
    if (before == -1)
        return 1;
    if (before == -2)
        return set_wakeup_fd_refused() ? 0 : -1;
    if (set_wakeup_fd(state, before) != -2)
        return 0;
    return set_wakeup_fd_refused() ? 1 : -1;
}

static int signal_pipe_make(struct signal_pipe *pipe, struct module_state *state)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *ends = os ? PyObject_CallMethod(os, "pipe2", "i", O_NONBLOCK | O_CLOEXEC) : NULL;
    int made = ends && PyArg_ParseTuple(ends, "ii", &pipe->reading, &pipe->writing);
    if (made)
        state->signals = pipe;
    Py_XDECREF(ends);
    Py_XDECREF(os);
    return made ? 0 : -1;
}

static int signal_pipe_use(struct signal_pipe *pipe, struct module_state *state,
                           struct worker *worker)
{
    if (set_wakeup_fd(state, pipe->writing) == -2)
        return -1;
    int result = worker_watch_signals(worker, pipe->reading);
    if (result == 0)
        return 0;
    errno = -result;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

int signal_pipe_open(struct signal_pipe *pipe, struct module_state *state, struct worker *worker)
{
    *pipe = (struct signal_pipe){-1, -1};
    int wanted = signal_pipe_is_wanted(state);
    bool failed = wanted < 0;
    if (wanted > 0)
        failed = signal_pipe_make(pipe, state) < 0 || signal_pipe_use(pipe, state, worker) < 0;
    if (!failed && PyErr_CheckSignals() == 0)
        return 0;
    signal_pipe_close(pipe, state);
    return -1;
}

void signal_pipe_close(struct signal_pipe *pipe, struct module_state *state)
{
    PyObject *type, *value, *traceback;
    if (pipe->reading < 0)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    int now = set_wakeup_fd(state, -1);
    if (now >= 0 && now != pipe->writing)
        set_wakeup_fd(state, now); /* the application's own, since */
    kernel_close(pipe->reading);
    kernel_close(pipe->writing);
    pipe->reading = pipe->writing = -1;
    state->signals = NULL;
    PyErr_Restore(type, value, traceback);
}

void signal_pipe_forget(struct module_state *state)
{
    if (state->signals)
        signal_pipe_close(state->signals, state);
}
