#include "python/aio/tls_core.h"

#include <structmember.h>

/* The transport's slot at `offset`; NULL: it is empty, or this is no such transport. */
static PyObject *transport_slot(const struct tls_state *tls, PyObject *transport, Py_ssize_t offset)
{
    if (!tls->transport_class ||
        !PyObject_TypeCheck(transport, (PyTypeObject *)tls->transport_class))
        return NULL;
    return *(PyObject **)((char *)transport + offset);
}

static PyObject *transport_write(PyObject *self, PyObject *data)
{
    struct module_state *state = state_of_type(Py_TYPE(self));
    if (!state)
        return NULL;
    PyObject *protocol = transport_slot(&state->aio.tls, self, state->aio.tls.protocol_offset);
    bool is_plain = PyBytes_Check(data) || PyByteArray_Check(data) || PyMemoryView_Check(data);
    if (!is_plain || !protocol || !PyObject_TypeCheck(protocol, state->aio.tls_core_type)) {
        PyObject *args[] = {self, data};
        return PyObject_Vectorcall(state->aio.tls.base_write, args, 2, NULL);
    }
    Py_ssize_t len = PyObject_Size(data);
    if (len <= 0)
        return len < 0 ? NULL : Py_NewRef(Py_None);
    Py_INCREF(protocol);
    PyObject *done = tls_write((struct tls_core *)protocol, &data, 1);
    Py_DECREF(protocol);
    return done;
}

static PyObject *transport_is_closing(PyObject *self, PyObject *unused)
{
    struct module_state *state = state_of_type(Py_TYPE(self));
    (void)unused;
    if (!state)
        return NULL;
    PyObject *closed = transport_slot(&state->aio.tls, self, state->aio.tls.closed_offset);
    if (!closed)
        PyErr_SetString(PyExc_AttributeError, "_closed");
    return Py_XNewRef(closed);
}

/* Where `class` has the slot `name`; -1 with an exception set. */
static Py_ssize_t slot_offset(PyObject *class, const char *name)
{
    PyObject *slot = PyObject_GetAttrString(class, name);
    Py_ssize_t offset = -1;
    if (slot && PyType_Check(class) && Py_IS_TYPE(slot, &PyMemberDescr_Type))
        offset = ((PyMemberDescrObject *)slot)->d_member->offset;
    else if (slot)
        PyErr_Format(PyExc_TypeError, "the class needs a slot %s", name);
    Py_XDECREF(slot);
    return offset;
}

static PyObject *methods_adopt(PyObject *type, PyObject *class)
{
    struct module_state *state = state_of_type((PyTypeObject *)type);
    if (!state)
        return NULL;
    struct tls_state *tls = &state->aio.tls;
#define X(name, module, attribute)                                            \
    if (!tls->name && !(tls->name = aio_import_attribute(module, attribute))) \
        return NULL;
    TLS_IMPORTS(X)
#undef X
    Py_ssize_t protocol = slot_offset(class, "_ssl_protocol");
    Py_ssize_t closed = protocol < 0 ? -1 : slot_offset(class, "_closed");
    if (closed < 0)
        return NULL;
    tls->protocol_offset = protocol;
    tls->closed_offset = closed;
    Py_XSETREF(tls->transport_class, Py_NewRef(class));
    if (!tls->openssl.library)
        openssl_load(&tls->openssl);
    Py_RETURN_NONE;
}

static PyMethodDef transport_methods[] = {
    {"_adopt", methods_adopt, METH_O | METH_CLASS,
     "_adopt($type, class, /)\n--\n\nThe class of transports that has the slots."},
    {"write", transport_write, METH_O,
     "write($self, data, /)\n--\n\nEncrypt and send it, now or when there is room."},
    {"is_closing", transport_is_closing, METH_NOARGS,
     "is_closing($self)\n--\n\nWas it closed, or is it being?"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, "The part of asyncio's transport for TLS that is in C."},
    {Py_tp_methods, transport_methods},
    {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "zolal._zolal.TLSMethods",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = transport_slots,
};

int tls_methods_add(PyObject *module)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    aio->tls_methods = (PyTypeObject *)PyType_FromModuleAndSpec(module, &transport_spec, NULL);
    return aio->tls_methods ? PyModule_AddType(module, aio->tls_methods) : -1;
}

int tls_add(PyObject *module)
{
    return tls_core_type_add(module) < 0 ? -1 : tls_methods_add(module);
}

int tls_traverse(struct tls_state *tls, visitproc visit, void *arg)
{
#define X(name, ...) Py_VISIT(tls->name);
    TLS_IMPORTS(X)
#undef X
    Py_VISIT(tls->transport_class);
    return 0;
}

void tls_clear(struct tls_state *tls)
{
#define X(name, ...) Py_CLEAR(tls->name);
    TLS_IMPORTS(X)
#undef X
    Py_CLEAR(tls->transport_class);
    openssl_unload(&tls->openssl);
}
