/* How the socket operations are made. */
#include "python/aio/operation.h"
#include "python/aio/plain_socket.h"

/* ((file, line, function),) of the caller; NULL with an exception set. */
static PyObject *caller_origin(void)
{
    PyFrameObject *frame = PyEval_GetFrame(); /* borrowed */
    if (!frame)
        return PyTuple_New(0);
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *origin =
        Py_BuildValue("((OiO))", code->co_filename, PyFrame_GetLineNumber(frame), code->co_name);
    Py_DECREF(code);
    return origin;
}

/* A coroutine for sock_*(sock[, argument]), of ours where it can be, else of `base`, asyncio's. */
static PyObject *operation_new(struct loop_object *loop, enum operation_kind kind, PyObject *base,
                               PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t wanted = kind == OPERATION_ACCEPT ? 1 : 2;
    if (names || count != wanted || !plain_socket_is(&loop->state->aio, args[0])) {
        PyObject *stack[4] = {(PyObject *)loop};
        Py_ssize_t all = count + (names ? PyTuple_GET_SIZE(names) : 0);
        for (Py_ssize_t i = 0; i < all && i < 3; i++)
            stack[i + 1] = args[i];
        if (all <= 3)
            return PyObject_Vectorcall(base, stack, (size_t)count + 1, names);
        PyErr_Format(PyExc_TypeError, "%s() takes a socket%s", operation_names[kind],
                     wanted == 2 ? " and one thing more" : "");
        return NULL;
    }
    PyTypeObject *type = loop->state->aio.operation_type;
    PyObject *spare = spares_take(&loop->operations, type, 0);
    struct operation *operation =
        spare ? (struct operation *)spare : PyObject_GC_New(struct operation, type);
    if (!operation)
        return NULL;
    operation->loop = (struct loop_object *)Py_NewRef(loop);
    operation->socket = Py_NewRef(args[0]);
    operation->argument = wanted == 2 ? Py_NewRef(args[1]) : NULL;
    operation->waiter = NULL;
    operation->view.obj = NULL;
    operation->sent = 0;
    operation->kind = kind;
    operation->state = OPERATION_NEW;
    operation->is_running = false;
    operation->origin = NULL;
    PyObject_GC_Track(operation);
    if (loop->is_watched && !(operation->origin = caller_origin()))
        PyErr_Clear();
    return (PyObject *)operation;
}

PyObject *loop_sock_recv(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                         PyObject *names)
{
    return operation_new(loop, OPERATION_RECV, loop->state->aio.base_sock_recv, args, count, names);
}

PyObject *loop_sock_recv_into(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    return operation_new(loop, OPERATION_RECV_INTO, loop->state->aio.base_sock_recv_into, args,
                         count, names);
}

PyObject *loop_sock_sendall(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                            PyObject *names)
{
    return operation_new(loop, OPERATION_SENDALL, loop->state->aio.base_sock_sendall, args, count,
                         names);
}

PyObject *loop_sock_accept(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                           PyObject *names)
{
    return operation_new(loop, OPERATION_ACCEPT, loop->state->aio.base_sock_accept, args, count,
                         names);
}
