/* What the extension module holds: everything a module state needs, and nothing static (PEP 489,
 * 573). */
#ifndef ZOLAL_PYTHON_STATE_H
#define ZOLAL_PYTHON_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/aio/aio_state.h"
#include "python/places.h"
#include "trace/recording.h"

/* Keys and values of an environ that every request shares: enumerator, text. Interned once. */
#define STATE_STRINGS(X)                                 \
    X(REQUEST_METHOD, "REQUEST_METHOD")                  \
    X(SCRIPT_NAME, "SCRIPT_NAME")                        \
    X(PATH_INFO, "PATH_INFO")                            \
    X(QUERY_STRING, "QUERY_STRING")                      \
    X(CONTENT_TYPE, "CONTENT_TYPE")                      \
    X(CONTENT_LENGTH, "CONTENT_LENGTH")                  \
    X(SERVER_NAME, "SERVER_NAME")                        \
    X(SERVER_PORT, "SERVER_PORT")                        \
    X(SERVER_PROTOCOL, "SERVER_PROTOCOL")                \
    X(SERVER_SOFTWARE, "SERVER_SOFTWARE")                \
    X(REMOTE_ADDR, "REMOTE_ADDR")                        \
    X(REMOTE_PORT, "REMOTE_PORT")                        \
    X(HTTP_HOST, "HTTP_HOST")                            \
    X(HTTP_COOKIE, "HTTP_COOKIE")                        \
    X(WSGI_VERSION, "wsgi.version")                      \
    X(WSGI_URL_SCHEME, "wsgi.url_scheme")                \
    X(WSGI_INPUT, "wsgi.input")                          \
    X(WSGI_INPUT_TERMINATED, "wsgi.input_terminated")    \
    X(WSGI_ERRORS, "wsgi.errors")                        \
    X(WSGI_MULTITHREAD, "wsgi.multithread")              \
    X(WSGI_MULTIPROCESS, "wsgi.multiprocess")            \
    X(WSGI_RUN_ONCE, "wsgi.run_once")                    \
    X(WSGI_EARLY_HINTS, "wsgi.early_hints")              \
    X(WSGI_FILE_WRAPPER, "wsgi.file_wrapper")            \
    X(EMPTY, "")                                         \
    X(HTTP_1_0, "HTTP/1.0")                              \
    X(HTTP_1_1, "HTTP/1.1")                              \
    X(GET, "GET")                                        \
    X(HEAD, "HEAD")                                      \
    X(POST, "POST")                                      \
    X(PUT, "PUT")                                        \
    X(DELETE, "DELETE")                                  \
    X(OPTIONS, "OPTIONS")                                \
    X(PATCH, "PATCH")                                    \
    X(HTTP, "http")                                      \
    X(CLOSE, "close")                                    \
    X(FILENO, "fileno")                                  \
    X(TELL, "tell")                                      \
    X(GI_FRAME, "gi_frame")                              \
    X(F_LINENO, "f_lineno")                              \
    X(CO_QUALNAME, "co_qualname")                        \
    X(LOOP, "loop")                                      \
    X(CONTEXT, "context")                                \
    X(TASK, "Task")                                      \
    X(RUN_HANDLE, "_run_handle")                         \
    X(CALLBACK_FAILED, "_callback_failed")               \
    X(ENSURE_FD_NO_TRANSPORT, "_ensure_fd_no_transport") \
    X(FATAL_ERROR, "_fatal_error")                       \
    X(READ_READY_ON_EOF, "_read_ready__on_eof")          \
    X(DATA_RECEIVED, "data_received")                    \
    X(FEED_DATA, "feed_data")                            \
    X(STREAM_READER_WR, "_stream_reader_wr")             \
    X(EOF, "_eof")                                       \
    X(BUFFER, "_buffer")                                 \
    X(WAITER, "_waiter")                                 \
    X(CANCELLED, "cancelled")                            \
    X(LIMIT, "_limit")                                   \
    X(PAUSED, "_paused")                                 \
    X(TRANSPORT, "_transport")                           \
    X(GET_BUFFER, "get_buffer")                          \
    X(BUFFER_UPDATED, "buffer_updated")                  \
    X(SOCKET, "socket")                                  \
    X(SOCKNAME, "sockname")                              \
    X(PEERNAME, "peername")                              \
    X(CONNECTION_MADE, "connection_made")                \
    X(CONNECTION_LOST, "connection_lost")                \
    X(EOF_RECEIVED, "eof_received")                      \
    X(READ_READY, "_read_ready")                         \
    X(ADD_READER, "_add_reader")                         \
    X(CALL_CONNECTION_LOST, "_call_connection_lost")     \
    X(ATTACH, "_attach")                                 \
    X(DETACH, "_detach")                                 \
    X(DETACH_SOCKET, "detach")                           \
    X(SET_EXCEPTION, "set_exception")                    \
    X(ACCEPT_FAILED, "_accept_failed")                   \
    X(ACCEPT_LATER, "_accept_later")                     \
    X(ACCEPTED, "_accepted")                             \
    X(ACCEPTED_SECURE, "_accepted_secure")               \
    X(GET_LOOP, "get_loop")                              \
    X(FUTURE_BLOCKING, "_asyncio_future_blocking")       \
    X(WRITE, "write")                                    \
    X(WRITE_READY, "_write_ready")                       \
    X(MAYBE_PAUSE_PROTOCOL, "_maybe_pause_protocol")     \
    X(MAYBE_RESUME_PROTOCOL, "_maybe_resume_protocol")   \
    X(SET_RESULT, "set_result")                          \
    X(READ, "read")                                      \
    X(CALL_SOON, "call_soon")                            \
    X(SSLOBJ, "_sslobj")                                 \
    X(RECEIVED, "_received")                             \
    X(DO_READ, "_do_read")                               \
    X(DO_WRITE, "_do_write")                             \
    X(CALL_EOF_RECEIVED, "_call_eof_received")           \
    X(START_SHUTDOWN, "_start_shutdown")                 \
    X(CONTROL_APP_WRITING, "_control_app_writing")       \
    X(CONTROL_SSL_READING, "_control_ssl_reading")       \
    X(APP_GET_BUFFER, "_app_protocol_get_buffer")        \
    X(APP_BUFFER_UPDATED, "_app_protocol_buffer_updated")

enum state_string {
#define X(name, text) STRING_##name,
    STATE_STRINGS(X)
#undef X
        STATE_STRING_COUNT
};

/* One for each module object. `recording` is this process's; NULL: none was started. */
struct module_state {
    PyObject *strings[STATE_STRING_COUNT];
    PyObject *call_names; /* code object -> number of its name in the recording */
    struct places places;
    PyTypeObject *server_type;
    PyTypeObject *echo_type;
    PyTypeObject *responder_type;
    PyTypeObject *input_type;
    PyTypeObject *file_wrapper_type;
    PyTypeObject *reader_type;
    PyTypeObject *event_type;
    PyTypeObject *socket_type;
    struct aio_state aio;
    PyTypeObject *file_io; /* io.FileIO and the others: what open(..., "rb") gives */
    PyTypeObject *buffered_reader;
    PyTypeObject *buffered_random;
    struct recording *recording;
    PyObject *set_wakeup_fd;     /* signal's */
    int64_t default_timeout_ns;  /* of new sockets; -1: none */
    struct signal_pipe *signals; /* of the server that the main thread runs; NULL: none */
};

/* The state of the module that `type` (one of ours, or a subclass) was made for. */
struct module_state *state_of_type(PyTypeObject *type);

/* The state of the module object itself. */
struct module_state *state_of_module(PyObject *module);

#endif
