#include "python/aio/tls_core.h"

#include <structmember.h>

#include "python/aio/stream_core.h"
#include "python/aio/stream_methods.h"

/* Believe nothing but an SSLObject as ssl makes it: a program may have a class of its own. */
static bool tls_find_session(struct tls_core *core)
{
    const struct tls_state *tls = &core->state->aio.tls;
    if (!Py_IS_TYPE(core->sslobj, (PyTypeObject *)tls->object_class) || !core->incoming ||
        !core->outgoing || !Py_IS_TYPE(core->incoming, (PyTypeObject *)tls->memory_type) ||
        !Py_IS_TYPE(core->outgoing, (PyTypeObject *)tls->memory_type))
        return false;
    PyObject *socket = PyObject_GetAttr(core->sslobj, core->state->strings[STRING_SSLOBJ]);
    if (socket && Py_IS_TYPE(socket, (PyTypeObject *)tls->socket_type) &&
        openssl_session_of(&tls->openssl, socket, core->incoming, core->outgoing, &core->session)) {
        core->socket = socket;
        return true;
    }
    PyErr_Clear();
    Py_XDECREF(socket);
    return false;
}

bool tls_is_direct(struct tls_core *core)
{
    if (!core->loop || !PyObject_TypeCheck(core->loop, core->state->aio.loop_type))
        return false;
    if (core->looked_at != core->sslobj) {
        core->session = (struct openssl_session){0};
        Py_CLEAR(core->socket);
        Py_XSETREF(core->looked_at, Py_XNewRef(core->sslobj));
        if (core->sslobj && !tls_find_session(core))
            core->session = (struct openssl_session){0};
    }
    return core->session.ssl;
}

int tls_call(struct tls_core *core, enum state_string name)
{
    PyObject *done = PyObject_CallMethodNoArgs((PyObject *)core, core->state->strings[name]);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static int tls_transmit(struct tls_core *core, const char *data, size_t len)
{
    struct module_state *state = core->state;
    PyObject *transport = core->transport ? core->transport : Py_None;
    if (stream_core_of(state, transport))
        return stream_send(state, transport, data, len);
    PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
    PyObject *done =
        bytes ? PyObject_CallMethodOneArg(transport, state->strings[STRING_WRITE], bytes) : NULL;
    Py_XDECREF(bytes);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

Py_ssize_t tls_send_encrypted(struct tls_core *core)
{
    const struct openssl *openssl = tls_openssl(core);
    struct bio_st *outgoing = core->session.outgoing;
    size_t waiting = openssl->BIO_ctrl_pending(outgoing);
    while (core->ssl_writing_paused == Py_False && waiting > 0) {
        char *scratch = loop_scratch(tls_loop(core));
        if (!scratch)
            return -1;
        int n = openssl->BIO_read(outgoing, scratch, LOOP_SCRATCH);
        if (n <= 0)
            break;
        if (tls_transmit(core, scratch, (size_t)n) < 0)
            return -1;
        waiting = n < LOOP_SCRATCH ? 0 : openssl->BIO_ctrl_pending(outgoing);
    }
    return (Py_ssize_t)waiting;
}

/* -1: it is no such number. */
static Py_ssize_t size_of(PyObject *number)
{
    Py_ssize_t size = number && PyLong_Check(number) ? PyLong_AsSsize_t(number) : -1;
    if (size < 0)
        PyErr_Clear();
    return size;
}

/* May it stay as it is, paused or not, with so many bytes waiting? */
static bool is_steady(size_t waiting, PyObject *paused, PyObject *high, PyObject *low)
{
    Py_ssize_t limit = size_of(paused == Py_True ? low : high);
    if (limit < 0)
        return false;
    return paused == Py_True ? waiting > (size_t)limit
                             : paused == Py_False && waiting < (size_t)limit;
}

int tls_flush(struct tls_core *core)
{
    if (!tls_is_direct(core)) /* the program has put another session there */
        return 0;
    Py_ssize_t waiting = tls_send_encrypted(core);
    if (waiting < 0)
        return -1;
    Py_ssize_t backlog = size_of(core->write_buffer_size);
    if (backlog >= 0 && is_steady((size_t)waiting + (size_t)backlog, core->app_writing_paused,
                                  core->outgoing_high, core->outgoing_low))
        return 0;
    return tls_call(core, STRING_CONTROL_APP_WRITING);
}

int tls_control_reading(struct tls_core *core)
{
    if (!tls_is_direct(core))
        return 0;
    size_t waiting = tls_openssl(core)->BIO_ctrl_pending(core->session.incoming);
    if (is_steady(waiting, core->ssl_reading_paused, core->incoming_high, core->incoming_low))
        return 0;
    return tls_call(core, STRING_CONTROL_SSL_READING);
}

static PyObject *tls_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    (void)args;
    (void)keywords;
    struct module_state *state = state_of_type(type);
    struct tls_core *core = state ? (struct tls_core *)type->tp_alloc(type, 0) : NULL;
    if (core)
        core->state = state;
    return (PyObject *)core;
}

static int core_traverse(struct tls_core *core, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(core));
    Py_VISIT(core->looked_at);
    Py_VISIT(core->socket);
#define X(name, text) Py_VISIT(core->name);
    TLS_FIELDS(X)
#undef X
    return 0;
}

static int core_clear(struct tls_core *core)
{
    core->session = (struct openssl_session){0};
    Py_CLEAR(core->looked_at);
    Py_CLEAR(core->socket);
#define X(name, text) Py_CLEAR(core->name);
    TLS_FIELDS(X)
#undef X
    return 0;
}

static void core_dealloc(struct tls_core *core)
{
    PyTypeObject *type = Py_TYPE(core);
    PyObject_GC_UnTrack(core);
    core_clear(core);
    type->tp_free((PyObject *)core);
    Py_DECREF(type);
}

static PyMethodDef core_methods[] = {
    {"_do_read", tls_do_read, METH_NOARGS, NULL},
    {"_write_appdata", tls_write_appdata, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef core_members[] = {
#define X(name, text) {text, T_OBJECT_EX, offsetof(struct tls_core, name), 0, NULL},
    TLS_FIELDS(X)
#undef X
        {NULL, 0, 0, 0, NULL},
};

static PyType_Slot core_slots[] = {
    {Py_tp_doc, "The part of asyncio's SSLProtocol that is in C, to derive from together with it."},
    {Py_tp_new, tls_new},
    {Py_tp_dealloc, core_dealloc},
    {Py_tp_traverse, core_traverse},
    {Py_tp_clear, core_clear},
    {Py_tp_methods, core_methods},
    {Py_tp_members, core_members},
    {0, NULL},
};

static PyType_Spec core_spec = {
    .name = "zolal._zolal.TLSCore",
    .basicsize = sizeof(struct tls_core),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = core_slots,
};

int tls_core_type_add(PyObject *module)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    aio->tls_core_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &core_spec, NULL);
    return aio->tls_core_type ? PyModule_AddType(module, aio->tls_core_type) : -1;
}
