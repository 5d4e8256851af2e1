#include "python/aio/stream_life.h"

#include "python/aio/slot_transport.h"
#include "python/aio/slots.h"
#include "python/aio/stream_methods.h"
#include "python/exception.h"
#include "python/socket/socket_object.h"
#include "socket/options.h"

/* Of a connection whose end was read, until a program that closes it then has done so: one in the
 * turn in which its task sees the end, one in that in which the socket is closed. */
enum { EVENTS_TO_CLOSE = 2 };

/* ------------------------------------------------------------------------------- its begin */

static int core_set_protocol(struct module_state *state, struct stream_core *core,
                             PyObject *protocol)
{
    int is_buffered = PyObject_IsInstance(protocol, state->aio.buffered_protocol_class);
    if (is_buffered < 0)
        return -1;
    core->is_buffered = is_buffered > 0;
    core->protocol_connected = true;
    Py_XSETREF(core->protocol, Py_NewRef(protocol));
    return 0;
}

/* server._attach() or _detach(). From Python 3.13 on it is told which transport. */
static int server_call(const struct module_state *state, PyObject *server, PyObject *self,
                       enum state_string method)
{
    PyObject *args[] = {server, self};
    size_t count = PY_VERSION_HEX >= 0x030D0000 ? 2 : 1;
    PyObject *done = PyObject_VectorcallMethod(state->strings[method], args, count, NULL);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static int core_attach(struct module_state *state, struct stream_core *core, PyObject *self,
                       PyObject *server)
{
    core->server = Py_NewRef(server);
    return server == Py_None ? 0 : server_call(state, server, self, STRING_ATTACH);
}

/* As asyncio does: of what was made as TCP, and says so. */
static int core_set_nodelay(const struct stream_core *core)
{
    bool is_ip = core->kind.family == AF_INET || core->kind.family == AF_INET6;
    if (!is_ip || core->kind.type != SOCK_STREAM || core->kind.protocol != IPPROTO_TCP)
        return 0;
    int result = option_set_nodelay(core->fd);
    if (result == 0)
        return 0;
    socket_raise(result);
    return -1;
}

/* loop.call_soon(object.method, ...), the method's name and the arguments given. */
static int call_soon(struct loop_object *loop, PyObject *object, enum state_string method,
                     PyObject *first, PyObject *second)
{
    PyObject *args[] = {NULL, first, second};
    Py_ssize_t count = second ? 3 : first ? 2 : 1;
    args[0] = PyObject_GetAttr(object, loop->state->strings[method]);
    PyObject *handle = args[0] ? loop_call_soon(loop, args, count, NULL) : NULL;
    Py_XDECREF(handle);
    Py_XDECREF(args[0]);
    return handle ? 0 : -1;
}

static int read_soon(struct loop_object *loop, struct stream_core *core, PyObject *self)
{
    PyObject *fd = PyLong_FromLong(core->fd);
    PyObject *ready = fd ? PyObject_GetAttr(self, loop->state->strings[STRING_READ_READY]) : NULL;
    int result = ready ? call_soon(loop, self, STRING_ADD_READER, fd, ready) : -1;
    Py_XDECREF(ready);
    Py_XDECREF(fd);
    return result;
}

static int wake_soon(struct loop_object *loop, PyObject *waiter)
{
    PyObject *args[] = {loop->state->aio.set_result_unless_cancelled, waiter, Py_None};
    PyObject *handle = waiter == Py_None ? Py_NewRef(Py_None) : loop_call_soon(loop, args, 3, NULL);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

/* What is left to do when the core has its descriptor and addresses. */
static int stream_begin(struct loop_object *loop, struct stream_core *core, PyObject *self,
                        PyObject *protocol, PyObject *server, PyObject *waiter)
{
    struct module_state *state = loop->state;
    core->is_begun = true;
    core->loop = Py_NewRef(loop);
    core->empty_waiter = Py_NewRef(Py_None);
    if (core_set_protocol(state, core, protocol) < 0 ||
        core_attach(state, core, self, server) < 0 ||
        slot_keep_transport(loop, core->fd, self) < 0 || core_set_nodelay(core) < 0 ||
        call_soon(loop, protocol, STRING_CONNECTION_MADE, self, NULL) < 0 ||
        read_soon(loop, core, self) < 0)
        return -1;
    return wake_soon(loop, waiter);
}

static int keep_local_address(struct stream_core *core)
{
    struct address addr = {.len = sizeof(addr.storage)};
    if (kernel_getsockname(core->fd, &addr.sa, &addr.len) < 0)
        addr.len = 0;
    return stream_keep_local(core, &addr);
}

PyObject *stream_accept(struct loop_object *loop, const struct stream_accepted *accepted,
                        PyObject *protocol, PyObject *server)
{
    PyObject *self = stream_alloc(loop->state);
    if (!self) {
        if (!accepted->sock)
            kernel_close(accepted->fd);
        return NULL;
    }
    struct stream_core *core = stream_core_of(loop->state, self);
    core->fd = accepted->fd;
    core->kind = accepted->kind;
    core->sock = Py_XNewRef(accepted->sock);
    core->owns_fd = !accepted->sock;
    if (stream_keep_peer(core, accepted->peer) < 0 || keep_local_address(core) < 0 ||
        stream_begin(loop, core, self, protocol, server, Py_None) < 0)
        Py_CLEAR(self);
    return self;
}

static int core_take_socket(struct module_state *state, struct stream_core *core, PyObject *sock)
{
    struct address peer = {.len = sizeof(peer.storage)};
    PyObject *fileno = PyObject_CallMethodNoArgs(sock, state->strings[STRING_FILENO]);
    core->fd = fileno ? (int)PyLong_AsLong(fileno) : -1;
    Py_XDECREF(fileno);
    if (PyErr_Occurred() || socket_kind_of(state, sock, &core->kind) < 0)
        return -1;
    core->sock = Py_NewRef(sock);
    RECORDED(state);
    if (kernel_getpeername(core->fd, &peer.sa, &peer.len) < 0)
        peer.len = 0;
    return stream_keep_peer(core, &peer) < 0 ? -1 : keep_local_address(core);
}

/* The program's own dictionary is filled at once; a peer's name that is in it stays. */
static int core_take_extra(struct module_state *state, struct stream_core *core, PyObject *extra)
{
    PyObject *known = stream_extra(state, core);
    if (!known)
        return -1;
    if (PyDict_Contains(extra, state->strings[STRING_PEERNAME]) > 0 &&
        PyDict_DelItem(known, state->strings[STRING_PEERNAME]) < 0)
        return -1;
    if (PyDict_Update(extra, known) < 0)
        return -1;
    Py_SETREF(core->extra, Py_NewRef(extra));
    return 0;
}

int stream_init(PyObject *self, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"loop", "sock", "protocol", "waiter", "extra", "server", NULL};
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    PyObject *loop, *sock, *protocol, *waiter = Py_None, *extra = Py_None, *server = Py_None;
    if (!core ||
        !PyArg_ParseTupleAndKeywords(args, keywords, "O!OO|OOO", names, state->aio.loop_type, &loop,
                                     &sock, &protocol, &waiter, &extra, &server))
        return -1;
    if (core->is_begun) {
        PyErr_SetString(PyExc_RuntimeError, "the transport has begun already");
        return -1;
    }
    if (core_take_socket(state, core, sock) < 0 ||
        (extra != Py_None && core_take_extra(state, core, extra) < 0))
        return -1;
    return stream_begin((struct loop_object *)loop, core, self, protocol, server, waiter);
}

/* ------------------------------------------------------------------------------- meanwhile */

PyObject *loop_forget_transport(struct loop_object *loop, PyObject *transport)
{
    const struct stream_core *core = stream_core_of(loop->state, transport);
    if (!core)
        return PyObject_GetAttrString(transport, "_sock_fd");
    slot_drop_transport(loop, core->fd, transport, false);
    return PyLong_FromLong(core->fd);
}

PyObject *loop_ensure_fd_no_transport(struct loop_object *loop, PyObject *fileobj)
{
    struct module_state *state = loop->state;
    PyObject *fileno = PyLong_Check(fileobj)
                           ? Py_NewRef(fileobj)
                           : PyObject_CallMethodNoArgs(fileobj, state->strings[STRING_FILENO]);
    long fd = fileno ? PyLong_AsLong(fileno) : -1;
    Py_XDECREF(fileno);
    PyErr_Clear(); /* asyncio's own method, which knows the other transports, says what is wrong */
    if (fd == (int)fd && slot_check_transport(loop, (int)fd, fileobj) < 0)
        return NULL;
    PyObject *args[] = {(PyObject *)loop, fileobj};
    return PyObject_Vectorcall(state->aio.base_ensure_fd_no_transport, args, 2, NULL);
}

PyObject *stream_set_protocol(PyObject *self, PyObject *protocol)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    if (!core || core_set_protocol(state, core, protocol) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *stream_is_closing(PyObject *self, PyObject *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    return core ? PyBool_FromLong(core->is_closing) : NULL;
}

/* Up to Python 3.11 asyncio begins to read also where it is paused. */
PyObject *stream_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    if (!core)
        return NULL;
    struct loop_object *loop = stream_loop(state, core);
    if (!loop || core->is_closing || (PY_VERSION_HEX >= 0x030C0000 && core->is_paused))
        Py_RETURN_NONE;
    PyObject *handle = loop_add_reader(loop, args, count);
    if (!handle)
        return NULL;
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

PyObject *stream_read_ready_on_eof(PyObject *self, PyObject *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    if (!core)
        return NULL;
    struct loop_object *loop = stream_loop(state, core);
    if (!loop || loop->is_debug) /* which says more */
        return PyObject_CallOneArg(state->aio.base_on_eof, self);
    PyObject *kept = PyObject_CallMethodNoArgs(core->protocol, state->strings[STRING_EOF_RECEIVED]);
    int keeps = kept ? PyObject_IsTrue(kept) : -1;
    Py_XDECREF(kept);
    if (!kept)
        return stream_fail(state, self, "Fatal error: protocol.eof_received() call failed.");
    if (keeps == 0)
        return PyObject_CallMethodNoArgs(self, state->strings[STRING_CLOSE]);
    if (keeps < 0 ||
        (stream_loop(state, core) && slot_leave(loop, core->fd, false, EVENTS_TO_CLOSE) < 0))
        return NULL;
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------------------- its end */

PyObject *stream_close(PyObject *self, PyObject *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    if (!core)
        return NULL;
    struct loop_object *loop = stream_loop(state, core);
    if (!loop || core->is_closing)
        Py_RETURN_NONE;
    core->is_closing = true;
    int holds = core->buffer ? PyObject_IsTrue(core->buffer) : 0;
    recording_join(state);
    if (holds < 0 || slot_leave(loop, core->fd, !holds, !holds && core->owns_fd ? 1 : 0) < 0)
        return NULL;
    if (holds)
        Py_RETURN_NONE;
    core->conn_lost++;
    if (call_soon(loop, self, STRING_CALL_CONNECTION_LOST, Py_None, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The socket object is closed, and where nothing but it (a file of makefile()) needs the standard
 * library's, the descriptor is left for the transport to close. Returns 0, or -1 with an exception
 * set. */
static int core_take_descriptor(struct module_state *state, struct stream_core *core,
                                PyObject *sock)
{
    enum state_string way = STRING_CLOSE;
    if (!sock || sock == Py_None)
        return 0;
    if ((PyObject *)Py_TYPE(sock) == state->aio.socket_class) {
        PyObject *files = PyObject_GetAttrString(sock, "_io_refs");
        if (files && PyLong_AsLong(files) == 0)
            way = STRING_DETACH_SOCKET;
        Py_XDECREF(files);
        PyErr_Clear();
    }
    PyObject *done = PyObject_CallMethodNoArgs(sock, state->strings[way]);
    if (done && way == STRING_DETACH_SOCKET) /* closed already: -1 */
        core->owns_fd = PyLong_AsLong(done) == core->fd;
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* Close the socket. Returns 0, or -1 with an exception set. */
static int core_close_socket(struct module_state *state, struct stream_core *core)
{
    PyObject *sock = core->sock;
    core->sock = Py_NewRef(Py_None);
    int result = core->owns_fd ? 0 : core_take_descriptor(state, core, sock);
    if (core->owns_fd) {
        core->owns_fd = false;
        RECORDED(state);
        Py_BEGIN_ALLOW_THREADS kernel_close(core->fd);
        Py_END_ALLOW_THREADS
    }
    Py_XDECREF(sock);
    return result;
}

/* Close the socket and leave protocol, loop and server. Returns 0, or -1 with an exception set. */
static int core_end(struct module_state *state, struct stream_core *core, PyObject *self)
{
    PyObject *server = core->server;
    struct loop_object *loop = stream_loop(state, core);
    core->server = Py_NewRef(Py_None);
    int result = core_close_socket(state, core);
    if (loop)
        slot_drop_transport(loop, core->fd, self, true);
    Py_XSETREF(core->protocol, Py_NewRef(Py_None));
    Py_XSETREF(core->loop, Py_NewRef(Py_None));
    if (server && server != Py_None && server_call(state, server, self, STRING_DETACH) < 0)
        result = -1;
    Py_XDECREF(server);
    return result;
}

/* Who waits for the write buffer to be empty waits in vain. Returns 0, or -1 with an exception set.
 */
static int core_end_wait(struct module_state *state, struct stream_core *core)
{
    if (!core->empty_waiter || core->empty_waiter == Py_None)
        return 0;
    PyObject *failure =
        PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
    PyObject *done = failure
                         ? PyObject_CallMethodOneArg(core->empty_waiter,
                                                     state->strings[STRING_SET_EXCEPTION], failure)
                         : NULL;
    Py_XDECREF(failure);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

PyObject *stream_call_connection_lost(PyObject *self, PyObject *failure)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    PyObject *raised = NULL;
    if (!core)
        return NULL;
    PyObject *done = core->protocol_connected && core->protocol
                         ? PyObject_CallMethodOneArg(
                               core->protocol, state->strings[STRING_CONNECTION_LOST], failure)
                         : Py_NewRef(Py_None);
    if (!done)
        raised = exception_fetch();
    Py_XDECREF(done);
    int result = core_end(state, core, self);
    if (raised && result == 0)
        PyErr_SetObject((PyObject *)Py_TYPE(raised), raised);
    bool failed = raised || result < 0;
    Py_XDECREF(raised);
    if (failed || core_end_wait(state, core) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Where it was not closed: asyncio's __del__ warns, and closes it. */
void stream_finalize(PyObject *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    struct loop_object *loop = core ? stream_loop(state, core) : NULL;
    bool is_open = core && (core->owns_fd || (core->sock && core->sock != Py_None));
    PyObject *done = is_open ? PyObject_CallOneArg(state->aio.base_del, self) : NULL;
    if (is_open && !done)
        PyErr_WriteUnraisable(self);
    Py_XDECREF(done);
    if (loop)
        slot_drop_transport(loop, core->fd, self, true);
    PyErr_Restore(type, value, traceback);
}
