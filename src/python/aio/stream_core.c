#include "python/aio/stream_core.h"

#include <stdbool.h>
#include <stddef.h>
#include <structmember.h>

#include "python/state.h"

/* Where the transport keeps it; NULL: the object is none that does. */
static PyObject **core_place(const struct module_state *state, PyObject *transport)
{
    const struct aio_state *aio = &state->aio;
    if (!aio->transport_class ||
        !PyObject_TypeCheck(transport, (PyTypeObject *)aio->transport_class))
        return NULL;
    return (PyObject **)((char *)transport + aio->core_offset);
}

struct stream_core *stream_core_of(const struct module_state *state, PyObject *transport)
{
    PyObject **place = core_place(state, transport);
    bool is_there = place && *place && Py_IS_TYPE(*place, state->aio.stream_core_type);
    return is_there ? (struct stream_core *)*place : NULL;
}

static struct stream_core *core_new(struct module_state *state)
{
    struct stream_core *core = PyObject_GC_New(struct stream_core, state->aio.stream_core_type);
    if (!core)
        return NULL;
#define X(name, text) core->name = NULL;
    STREAM_FIELDS(X)
#undef X
    PyObject_GC_Track(core);
    return core;
}

/* `offset`: of the member. */
static PyObject *core_get(PyObject *transport, void *offset)
{
    const struct module_state *state = state_of_type(Py_TYPE(transport));
    struct stream_core *core = state ? stream_core_of(state, transport) : NULL;
    PyObject *value = core ? *(PyObject **)((char *)core + (size_t)offset) : NULL;
    if (!value && !PyErr_Occurred())
        PyErr_SetString(PyExc_AttributeError, "the transport has no such attribute yet");
    return Py_XNewRef(value);
}

static int core_set(PyObject *transport, PyObject *value, void *offset)
{
    struct module_state *state = state_of_type(Py_TYPE(transport));
    PyObject **place = state ? core_place(state, transport) : NULL;
    if (!place) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "this is no transport of zolal's");
        return -1;
    }
    if (!*place && !(*place = (PyObject *)core_new(state)))
        return -1;
    if (!Py_IS_TYPE(*place, state->aio.stream_core_type)) {
        PyErr_SetString(PyExc_TypeError, "_core is the transport's own");
        return -1;
    }
    Py_XSETREF(*(PyObject **)((char *)*place + (size_t)offset), Py_XNewRef(value));
    return 0;
}

PyGetSetDef stream_core_attributes[] = {
#define X(name, text) {text, core_get, core_set, NULL, (void *)offsetof(struct stream_core, name)},
    STREAM_FIELDS(X)
#undef X
        {NULL, NULL, NULL, NULL, NULL},
};

int stream_core_adopt(struct module_state *state, PyObject *class)
{
    PyObject *slot = PyObject_GetAttrString(class, "_core");
    if (!slot)
        return -1;
    int result = PyType_Check(class) && Py_IS_TYPE(slot, &PyMemberDescr_Type) ? 0 : -1;
    if (result == 0) {
        state->aio.core_offset = ((PyMemberDescrObject *)slot)->d_member->offset;
        Py_XSETREF(state->aio.transport_class, Py_NewRef(class));
    } else {
        PyErr_SetString(PyExc_TypeError, "the class needs a slot _core");
    }
    Py_DECREF(slot);
    return result;
}

static int core_traverse(struct stream_core *core, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(core));
#define X(name, text) Py_VISIT(core->name);
    STREAM_FIELDS(X)
#undef X
    return 0;
}

static int core_clear(struct stream_core *core)
{
#define X(name, text) Py_CLEAR(core->name);
    STREAM_FIELDS(X)
#undef X
    return 0;
}

static void core_dealloc(struct stream_core *core)
{
    PyTypeObject *type = Py_TYPE(core);
    PyObject_GC_UnTrack(core);
    core_clear(core);
    PyObject_GC_Del(core);
    Py_DECREF(type);
}

static PyType_Slot core_slots[] = {
    {Py_tp_doc, "What each message asks of a transport for streams."},
    {Py_tp_dealloc, core_dealloc},
    {Py_tp_traverse, core_traverse},
    {Py_tp_clear, core_clear},
    {0, NULL},
};

static PyType_Spec core_spec = {
    .name = "zolal._zolal.StreamCore",
    .basicsize = sizeof(struct stream_core),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = core_slots,
};

int stream_core_type_add(PyObject *module)
{
    struct aio_state *aio = &state_of_module(module)->aio;
    aio->stream_core_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &core_spec, NULL);
    return aio->stream_core_type ? 0 : -1;
}
