/* What TLS on the loop keeps in the module's state. */
#ifndef ZOLAL_PYTHON_AIO_TLS_STATE_H
#define ZOLAL_PYTHON_AIO_TLS_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/aio/openssl.h"

/* Taken from the standard library when zolal.tls is imported: enumerator, module, attribute. They
 * are there since Python 3.11. */
#define TLS_IMPORTS(X)                                                      \
    X(wrapped, "asyncio.sslproto", "SSLProtocolState.WRAPPED")              \
    X(flushing, "asyncio.sslproto", "SSLProtocolState.FLUSHING")            \
    X(again_errors, "asyncio.sslproto", "SSLAgainErrors")                   \
    X(base_do_read, "asyncio.sslproto", "SSLProtocol._do_read")             \
    X(base_write_appdata, "asyncio.sslproto", "SSLProtocol._write_appdata") \
    X(base_write, "asyncio.sslproto", "_SSLProtocolTransport.write")        \
    X(object_class, "ssl", "SSLObject")                                     \
    X(socket_type, "_ssl", "_SSLSocket")                                    \
    X(memory_type, "_ssl", "MemoryBIO")

/* `transport_class`: has its two attributes in slots at these places; NULL: none yet. */
struct tls_state {
#define X(name, module, attribute) PyObject *name;
    TLS_IMPORTS(X)
#undef X
    PyObject *transport_class;
    Py_ssize_t protocol_offset;
    Py_ssize_t closed_offset;
    struct openssl openssl;
};

/* Add the types to the module. Returns 0, or -1 with an exception set. */
int tls_add(PyObject *module);

/* For the module's own traverse and clear. */
int tls_traverse(struct tls_state *tls, visitproc visit, void *arg);
void tls_clear(struct tls_state *tls);

#endif
