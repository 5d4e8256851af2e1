#include "python/server_listen.h"

#include <errno.h>
#include <fcntl.h>

#include "python/exception.h"
#include "python/socket/addresses.h"
#include "socket/kernel.h"
#include "socket/listener.h"

/* Returns 0, or -1 with an exception set. */
static int server_add_template(struct server *server, const struct address *addr, PyObject *environ)
{
    PyObject *early_hints = PyObject_GetAttrString((PyObject *)server, "early_hints");
    int added = early_hints ? environ_cache_add_listener(&server->environs, server->state, addr,
                                                         early_hints, environ)
                            : -1;
    Py_XDECREF(early_hints);
    return added;
}

/* The next listener gets this one's number, and must find its own template by it. */
static PyObject *server_drop_template(struct server *server, const struct error *err)
{
    struct environ_cache *cache = &server->environs;
    Py_DECREF(cache->templates[--cache->template_count]);
    return exception_raise(err);
}

PyObject *server_listen(struct server *server, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"address",      "backlog",   "v6_only", "reuse_port",
                            "defer_accept", "unix_mode", "environ", NULL};
    const char *text;
    int backlog = 2048, v6_only = 0, reuse_port = 0, defer_accept = 1, unix_mode = 0;
    PyObject *environ = NULL;
    struct error err = {0};
    struct address addr;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "s|$ippiiO!:listen", names, &text, &backlog,
                                     &v6_only, &reuse_port, &defer_accept, &unix_mode, &PyDict_Type,
                                     &environ) ||
        !server_check(server))
        return NULL;
    struct listener_options options = {.backlog = backlog,
                                       .v6_only = v6_only,
                                       .reuse_port = reuse_port,
                                       .defer_accept_s = defer_accept,
                                       .unix_mode = unix_mode};
    if (address_parse(&addr, text, &err) < 0)
        return exception_raise(&err);
    int fd = listener_open(&addr, &options, &err);
    if (fd < 0)
        return exception_raise(&err);
    if (server_add_template(server, &addr, environ) < 0) {
        listener_close(fd, &addr);
        return NULL;
    }
    if (worker_listen(server->worker, fd, &addr, &err) < 0)
        return server_drop_template(server, &err);
    return address_as_text(&addr);
}

PyObject *server_adopt(struct server *server, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"fileno", "environ", "leave_queue", NULL};
    PyObject *environ = NULL;
    int leave_queue = 0;
    struct error err = {0};
    struct address addr;
    int fileno;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "i|$O!p:adopt", names, &fileno, &PyDict_Type,
                                     &environ, &leave_queue) ||
        !server_check(server))
        return NULL;
    int fd = kernel_fcntl(fileno, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        errno = -fd;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (listener_adopt(fd, &addr, &err) < 0) {
        kernel_close(fd);
        return exception_raise(&err);
    }
    if (server_add_template(server, &addr, environ) < 0) {
        kernel_close(fd);
        return NULL;
    }
    if (worker_listen_adopted(server->worker, fd, &addr, leave_queue, &err) < 0)
        return server_drop_template(server, &err);
    return address_as_text(&addr);
}

PyObject *server_filenos(struct server *server, PyObject *unused)
{
    (void)unused;
    if (!server_check(server))
        return NULL;
    PyObject *filenos = PyList_New(0);
    int fd;
    for (int i = 0; filenos && (fd = worker_listener_fd(server->worker, i)) >= 0; i++) {
        PyObject *fileno = PyLong_FromLong(fd);
        if (!fileno || PyList_Append(filenos, fileno) < 0)
            Py_CLEAR(filenos);
        Py_XDECREF(fileno);
    }
    return filenos;
}
