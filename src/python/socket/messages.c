#include "python/socket/socket_object.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* The buffers of an iterable, held, and the vector that points into them. */
struct buffers {
    PyObject *items;
    Py_buffer *held;
    struct iovec *parts;
    Py_ssize_t count;
    size_t len; /* of all */
};

/* What to say of a wrong one, and PyArg_Parse's format for a right one. */
struct buffers_words {
    const char *not_iterable;
    const char *too_long;
    const char *format;
};

static const struct buffers_words sendmsg_words = {
    "sendmsg() argument 1 must be an iterable", "sendmsg() argument 1 is too long",
    "y*;sendmsg() argument 1 must be an iterable of bytes-like objects"};
static const struct buffers_words recvmsg_into_words = {
    "recvmsg_into() argument 1 must be an iterable", "recvmsg_into() argument 1 is too long",
    "w*;recvmsg_into() argument 1 must be an iterable of single-segment read-write buffers"};

/* Its items, kept: what they are asked for may be Python code, which may change a list. A new
 * reference, or NULL with an exception set. */
static PyObject *items_of(PyObject *iterable, const char *not_iterable)
{
    PyObject *items = PySequence_Fast(iterable, not_iterable);
    if (items && PyList_Check(items))
        Py_SETREF(items, PyList_AsTuple(items));
    return items;
}

static void buffers_release(struct buffers *buffers)
{
    for (Py_ssize_t i = 0; i < buffers->count; i++)
        PyBuffer_Release(&buffers->held[i]);
    PyMem_Free(buffers->held);
    PyMem_Free(buffers->parts);
    Py_XDECREF(buffers->items);
}

/* Returns 0, or -1 with an exception set; release it in either case. */
static int buffers_init(struct buffers *buffers, PyObject *iterable,
                        const struct buffers_words *words)
{
    *buffers = (struct buffers){.items = items_of(iterable, words->not_iterable)};
    if (!buffers->items)
        return -1;
    Py_ssize_t count = PyTuple_GET_SIZE(buffers->items);
    if (count > INT_MAX) {
        PyErr_SetString(PyExc_OSError, words->too_long);
        return -1;
    }
    buffers->held = PyMem_New(Py_buffer, (size_t)count);
    buffers->parts = PyMem_New(struct iovec, (size_t)count);
    if (!buffers->held || !buffers->parts) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++, buffers->count++) {
        Py_buffer *held = &buffers->held[i];
        if (!PyArg_Parse(PyTuple_GET_ITEM(buffers->items, i), words->format, held))
            return -1;
        buffers->parts[i] = (struct iovec){held->buf, (size_t)held->len};
        buffers->len += (size_t)held->len;
    }
    return 0;
}

/* One (level, type, data) behind what `message` has already of control data. */
static int control_add(struct msghdr *message, PyObject *item)
{
    int level, type;
    Py_buffer data;
    if (!PyArg_Parse(item, "(iiy*):[sendmsg() ancillary data items]", &level, &type, &data))
        return -1;
    bool fits = (size_t)data.len < INT_MAX - CMSG_SPACE(0) &&
                CMSG_SPACE((size_t)data.len) <= INT_MAX - message->msg_controllen;
    size_t space = fits ? CMSG_SPACE((size_t)data.len) : 0;
    char *control =
        fits ? PyMem_Realloc(message->msg_control, message->msg_controllen + space) : NULL;
    if (control) {
        struct cmsghdr *head = (struct cmsghdr *)(control + message->msg_controllen);
        memset(head, 0, space);
        *head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN((size_t)data.len), .cmsg_level = level, .cmsg_type = type};
        memcpy(CMSG_DATA(head), data.buf, (size_t)data.len);
        message->msg_control = control;
        message->msg_controllen += space;
    } else if (fits) {
        PyErr_NoMemory();
    } else {
        PyErr_SetString(PyExc_OSError, "ancillary data item too large");
    }
    PyBuffer_Release(&data);
    return control ? 0 : -1;
}

/* sendmsg's ancillary data into `message`, whose control data is the caller's to free. */
static int control_from_object(struct msghdr *message, PyObject *iterable)
{
    if (!iterable)
        return 0;
    PyObject *items = items_of(iterable, "sendmsg() argument 2 must be an iterable");
    if (!items)
        return -1;
    int result = 0;
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(items); i++)
        result = control_add(message, PyTuple_GET_ITEM(items, i));
    Py_DECREF(items);
    return result;
}

static int64_t make_sendmsg(int fd, struct socket_call *call)
{
    return kernel_sendmsg_message(fd, call->message, call->flags | MSG_NOSIGNAL);
}

PyObject *socket_sendmsg(struct socket_object *socket, PyObject *args)
{
    PyObject *iterable, *ancillary = NULL, *object = NULL;
    int flags = 0;
    struct address addr;
    struct buffers buffers;
    struct msghdr message = {0};
    if (!PyArg_ParseTuple(args, "O|OiO:sendmsg", &iterable, &ancillary, &flags, &object))
        return NULL;
    RECORDED(socket->state);
    if (object && object != Py_None) {
        if (address_from_object(&addr, socket->family, object, "sendmsg") < 0)
            return NULL;
        message.msg_name = &addr.storage;
        message.msg_namelen = addr.len;
    }
    if (PySys_Audit("socket.sendmsg", "OO", socket, object ? object : Py_None) < 0)
        return NULL;
    int64_t n = -1;
    if (buffers_init(&buffers, iterable, &sendmsg_words) == 0 &&
        control_from_object(&message, ancillary) == 0) {
        message.msg_iov = buffers.parts;
        message.msg_iovlen = (size_t)buffers.count;
        struct socket_call call = {.make = make_sendmsg,
                                   .events = POLLOUT,
                                   .flags = flags,
                                   .len = buffers.len,
                                   .message = &message};
        n = socket_call(socket, &call);
    }
    PyMem_Free(message.msg_control);
    buffers_release(&buffers);
    return n < 0 ? NULL : PyLong_FromLongLong(n);
}

/* The bytes of a control message that came whole: one that was cut has fewer than it says. */
static size_t control_data_len(const struct msghdr *message, const struct cmsghdr *head)
{
    const char *end = (const char *)message->msg_control + message->msg_controllen;
    const char *data = (const char *)CMSG_DATA((struct cmsghdr *)head);
    size_t says = head->cmsg_len >= CMSG_LEN(0) ? head->cmsg_len - CMSG_LEN(0) : 0;
    size_t there = end > data ? (size_t)(end - data) : 0;
    return says < there ? says : there;
}

/* [(level, type, data), ...] */
static PyObject *control_as_list(struct msghdr *message)
{
    PyObject *list = PyList_New(0);
    struct cmsghdr *head = message->msg_controllen > 0 ? CMSG_FIRSTHDR(message) : NULL;
    for (; list && head; head = CMSG_NXTHDR(message, head)) {
        PyObject *item = Py_BuildValue("iiy#", head->cmsg_level, head->cmsg_type, CMSG_DATA(head),
                                       (Py_ssize_t)control_data_len(message, head));
        if (!item || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

/* Descriptors that came and that nobody will know of. */
static void control_close_descriptors(struct msghdr *message)
{
    struct cmsghdr *head = message->msg_controllen > 0 ? CMSG_FIRSTHDR(message) : NULL;
    for (; head; head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = control_data_len(message, head) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(fd));
            kernel_close(fd);
        }
    }
}

/* What a receive into `message` is told as: (data, ancillary, flags, address). `data`: stolen. */
static PyObject *received_as_object(struct msghdr *message, struct address *addr, PyObject *data)
{
    addr->len =
        message->msg_namelen < sizeof(addr->storage) ? message->msg_namelen : sizeof(addr->storage);
    PyObject *ancillary = data ? control_as_list(message) : NULL;
    PyObject *peer = ancillary ? address_as_object(addr) : NULL;
    PyObject *result =
        peer ? Py_BuildValue("OOiO", data, ancillary, message->msg_flags, peer) : NULL;
    if (!result)
        control_close_descriptors(message);
    Py_XDECREF(peer);
    Py_XDECREF(ancillary);
    Py_XDECREF(data);
    return result;
}

static int64_t make_recvmsg(int fd, struct socket_call *call)
{
    call->message->msg_namelen = sizeof(call->addr->storage);
    return kernel_recvmsg(fd, call->message, call->flags);
}

/* Receive; `data`: the bytes object that the only part lies in, NULL for buffers. */
static PyObject *receive_message(struct socket_object *socket, struct iovec *parts, size_t count,
                                 Py_ssize_t room, int flags, PyObject *data)
{
    struct address addr = {0};
    struct msghdr message = {.msg_name = &addr.storage, .msg_iov = parts, .msg_iovlen = count};
    struct socket_call call = {
        .make = make_recvmsg, .events = POLLIN, .flags = flags, .addr = &addr, .message = &message};
    if (room < 0 || room > INT_MAX) {
        PyErr_SetString(PyExc_ValueError, "invalid ancillary data buffer length");
        Py_XDECREF(data);
        return NULL;
    }
    message.msg_controllen = (size_t)room;
    message.msg_control = room > 0 ? PyMem_Calloc(1, (size_t)room) : NULL;
    for (size_t i = 0; i < count; i++)
        call.len += parts[i].iov_len;
    PyObject *result = NULL;
    int64_t n = -1;
    if (room > 0 && !message.msg_control)
        PyErr_NoMemory();
    else
        n = socket_call(socket, &call);
    if (n < 0) {
        Py_XDECREF(data);
    } else {
        if (!data)
            data = PyLong_FromLongLong(n);
        else if (n < PyBytes_GET_SIZE(data))
            _PyBytes_Resize(&data, (Py_ssize_t)n);
        result = received_as_object(&message, &addr, data);
    }
    PyMem_Free(message.msg_control);
    return result;
}

PyObject *socket_recvmsg(struct socket_object *socket, PyObject *args)
{
    Py_ssize_t len, room = 0;
    int flags = 0;
    if (!PyArg_ParseTuple(args, "n|ni:recvmsg", &len, &room, &flags))
        return NULL;
    if (len < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffer size in recvmsg()");
        return NULL;
    }
    PyObject *data = PyBytes_FromStringAndSize(NULL, len);
    if (!data)
        return NULL;
    struct iovec part = {PyBytes_AS_STRING(data), (size_t)len};
    return receive_message(socket, &part, 1, room, flags, data);
}

PyObject *socket_recvmsg_into(struct socket_object *socket, PyObject *args)
{
    PyObject *iterable, *result = NULL;
    Py_ssize_t room = 0;
    int flags = 0;
    struct buffers buffers;
    if (!PyArg_ParseTuple(args, "O|ni:recvmsg_into", &iterable, &room, &flags))
        return NULL;
    if (buffers_init(&buffers, iterable, &recvmsg_into_words) == 0)
        result = receive_message(socket, buffers.parts, (size_t)buffers.count, room, flags, NULL);
    buffers_release(&buffers);
    return result;
}
