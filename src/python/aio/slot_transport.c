#include "python/aio/slot_transport.h"

#include "python/aio/handle.h"
#include "python/aio/slots.h"
#include "python/aio/stream_core.h"

int slot_keep_transport(struct loop_object *loop, int fd, PyObject *transport)
{
    struct slot *slot = fd >= 0 ? slot_get(loop, fd) : NULL;
    if (slot)
        slot->transport = transport;
    return slot || fd < 0 ? 0 : -1;
}

void slot_drop_transport(struct loop_object *loop, int fd, const PyObject *transport,
                         bool is_closed)
{
    struct slot *slot = slot_find(&loop->table, fd);
    if (!slot || slot->transport != transport)
        return;
    slot->transport = NULL;
    if (!is_closed || !slot->registered)
        return;
    slot->ignores = 0;
    slot->registered = 0;
    slot->generation = ++loop->table.generation; /* a forked child may have the descriptor still */
}

int slot_check_transport(struct loop_object *loop, int fd, PyObject *named)
{
    const struct slot *slot = slot_find(&loop->table, fd);
    PyObject *transport = slot ? slot->transport : NULL;
    if (!transport || stream_core_of(loop->state, transport)->is_closing)
        return 0;
    PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", named,
                 transport);
    return -1;
}

static int cancel(PyObject **place)
{
    PyObject *handle = *place;
    *place = NULL;
    int result = handle ? handle_cancel((struct handle_object *)handle) : 0;
    Py_XDECREF(handle);
    return result;
}

int slot_leave(struct loop_object *loop, int fd, bool writing, uint8_t ignores)
{
    struct slot *slot = slot_find(&loop->table, fd);
    if (!slot)
        return 0;
    int result = cancel(&slot->reader);
    if (writing && cancel(&slot->writer) < 0)
        result = -1;
    slot->ignores = slot->registered && !slot->writer && !loop->has_forked ? ignores : 0;
    if (slot->ignores == 0 && slot_register(loop, slot) < 0)
        PyErr_Clear(); /* the descriptor is closed */
    return result;
}
