#include "python/aio/aio_state.h"

#include "python/aio/handle.h"
#include "python/aio/loop_object.h"
#include "python/aio/operation.h"
#include "python/aio/plain_socket.h"
#include "python/aio/stream_methods.h"
#include "python/aio/waiter.h"
#include "python/state.h"

PyObject *aio_import_attribute(const char *module, const char *attribute)
{
    PyObject *found = PyImport_ImportModule(module);
    while (found && attribute) {
        const char *dot = strchr(attribute, '.');
        Py_ssize_t len = dot ? dot - attribute : (Py_ssize_t)strlen(attribute);
        PyObject *name = PyUnicode_FromStringAndSize(attribute, len);
        PyObject *next = name ? PyObject_GetAttr(found, name) : NULL;
        Py_XDECREF(name);
        Py_SETREF(found, next);
        attribute = dot ? dot + 1 : NULL;
    }
    return found;
}

int aio_import(struct aio_state *aio)
{
#define X(name, module, attribute)                                            \
    if (!aio->name && !(aio->name = aio_import_attribute(module, attribute))) \
        return -1;
    AIO_IMPORTS(X)
#undef X
    if (!aio->threadsafe_class &&
        !(aio->threadsafe_class = aio_import_attribute("asyncio.events", "_ThreadSafeHandle"))) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
    }
    aio->has_fd = plain_sockets_are_known(aio);
    return 0;
}

int aio_add(PyObject *module)
{
    if (handle_types_add(module) < 0 || waiter_type_add(module) < 0 ||
        operation_type_add(module) < 0 || stream_transport_add(module) < 0 || tls_add(module) < 0)
        return -1;
    return loop_type_add(module);
}

int aio_traverse(struct aio_state *aio, visitproc visit, void *arg)
{
#define X(name, ...) Py_VISIT(aio->name);
    AIO_TYPES(X)
    AIO_IMPORTS(X)
#undef X
    Py_VISIT(aio->threadsafe_class);
    Py_VISIT(aio->transport_class);
    return tls_traverse(&aio->tls, visit, arg);
}

void aio_clear(struct aio_state *aio)
{
    Py_CLEAR(aio->threadsafe_class);
    Py_CLEAR(aio->transport_class);
    tls_clear(&aio->tls);
#define X(name, ...) Py_CLEAR(aio->name);
    AIO_TYPES(X)
    AIO_IMPORTS(X)
#undef X
}
