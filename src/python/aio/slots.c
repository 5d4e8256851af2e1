#include "python/aio/slots.h"

#include <assert.h>
#include <errno.h>

#include "base/memory.h"
#include "python/aio/handle.h"
#include "python/aio/waiter.h"
#include "python/weakref.h"
#include "socket/kernel.h"

static_assert(sizeof(void *) == sizeof(uint64_t), "epoll's data hold a number and a generation");

enum { TABLE_SIZE_FIRST = 64 };

void *slot_data(int fd, uint32_t generation)
{
    return (void *)(uintptr_t)((uint64_t)generation << 32 | (uint32_t)fd);
}

int slot_data_fd(void *data)
{
    return (int)(uint32_t)(uintptr_t)data;
}

static int table_grow(struct slot_table *table, size_t least)
{
    size_t size = table->size > 0 ? table->size : TABLE_SIZE_FIRST;
    while (size < least)
        size *= 2;
    struct slot **slots = memory_resize_array(table->slots, size, sizeof(struct slot *));
    if (!slots) {
        PyErr_NoMemory();
        return -1;
    }
    memset(slots + table->size, 0, (size - table->size) * sizeof(struct slot *));
    table->slots = slots;
    table->size = size;
    return 0;
}

struct slot *slot_find(const struct slot_table *table, int fd)
{
    return fd >= 0 && (size_t)fd < table->size ? table->slots[fd] : NULL;
}

struct slot *slot_get(struct loop_object *loop, int fd)
{
    struct slot_table *table = &loop->table;
    struct slot *slot = slot_find(table, fd);
    if (slot)
        return slot;
    if ((size_t)fd >= table->size && table_grow(table, (size_t)fd + 1) < 0)
        return NULL;
    slot = memory_new(sizeof(*slot));
    if (!slot) {
        PyErr_NoMemory();
        return NULL;
    }
    slot->fd = fd;
    slot->generation = ++table->generation;
    list_init(&slot->reading);
    list_init(&slot->writing);
    table->slots[fd] = slot;
    return slot;
}

/* Is it this socket that the slot is bound to? The caller has it, so it lives. */
static bool slot_is_of(const struct slot *slot, PyObject *socket)
{
    if (!slot->socket)
        return false;
    PyObject *bound = weakref_get(slot->socket);
    Py_XDECREF(bound);
    return bound == socket;
}

struct slot *slot_of_socket(struct loop_object *loop, int fd, PyObject *socket)
{
    struct slot *slot = slot_find(&loop->table, fd);
    return slot && slot_is_of(slot, socket) ? slot : NULL;
}

/* Raises RuntimeError where a transport uses the descriptor. */
static int check_no_transport(struct loop_object *loop, int fd)
{
    PyObject *number = PyLong_FromLong(fd);
    PyObject *args[] = {(PyObject *)loop, number};
    PyObject *done =
        number ? PyObject_VectorcallMethod(loop->state->strings[STRING_ENSURE_FD_NO_TRANSPORT],
                                           args, 2, NULL)
               : NULL;
    Py_XDECREF(number);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

long socket_number(const struct module_state *state, PyObject *socket, PyObject *member,
                   const char *name)
{
    PyObject *value = PyObject_TypeCheck(socket, state->socket_type)
                          ? PyObject_GetAttrString(socket, name)
                          : Py_TYPE(member)->tp_descr_get(member, socket, NULL);
    long number = value ? PyLong_AsLong(value) : -1;
    Py_XDECREF(value);
    return number;
}

/* A UNIX socket's receive ends where descriptors came along, so it is no stream in this sense. -1
 * with an exception set. */
static int socket_is_tcp(const struct module_state *state, PyObject *socket)
{
    long type = socket_number(state, socket, state->aio.socket_type, "type");
    long family = socket_number(state, socket, state->aio.socket_family, "family");
    if (type < 0 || family < 0)
        return -1;
    return type == SOCK_STREAM && (family == AF_INET || family == AF_INET6);
}

struct slot *slot_bind(struct loop_object *loop, int fd, PyObject *socket)
{
    struct slot *slot = slot_of_socket(loop, fd, socket);
    if (slot)
        return slot;
    int is_tcp = socket_is_tcp(loop->state, socket);
    PyObject *reference = is_tcp >= 0 ? PyWeakref_NewRef(socket, NULL) : NULL;
    if (!reference || check_no_transport(loop, fd) < 0 || !(slot = slot_get(loop, fd))) {
        Py_XDECREF(reference);
        return NULL;
    }
    Py_XSETREF(slot->socket, reference);
    slot->generation = ++loop->table.generation;
    slot->registered = 0;
    slot->is_tcp = is_tcp > 0;
    slot->is_drained = slot->is_ended = slot->wants_out = false;
    slot->ignores = 0;
    return slot;
}

/* The events that it is to be registered for; 0: none. */
static uint32_t slot_wanted(const struct slot *slot)
{
    bool reads = !list_is_empty(&slot->reading), writes = !list_is_empty(&slot->writing);
    if (slot->reader || slot->writer)
        return (slot->reader || reads ? EPOLLIN : 0u) | (slot->writer || writes ? EPOLLOUT : 0u);
    if (!slot->socket || (!reads && !writes && !(slot->registered & EPOLLET)))
        return 0;
    return EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET | (slot->wants_out ? EPOLLOUT : 0u);
}

static int slot_tell_epoll(struct loop_object *loop, struct slot *slot, uint32_t wanted)
{
    void *data = slot_data(slot->fd, slot->generation);
    int result;
    loop->is_seen = false;
    if (wanted == 0) {
        result = kernel_epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, slot->fd, 0, data);
        if (result == -ENOENT || result == -EBADF)
            result = 0; /* it was closed */
    } else {
        /* What is registered may be gone with a close, or be of a duplicate of the same number. */
        bool adds = slot->registered == 0;
        int first = adds ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        int second = adds ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
        result = kernel_epoll_ctl(loop->epoll_fd, first, slot->fd, wanted, data);
        if (result == (adds ? -EEXIST : -ENOENT))
            result = kernel_epoll_ctl(loop->epoll_fd, second, slot->fd, wanted, data);
    }
    slot->registered = result < 0 ? 0 : wanted;
    slot->is_drained = false;
    if (result == 0)
        return 0;
    errno = -result;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

int slot_register(struct loop_object *loop, struct slot *slot)
{
    uint32_t wanted = slot_wanted(slot);
    return wanted == slot->registered ? 0 : slot_tell_epoll(loop, slot, wanted);
}

int slots_register_all(struct loop_object *loop)
{
    for (size_t fd = 0; fd < loop->table.size; fd++) {
        struct slot *slot = loop->table.slots[fd];
        if (!slot)
            continue;
        slot->registered = 0;
        if (slot_register(loop, slot) < 0)
            PyErr_Clear(); /* closed: who waits for it will go on waiting */
    }
    return 0;
}

/* Have a reader or writer called, or forget one that was cancelled by its handle. */
static int slot_call(struct loop_object *loop, PyObject **place)
{
    PyObject *handle = *place;
    if (!handle)
        return 0;
    if (!((struct handle_object *)handle)->is_cancelled)
        return ready_push(loop, Py_NewRef(handle));
    Py_CLEAR(*place);
    return 0;
}

static int slot_dispatch(struct loop_object *loop, struct slot *slot, uint32_t events)
{
    if (slot->ignores > 0) {
        slot->ignores--;
        return 0;
    }
    bool ended = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    bool readable = ended || events & EPOLLIN;
    bool writable = events & (EPOLLOUT | EPOLLHUP | EPOLLERR);
    slot->is_ended |= ended || events & EPOLLPRI;
    slot->is_drained &= !readable;
    if (readable && (waiters_wake(loop, &slot->reading) < 0 || slot_call(loop, &slot->reader) < 0))
        return -1;
    if (writable && (waiters_wake(loop, &slot->writing) < 0 || slot_call(loop, &slot->writer) < 0))
        return -1;
    if (slot_register(loop, slot) < 0) /* a level that nobody waits for any more */
        PyErr_Clear();                 /* it was closed */
    return 0;
}

int slots_dispatch(struct loop_object *loop, const struct epoll_event *event)
{
    struct slot *slot = slot_find(&loop->table, slot_data_fd(event->data.ptr));
    if (!slot || !slot->registered || event->data.ptr != slot_data(slot->fd, slot->generation))
        return 1;
    return slot_dispatch(loop, slot, event->events);
}

int slots_traverse(struct loop_object *loop, visitproc visit, void *arg)
{
    for (size_t fd = 0; fd < loop->table.size; fd++) {
        struct slot *slot = loop->table.slots[fd];
        if (!slot)
            continue;
        Py_VISIT(slot->socket);
        Py_VISIT(slot->reader);
        Py_VISIT(slot->writer);
        int result = waiters_traverse(&slot->reading, visit, arg);
        if (result == 0)
            result = waiters_traverse(&slot->writing, visit, arg);
        if (result)
            return result;
    }
    return 0;
}

void slots_clear(struct loop_object *loop)
{
    struct slot_table table = loop->table;
    loop->table = (struct slot_table){.generation = table.generation};
    for (size_t fd = 0; fd < table.size; fd++) {
        struct slot *slot = table.slots[fd];
        if (!slot)
            continue;
        waiters_drop(&slot->reading);
        waiters_drop(&slot->writing);
        Py_CLEAR(slot->reader);
        Py_CLEAR(slot->writer);
        Py_CLEAR(slot->socket);
        memory_free(slot);
    }
    memory_free(table.slots);
}

/* A number, or what has a fileno(). -1 with an exception set: ValueError as selectors has it. */
static int fd_from_object(const struct module_state *state, PyObject *object)
{
    PyObject *fileno = PyLong_Check(object)
                           ? Py_NewRef(object)
                           : PyObject_CallMethodNoArgs(object, state->strings[STRING_FILENO]);
    PyObject *number = fileno ? PyNumber_Long(fileno) : NULL;
    int fd = number ? PyObject_AsFileDescriptor(number) : -1;
    Py_XDECREF(number);
    Py_XDECREF(fileno);
    if (fd < 0 &&
        (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_AttributeError))) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", object);
    }
    return fd;
}

/* Set the reader or the writer to `handle` (NULL: none), whose reference is taken over, and cancel
 * what was there. Returns 1 if there was one, else 0; -1 with an exception set. */
static int slot_set(struct loop_object *loop, struct slot *slot, PyObject **place, PyObject *handle)
{
    PyObject *before = *place;
    *place = handle;
    slot->ignores = 0;
    if (handle && before)
        slot->registered = 0; /* the descriptor may be another one by now: tell epoll anew */
    if (slot_register(loop, slot) < 0) {
        if (handle) {
            *place = before;
            Py_DECREF(handle);
            return -1;
        }
        PyErr_Clear();
    }
    if (!before)
        return 0;
    int result = handle_cancel((struct handle_object *)before);
    Py_DECREF(before);
    return result < 0 ? -1 : 1;
}

static PyObject *loop_add(struct loop_object *loop, PyObject *const *args, Py_ssize_t count,
                          size_t place, const char *method)
{
    if (count < 2)
        return PyErr_Format(PyExc_TypeError, "%s() takes a descriptor and a callback", method);
    if (loop_check_open(loop) < 0)
        return NULL;
    int fd = fd_from_object(loop->state, args[0]);
    struct handle_object *handle =
        fd < 0 ? NULL
               : handle_new(loop->state->aio.handle_type, loop, args[1], args + 2, count - 2, NULL);
    if (handle)
        handle_track(handle);
    struct slot *slot = handle ? slot_get(loop, fd) : NULL;
    recording_join(loop->state);
    if (!slot || slot_set(loop, slot, (PyObject **)((char *)slot + place), Py_NewRef(handle)) < 0)
        Py_CLEAR(handle);
    return (PyObject *)handle;
}

static PyObject *loop_remove(struct loop_object *loop, PyObject *fileobj, size_t place)
{
    if (loop->is_closed)
        Py_RETURN_FALSE;
    int fd = fd_from_object(loop->state, fileobj);
    if (fd < 0)
        return NULL;
    struct slot *slot = slot_find(&loop->table, fd);
    PyObject **handle = slot ? (PyObject **)((char *)slot + place) : NULL;
    recording_join(loop->state);
    int result = handle && *handle ? slot_set(loop, slot, handle, NULL) : 0;
    return result < 0 ? NULL : PyBool_FromLong(result);
}

PyObject *loop_add_reader(struct loop_object *loop, PyObject *const *args, Py_ssize_t count)
{
    return loop_add(loop, args, count, offsetof(struct slot, reader), "_add_reader");
}

PyObject *loop_add_writer(struct loop_object *loop, PyObject *const *args, Py_ssize_t count)
{
    return loop_add(loop, args, count, offsetof(struct slot, writer), "_add_writer");
}

PyObject *loop_remove_reader(struct loop_object *loop, PyObject *fileobj)
{
    return loop_remove(loop, fileobj, offsetof(struct slot, reader));
}

PyObject *loop_remove_writer(struct loop_object *loop, PyObject *fileobj)
{
    return loop_remove(loop, fileobj, offsetof(struct slot, writer));
}

PyObject *loop_watched(struct loop_object *loop, PyObject *unused)
{
    PyObject *list = PyList_New(0);
    (void)unused;
    for (size_t fd = 0; list && fd < loop->table.size; fd++) {
        struct slot *slot = loop->table.slots[fd];
        if (!slot || (!slot->reader && !slot->writer))
            continue;
        PyObject *row = Py_BuildValue("iOO", slot->fd, slot->reader ? slot->reader : Py_None,
                                      slot->writer ? slot->writer : Py_None);
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}
