/* What the asyncio loop keeps in the module's state: its types, and what it takes from asyncio. */
#ifndef ZOLAL_PYTHON_AIO_AIO_STATE_H
#define ZOLAL_PYTHON_AIO_AIO_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "python/aio/tls_state.h"

/* Our types, made with the module: enumerator. */
#define AIO_TYPES(X) \
    X(loop_type)     \
    X(handle_type)   \
    X(timer_type)    \
    X(threadsafe_type) X(waiter_type) X(operation_type) X(tls_core_type) X(tls_methods)

/* What a transport's write buffer is: asyncio's methods work on it. */
#if PY_VERSION_HEX >= 0x030C0000
#define AIO_BUFFER_MODULE "collections"
#define AIO_BUFFER_CLASS  "deque"
#else
#define AIO_BUFFER_MODULE "builtins"
#define AIO_BUFFER_CLASS  "bytearray"
#endif

/* Taken from the standard library when the first loop is made: enumerator, module, attribute
 * (dotted: one of a class). NULL until then: `import zolal` does not import asyncio. */
#define AIO_IMPORTS(X)                                                                        \
    X(future_class, "asyncio", "Future")                                                      \
    X(task_class, "asyncio", "Task")                                                          \
    X(task_names, "asyncio.tasks", "__dict__")                                                \
    X(handle_class, "asyncio", "Handle")                                                      \
    X(timer_class, "asyncio", "TimerHandle")                                                  \
    X(handle_repr, "asyncio", "Handle.__repr__")                                              \
    X(handle_repr_info, "asyncio", "Handle._repr_info")                                       \
    X(timer_repr_info, "asyncio", "TimerHandle._repr_info")                                   \
    X(cancelled_error, "asyncio", "CancelledError")                                           \
    X(extract_stack, "asyncio.format_helpers", "extract_stack")                               \
    X(get_frame, "sys", "_getframe")                                                          \
    X(base_create_task, "asyncio.base_events", "BaseEventLoop.create_task")                   \
    X(base_sock_recv, "asyncio.selector_events", "BaseSelectorEventLoop.sock_recv")           \
    X(base_sock_recv_into, "asyncio.selector_events", "BaseSelectorEventLoop.sock_recv_into") \
    X(base_sock_sendall, "asyncio.selector_events", "BaseSelectorEventLoop.sock_sendall")     \
    X(base_sock_accept, "asyncio.selector_events", "BaseSelectorEventLoop.sock_accept")       \
    X(base_write, "asyncio.selector_events", "_SelectorSocketTransport.write")                \
    X(base_on_eof, "asyncio.selector_events", "_SelectorSocketTransport._read_ready__on_eof") \
    X(base_del, "asyncio.selector_events", "_SelectorTransport.__del__")                      \
    X(base_accept_connection, "asyncio.selector_events",                                      \
      "BaseSelectorEventLoop._accept_connection")                                             \
    X(base_ensure_fd_no_transport, "asyncio.selector_events",                                 \
      "BaseSelectorEventLoop._ensure_fd_no_transport")                                        \
    X(reader_class, "asyncio", "StreamReader")                                                \
    X(base_feed_data, "asyncio", "StreamReader.feed_data")                                    \
    X(reader_protocol_class, "asyncio", "StreamReaderProtocol")                               \
    X(base_data_received, "asyncio", "StreamReaderProtocol.data_received")                    \
    X(buffered_protocol_class, "asyncio", "BufferedProtocol")                                 \
    X(transport_socket_class, "asyncio.trsock", "TransportSocket")                            \
    X(set_result_unless_cancelled, "asyncio.futures", "_set_result_unless_cancelled")         \
    X(buffer_class, AIO_BUFFER_MODULE, AIO_BUFFER_CLASS)                                      \
    X(socket_class, "socket", "socket")                                                       \
    X(zolal_socket_class, "zolal.socket", "socket")                                           \
    X(socket_family, "_socket", "socket.family")                                              \
    X(socket_type, "_socket", "socket.type")                                                  \
    X(socket_protocol, "_socket", "socket.proto")

struct aio_state {
#define X(name) PyTypeObject *name;
    AIO_TYPES(X)
#undef X
#define X(name, module, attribute) PyObject *name;
    AIO_IMPORTS(X)
#undef X
    PyObject *threadsafe_class; /* asyncio.events._ThreadSafeHandle; NULL: this asyncio has none */
    PyObject *transport_class;  /* of make_stream_transport(); NULL: none yet */
    Py_ssize_t core_offset;     /* of the struct stream_core in an object of it */
    bool has_fd;                /* plain_sockets_are_known() */
    struct tls_state tls;
};

/* Add the types to the module. Returns 0, or -1 with an exception set. */
int aio_add(PyObject *module);

/* module.attribute or module.class.attribute; a new reference, or NULL with an exception set. */
PyObject *aio_import_attribute(const char *module, const char *attribute);

/* Import what is not there yet. Returns 0, or -1 with an exception set. */
int aio_import(struct aio_state *aio);

/* For the module's own traverse and clear. */
int aio_traverse(struct aio_state *aio, visitproc visit, void *arg);
void aio_clear(struct aio_state *aio);

#endif
