#include "python/socket/socket_object.h"

#include <stddef.h>
#include <string.h>

/* A host as bytes without a NUL: str (IDNA), bytes or bytearray. A new reference, or NULL. */
static PyObject *host_bytes(PyObject *host)
{
    PyObject *bytes;
    if (PyBytes_Check(host))
        bytes = Py_NewRef(host);
    else if (PyByteArray_Check(host))
        bytes = PyBytes_FromObject(host);
    else if (PyUnicode_Check(host))
        bytes = PyUnicode_AsEncodedString(host, PyUnicode_IS_ASCII(host) ? "ascii" : "idna", NULL);
    else
        return PyErr_Format(PyExc_TypeError, "str, bytes or bytearray expected, not %s",
                            Py_TYPE(host)->tp_name);
    if (!bytes) {
        if (PyUnicode_Check(host))
            PyErr_SetString(PyExc_TypeError, "encoding of hostname failed");
        return NULL;
    }
    if (strlen(PyBytes_AS_STRING(bytes)) == (size_t)PyBytes_GET_SIZE(bytes))
        return bytes;
    Py_DECREF(bytes);
    PyErr_SetString(PyExc_TypeError, "host name must not contain null character");
    return NULL;
}

/* PyArg_ParseTuple's converter: an owned bytes object. */
static int host_converter(PyObject *object, void *into)
{
    PyObject **host = into;
    if (!object) { /* a later argument was wrong */
        Py_CLEAR(*host);
        return 1;
    }
    *host = host_bytes(object);
    return *host ? Py_CLEANUP_SUPPORTED : 0;
}

/* The first numeric host that getaddrinfo(3) has for a name, by the standard library's function of
 * that name: it releases the GIL and raises socket.gaierror. A new reference, or NULL. */
static PyObject *host_look_up(PyObject *host, int family)
{
    PyObject *module = PyImport_ImportModule("_socket");
    PyObject *found =
        module ? PyObject_CallMethod(module, "getaddrinfo", "OOi", host, Py_None, family) : NULL;
    PyObject *first = found ? PySequence_GetItem(found, 0) : NULL;
    PyObject *addr = first ? PySequence_GetItem(first, 4) : NULL;
    PyObject *numeric = addr ? PySequence_GetItem(addr, 0) : NULL;
    Py_XDECREF(addr);
    Py_XDECREF(first);
    Py_XDECREF(found);
    Py_XDECREF(module);
    return numeric;
}

/* Fill the host. -1 with an exception set. */
static int host_resolve(struct address *addr, int family, PyObject *host)
{
    const char *text = PyBytes_AS_STRING(host);
    if (strcmp(text, "<broadcast>") == 0 || strcmp(text, "255.255.255.255") == 0) {
        text = "255.255.255.255";
        if (family != AF_INET) {
            PyErr_SetString(PyExc_OSError, "address family mismatched");
            return -1;
        }
    }
    if (address_set_host(addr, family, text))
        return 0;
    PyObject *numeric = host_look_up(host, family);
    if (!numeric)
        return -1;
    text = PyUnicode_AsUTF8(numeric);
    bool is_set = text && address_set_host(addr, family, text);
    if (text && !is_set)
        PyErr_SetString(PyExc_OSError, "unknown address family");
    Py_DECREF(numeric);
    return is_set ? 0 : -1;
}

/* After a PyArg_ParseTuple has failed: a port that no C int holds is only one out of range. */
static void port_raise(const char *caller)
{
    if (PyErr_ExceptionMatches(PyExc_OverflowError))
        PyErr_Format(PyExc_OverflowError, "%s(): port must be 0-65535.", caller);
}

static bool port_check(int port, const char *caller)
{
    if (port >= 0 && port <= 0xFFFF)
        return true;
    PyErr_Format(PyExc_OverflowError, "%s(): port must be 0-65535.", caller);
    return false;
}

static int address_from_pair(struct address *addr, PyObject *object, const char *caller)
{
    PyObject *host = NULL;
    int port;
    if (!PyTuple_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s(): AF_INET address must be tuple, not %.500s", caller,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    if (!PyArg_ParseTuple(object, "O&i;AF_INET address must be a pair (host, port)", host_converter,
                          &host, &port)) {
        port_raise(caller);
        return -1;
    }
    int result = host_resolve(addr, AF_INET, host);
    Py_DECREF(host);
    if (result < 0 || !port_check(port, caller))
        return -1;
    addr->in.sin_port = htons((uint16_t)port);
    return 0;
}

static int address_from_quadruple(struct address *addr, PyObject *object, const char *caller)
{
    PyObject *host = NULL;
    int port;
    unsigned flow = 0, scope = 0;
    if (!PyTuple_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s(): AF_INET6 address must be tuple, not %.500s", caller,
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    if (!PyArg_ParseTuple(object,
                          "O&i|II;AF_INET6 address must be a tuple (host, port[, flowinfo[, "
                          "scopeid]])",
                          host_converter, &host, &port, &flow, &scope)) {
        port_raise(caller);
        return -1;
    }
    int result = host_resolve(addr, AF_INET6, host);
    Py_DECREF(host);
    if (result < 0 || !port_check(port, caller))
        return -1;
    if (flow > 0xFFFFF) {
        PyErr_Format(PyExc_OverflowError, "%s(): flowinfo must be 0-1048575.", caller);
        return -1;
    }
    addr->in6.sin6_port = htons((uint16_t)port);
    addr->in6.sin6_flowinfo = htonl(flow);
    addr->in6.sin6_scope_id = scope;
    return 0;
}

/* A path (str, as the file system has it) or bytes; one that begins with a NUL is abstract and may
 * fill the whole of sun_path: unix(7). */
static int address_from_path(struct address *addr, PyObject *object)
{
    Py_buffer path;
    PyObject *bytes =
        PyUnicode_Check(object) ? PyUnicode_EncodeFSDefault(object) : Py_NewRef(object);
    if (!bytes || !PyArg_Parse(bytes, "y*", &path)) {
        Py_XDECREF(bytes);
        return -1;
    }
    Py_DECREF(bytes); /* `path` has its own reference */
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    bool is_abstract = path.len == 0 || *(const char *)path.buf == '\0';
    size_t room = sizeof(un.sun_path) - (is_abstract ? 0 : 1);
    bool fits = (size_t)path.len <= room;
    if (fits) {
        memcpy(un.sun_path, path.buf, (size_t)path.len);
        address_set(addr, (struct sockaddr *)&un,
                    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)path.len));
    } else {
        PyErr_SetString(PyExc_OSError, "AF_UNIX path too long");
    }
    PyBuffer_Release(&path);
    return fits ? 0 : -1;
}

int address_from_object(struct address *addr, int family, PyObject *object, const char *caller)
{
    switch (family) {
    case AF_UNIX:
        return address_from_path(addr, object);
    case AF_INET:
        return address_from_pair(addr, object, caller);
    case AF_INET6:
        return address_from_quadruple(addr, object, caller);
    default:
        PyErr_Format(PyExc_OSError, "%s(): bad family", caller);
        return -1;
    }
}

static PyObject *path_as_object(const struct address *addr)
{
    const char *path = addr->un.sun_path;
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t len = addr->len > head ? addr->len - head : 0;
    if (len > 0 && path[0] == '\0')
        return PyBytes_FromStringAndSize(path, (Py_ssize_t)len);
    return PyUnicode_DecodeFSDefaultAndSize(path, (Py_ssize_t)strnlen(path, len));
}

PyObject *address_as_text(const struct address *addr)
{
    char text[ADDRESS_TEXT_SIZE];
    address_print(addr, text);
    return PyUnicode_DecodeFSDefault(text);
}

PyObject *address_as_object(const struct address *addr)
{
    char host[INET6_ADDRSTRLEN];
    if (addr->len == 0)
        Py_RETURN_NONE;
    switch (addr->sa.sa_family) {
    case AF_UNIX:
        return path_as_object(addr);
    case AF_INET:
        address_host_plain(addr, host);
        return Py_BuildValue("si", host, (int)ntohs(addr->in.sin_port));
    case AF_INET6:
        address_host_plain(addr, host);
        return Py_BuildValue("siII", host, (int)ntohs(addr->in6.sin6_port),
                             (unsigned)ntohl(addr->in6.sin6_flowinfo),
                             (unsigned)addr->in6.sin6_scope_id);
    default:
        return Py_BuildValue("iy#", (int)addr->sa.sa_family, addr->sa.sa_data,
                             (Py_ssize_t)sizeof(addr->sa.sa_data));
    }
}
