#include "python/aio/stream_core.h"

#include <stddef.h>

#include "python/aio/loop_object.h"
#include "python/aio/slot_transport.h"
#include "python/aio/slots.h"
#include "python/socket/socket_object.h"

/* As asyncio has them, where the program sets none. */
enum { HIGH_WATER = 64 * 1024, LOW_WATER = HIGH_WATER / 4 };

struct stream_core *stream_core_of(const struct module_state *state, PyObject *transport)
{
    const struct aio_state *aio = &state->aio;
    PyTypeObject *class = (PyTypeObject *)aio->transport_class;
    bool has_one = class && PyObject_TypeCheck(transport, class);
    return has_one ? (struct stream_core *)((char *)transport + aio->core_offset) : NULL;
}

struct stream_core *stream_self(PyObject *self, struct module_state **state)
{
    *state = state_of_type(Py_TYPE(self));
    struct stream_core *core = *state ? stream_core_of(*state, self) : NULL;
    if (*state && !core)
        PyErr_SetString(PyExc_TypeError, "this is no transport of zolal's");
    return core;
}

PyObject *stream_alloc(struct module_state *state)
{
    PyTypeObject *class = (PyTypeObject *)state->aio.transport_class;
    if (class)
        return class->tp_alloc(class, 0);
    PyErr_SetString(PyExc_RuntimeError, "zolal.event_loop is not imported");
    return NULL;
}

struct loop_object *stream_loop(const struct module_state *state, const struct stream_core *core)
{
    bool is_ours = core && core->loop && PyObject_TypeCheck(core->loop, state->aio.loop_type);
    return is_ours ? (struct loop_object *)core->loop : NULL;
}

/* ------------------------------------------------------------------------------- addresses */

static int address_keep(union stream_address *kept, PyObject **object, const struct address *addr)
{
    sa_family_t family = addr->len > 0 ? addr->sa.sa_family : AF_UNSPEC;
    if (family == AF_INET)
        kept->in = addr->in;
    else if (family == AF_INET6)
        kept->in6 = addr->in6;
    else if (family != AF_UNSPEC)
        return (*object = address_as_object(addr)) ? 0 : -1;
    return 0;
}

int stream_keep_peer(struct stream_core *core, const struct address *addr)
{
    return address_keep(&core->peer, &core->peername, addr);
}

int stream_keep_local(struct stream_core *core, const struct address *addr)
{
    return address_keep(&core->local, &core->sockname, addr);
}

/* The address as an object, borrowed. */
static PyObject *address_object(const union stream_address *kept, PyObject **object)
{
    struct address addr = {.len = 0};
    if (*object)
        return *object;
    if (kept->in.sin_family == AF_INET)
        address_set(&addr, (const struct sockaddr *)&kept->in, sizeof(kept->in));
    else if (kept->in.sin_family == AF_INET6)
        address_set(&addr, (const struct sockaddr *)&kept->in6, sizeof(kept->in6));
    return *object = address_as_object(&addr);
}

/* ------------------------------------------------------------------------------- the socket */

int socket_kind_of(const struct module_state *state, PyObject *sock, struct socket_kind *kind)
{
    const struct aio_state *aio = &state->aio;
    long family = socket_number(state, sock, aio->socket_family, "family");
    long type = family < 0 ? -1 : socket_number(state, sock, aio->socket_type, "type");
    long protocol = type < 0 ? -1 : socket_number(state, sock, aio->socket_protocol, "proto");
    if (protocol < 0 && PyErr_Occurred())
        return -1;
    *kind = (struct socket_kind){.is_zolals = PyObject_TypeCheck(sock, state->socket_type),
                                 .family = (uint16_t)family,
                                 .type = (int)type,
                                 .protocol = (int)protocol};
    return 0;
}

PyObject *socket_of_kind(const struct module_state *state, const struct socket_kind *kind, int fd)
{
    PyObject *class = kind->is_zolals ? state->aio.zolal_socket_class : state->aio.socket_class;
    int type = kind->type | SOCK_NONBLOCK;
    if (fd >= 0)
        return PyObject_CallFunction(class, "iiii", (int)kind->family, type, kind->protocol, fd);
    PyObject *sock = PyObject_CallFunction(class, "iii", (int)kind->family, type, kind->protocol);
    PyObject *done = sock ? PyObject_CallMethodNoArgs(sock, state->strings[STRING_CLOSE]) : NULL;
    if (!done)
        Py_CLEAR(sock);
    Py_XDECREF(done);
    return sock;
}

PyObject *stream_socket(struct module_state *state, struct stream_core *core)
{
    if (!core->sock && core->owns_fd) {
        RECORDED(state);
        if (!(core->sock = socket_of_kind(state, &core->kind, core->fd)))
            return NULL;
        core->owns_fd = false;
    }
    return Py_NewRef(core->sock ? core->sock : Py_None);
}

/* ------------------------------------------------------------------------------- extra info */

/* {"socket": TransportSocket(sock)}; the program may ask for it when it is closed, and gets a
 * closed one. */
static PyObject *extra_begin(struct module_state *state, struct stream_core *core)
{
    PyObject *sock = stream_socket(state, core);
    if (sock == Py_None)
        Py_SETREF(sock, socket_of_kind(state, &core->kind, -1));
    PyObject *shown = sock ? PyObject_CallOneArg(state->aio.transport_socket_class, sock) : NULL;
    PyObject *extra = shown ? PyDict_New() : NULL;
    if (extra && PyDict_SetItem(extra, state->strings[STRING_SOCKET], shown) < 0)
        Py_CLEAR(extra);
    Py_XDECREF(shown);
    Py_XDECREF(sock);
    return extra;
}

PyObject *stream_extra(struct module_state *state, struct stream_core *core)
{
    if (core->extra)
        return core->extra;
    PyObject *extra = extra_begin(state, core);
    PyObject *local = extra ? address_object(&core->local, &core->sockname) : NULL;
    PyObject *peer = local ? address_object(&core->peer, &core->peername) : NULL;
    if (peer && PyDict_SetItem(extra, state->strings[STRING_SOCKNAME], local) == 0 &&
        PyDict_SetItem(extra, state->strings[STRING_PEERNAME], peer) == 0)
        return core->extra = extra;
    Py_XDECREF(extra);
    return NULL;
}

/* What is known without the dictionary, a new reference. NULL without an exception: nothing. */
static PyObject *extra_known(struct module_state *state, struct stream_core *core, PyObject *name)
{
    if (!PyUnicode_CheckExact(name))
        return NULL;
    if (PyUnicode_Compare(name, state->strings[STRING_PEERNAME]) == 0)
        return Py_XNewRef(address_object(&core->peer, &core->peername));
    if (PyUnicode_Compare(name, state->strings[STRING_SOCKNAME]) == 0)
        return Py_XNewRef(address_object(&core->local, &core->sockname));
    if (PyUnicode_Compare(name, state->strings[STRING_SOCKET]) != 0 || !stream_extra(state, core))
        return NULL;
    return Py_XNewRef(PyDict_GetItemWithError(core->extra, name));
}

PyObject *stream_get_extra_info(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                PyObject *names)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    PyObject *name = NULL, *none = Py_None, *tuple, *keywords;
    if (!core)
        return NULL;
    if (count >= 1 && count <= 2 && !names) {
        name = args[0];
        none = count == 2 ? args[1] : none;
    } else {
        if (arguments_from_stack(&tuple, &keywords, args, count, names) < 0)
            return NULL;
        char *texts[] = {"name", "default", NULL};
        int parsed = PyArg_ParseTupleAndKeywords(tuple, keywords, "O|O:get_extra_info", texts,
                                                 &name, &none); /* borrowed from `args` */
        Py_DECREF(tuple);
        Py_XDECREF(keywords);
        if (!parsed)
            return NULL;
    }
    if (core->extra)
        return PyObject_CallMethod(core->extra, "get", "OO", name, none);
    PyObject *found = extra_known(state, core, name);
    return found || PyErr_Occurred() ? found : Py_NewRef(none);
}

/* ------------------------------------------------------------------------------- attributes */

static PyObject *core_get_loop(PyObject *self, void *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    return core ? Py_NewRef(core->loop ? core->loop : Py_None) : NULL;
}

/* A loop that it leaves must not know it any more. */
static int core_set_loop(PyObject *self, PyObject *value, void *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    if (!core)
        return -1;
    struct loop_object *loop = stream_loop(state, core);
    if (loop)
        slot_drop_transport(loop, core->fd, self, false);
    Py_XSETREF(core->loop, Py_XNewRef(value));
    return 0;
}

static PyObject *core_get_sock(PyObject *self, void *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    return core ? stream_socket(state, core) : NULL;
}

static PyObject *core_get_extra(PyObject *self, void *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    return core ? Py_XNewRef(stream_extra(state, core)) : NULL;
}

PyObject *stream_buffer(const struct module_state *state, struct stream_core *core)
{
    if (!core->buffer)
        core->buffer = PyObject_CallNoArgs(state->aio.buffer_class);
    return core->buffer;
}

static PyObject *core_get_buffer(PyObject *self, void *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    return core ? Py_XNewRef(stream_buffer(state, core)) : NULL;
}

static PyObject *core_get_high_water(PyObject *self, void *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    if (!core)
        return NULL;
    return core->high_water ? Py_NewRef(core->high_water) : PyLong_FromLong(HIGH_WATER);
}

static PyObject *core_get_low_water(PyObject *self, void *unused)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    (void)unused;
    if (!core)
        return NULL;
    return core->low_water ? Py_NewRef(core->low_water) : PyLong_FromLong(LOW_WATER);
}

/* `offset`: of the member. */
static int core_set(PyObject *self, PyObject *value, void *offset)
{
    struct module_state *state;
    struct stream_core *core = stream_self(self, &state);
    if (!core)
        return -1;
    Py_XSETREF(*(PyObject **)((char *)core + (size_t)offset), Py_XNewRef(value));
    return 0;
}

#define MEMBER(name) ((void *)offsetof(struct stream_core, name))

PyGetSetDef stream_core_attributes[] = {
    {"_loop", core_get_loop, core_set_loop, NULL, NULL},
    {"_sock", core_get_sock, core_set, NULL, MEMBER(sock)},
    {"_extra", core_get_extra, core_set, NULL, MEMBER(extra)},
    {"_buffer", core_get_buffer, core_set, NULL, MEMBER(buffer)},
    {"_high_water", core_get_high_water, core_set, NULL, MEMBER(high_water)},
    {"_low_water", core_get_low_water, core_set, NULL, MEMBER(low_water)},
    {NULL, NULL, NULL, NULL, NULL},
};
