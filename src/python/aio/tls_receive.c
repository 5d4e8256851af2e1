#include "python/aio/tls_core.h"

#include <limits.h>

#include "python/aio/stream_methods.h"
#include "python/aio/stream_reader.h"

enum { TLS_LEAST = 64 };

/* Why no more was decrypted. */
enum tls_end {
    TLS_DRAINED, /* all that came is */
    TLS_FULL,    /* there is no more room */
    TLS_CLOSED,  /* the peer has said that it ends: close_notify */
    TLS_FAILED,  /* an exception is set */
};

/* What SSL_read(3) has said, in the words of `_ssl`: may set *end, or read one more byte. */
static int tls_ask_again(struct tls_core *core, char *data, enum tls_end *end)
{
    struct module_state *state = core->state;
    PyObject *one = PyLong_FromLong(1);
    PyObject *read =
        one ? PyObject_CallMethodOneArg(core->socket, state->strings[STRING_READ], one) : NULL;
    Py_XDECREF(one);
    if (!read) {
        *end = TLS_FAILED;
        if (PyErr_ExceptionMatches(state->aio.tls.again_errors)) {
            PyErr_Clear();
            *end = TLS_DRAINED;
        }
        return 0;
    }
    int n = PyBytes_Check(read) ? (int)PyBytes_GET_SIZE(read) : 0;
    if (n > 0)
        *data = *PyBytes_AS_STRING(read);
    else
        *end = TLS_CLOSED;
    Py_DECREF(read);
    return n;
}

/* Decrypt what came, at most `size` bytes. Returns how many. */
static size_t tls_decrypt(struct tls_core *core, char *data, size_t size, enum tls_end *end)
{
    const struct openssl *openssl = tls_openssl(core);
    const struct openssl_session *session = &core->session;
    size_t len = 0;
    *end = TLS_FULL;
    while (len < size) {
        /* To be told that there is nothing is dearer than to look. */
        if (len > 0 && openssl->BIO_ctrl_pending(session->incoming) == 0 &&
            openssl->SSL_pending(session->ssl) == 0) {
            *end = TLS_DRAINED;
            break;
        }
        size_t room = size - len < INT_MAX ? size - len : INT_MAX;
        openssl_begin(openssl);
        int n = openssl->SSL_read(session->ssl, data + len, (int)room);
        if (n <= 0 && openssl->SSL_get_error(session->ssl, n) == OPENSSL_WANT_READ) {
            *end = TLS_DRAINED;
            break;
        }
        if (n <= 0)
            n = tls_ask_again(core, data + len, end);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    return len;
}

static int tls_end_reached(struct tls_core *core)
{
    return tls_call(core, STRING_CALL_EOF_RECEIVED) < 0 ? -1
                                                        : tls_call(core, STRING_START_SHUTDOWN);
}

static bool tls_may_read(const struct tls_core *core)
{
    const struct tls_state *tls = &core->state->aio.tls;
    return core->phase == tls->wrapped || core->phase == tls->flushing;
}

/* What came, as bytes; NULL without an exception where there is none. Decrypted where it stays: the
 * loop's scratch could be used meanwhile, by what a callback of `ssl` does. */
static PyObject *tls_take(struct tls_core *core, enum tls_end *end)
{
    const struct openssl *openssl = tls_openssl(core);
    size_t size = openssl->BIO_ctrl_pending(core->session.incoming) +
                  (size_t)openssl->SSL_pending(core->session.ssl);
    size = size < TLS_LEAST ? TLS_LEAST : size; /* there is an end to be read, too */
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!bytes)
        return NULL;
    size_t len = tls_decrypt(core, PyBytes_AS_STRING(bytes), size, end);
    if (len == 0 || *end == TLS_FAILED)
        Py_CLEAR(bytes);
    else if (len < size && _PyBytes_Resize(&bytes, (Py_ssize_t)len) < 0)
        return NULL;
    return bytes;
}

/* protocol.data_received(bytes). Returns 0, or -1 with an exception set. */
static int tls_give(struct tls_core *core, PyObject *bytes)
{
    PyObject *protocol = Py_NewRef(core->app_protocol ? core->app_protocol : Py_None);
    int fed = stream_reader_feed(core->state, protocol, PyBytes_AS_STRING(bytes),
                                 PyBytes_GET_SIZE(bytes));
    if (fed == 0) {
        PyObject *name = core->state->strings[STRING_DATA_RECEIVED];
        PyObject *done = PyObject_CallMethodOneArg(protocol, name, bytes);
        Py_XDECREF(done);
        fed = done ? 1 : -1;
    }
    Py_DECREF(protocol);
    return fed > 0 ? 0 : -1;
}

/* Give what came; what failed after data were read is told instead of them, as
 * asyncio does. */
static int tls_deliver(struct tls_core *core)
{
    enum tls_end end;
    do {
        PyObject *bytes = tls_take(core, &end);
        if (!bytes && PyErr_Occurred())
            return -1;
        int given = bytes ? tls_give(core, bytes) : 0;
        Py_XDECREF(bytes);
        if (given < 0)
            return -1;
    } while (end == TLS_FULL && core->app_reading_paused == Py_False && tls_may_read(core) &&
             tls_is_direct(core));
    return end == TLS_CLOSED ? tls_end_reached(core) : 0;
}

/* self._app_protocol_get_buffer(bytes that wait) */
static int tls_get_buffer(struct tls_core *core, Py_buffer *view)
{
    struct module_state *state = core->state;
    size_t waiting = tls_openssl(core)->BIO_ctrl_pending(core->session.incoming);
    PyObject *hint = PyLong_FromSize_t(waiting);
    PyObject *buffer = hint ? PyObject_CallMethodOneArg((PyObject *)core,
                                                        state->strings[STRING_APP_GET_BUFFER], hint)
                            : NULL;
    int result = buffer ? PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) : -1;
    Py_XDECREF(buffer);
    Py_XDECREF(hint);
    return result;
}

/* self._app_protocol_buffer_updated(len) */
static int tls_buffer_updated(struct tls_core *core, size_t len)
{
    PyObject *count = PyLong_FromSize_t(len);
    PyObject *name = core->state->strings[STRING_APP_BUFFER_UPDATED];
    PyObject *done = count ? PyObject_CallMethodOneArg((PyObject *)core, name, count) : NULL;
    Py_XDECREF(count);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

/* self._loop.call_soon(self._do_read) */
static int tls_read_soon(struct tls_core *core)
{
    struct module_state *state = core->state;
    PyObject *read = PyObject_GetAttr((PyObject *)core, state->strings[STRING_DO_READ]);
    PyObject *handle =
        read ? PyObject_CallMethodOneArg(core->loop, state->strings[STRING_CALL_SOON], read) : NULL;
    Py_XDECREF(read);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

static int tls_deliver_into(struct tls_core *core)
{
    Py_buffer view;
    enum tls_end end = TLS_CLOSED; /* as asyncio takes it where it is offered no room at all */
    if (tls_get_buffer(core, &view) < 0)
        return -1;
    size_t len = view.len > 0 ? tls_decrypt(core, view.buf, (size_t)view.len, &end) : 0;
    PyBuffer_Release(&view);
    if (end == TLS_FAILED || (end == TLS_FULL && tls_read_soon(core) < 0) ||
        (len > 0 && tls_buffer_updated(core, len) < 0))
        return -1;
    return end == TLS_CLOSED ? tls_end_reached(core) : 0;
}

static int tls_read(struct tls_core *core)
{
    int is_paused = core_flag(core->app_reading_paused);
    if (is_paused == 0) {
        int is_buffered = core_flag(core->is_buffered);
        if (is_buffered < 0 || (is_buffered ? tls_deliver_into(core) : tls_deliver(core)) < 0)
            return -1;
        int has_backlog = core_flag(core->write_backlog);
        if (has_backlog < 0 ||
            (has_backlog ? tls_call(core, STRING_DO_WRITE) : tls_flush(core)) < 0)
            return -1;
    }
    return is_paused < 0 ? -1 : tls_control_reading(core);
}

PyObject *tls_do_read(PyObject *self, PyObject *unused)
{
    struct tls_core *core = (struct tls_core *)self;
    (void)unused;
    if (!tls_may_read(core))
        Py_RETURN_NONE;
    if (!tls_is_direct(core))
        return PyObject_CallOneArg(core->state->aio.tls.base_do_read, self);
    if (tls_read(core) == 0)
        Py_RETURN_NONE;
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    return stream_fail(core->state, self, "Fatal error on SSL protocol");
}

PyObject *tls_receive(struct tls_core *core, const char *data, size_t len)
{
    struct module_state *state = core->state;
    PyObject *self = (PyObject *)core;
    if (core->phase == state->aio.tls.wrapped && tls_is_direct(core) &&
        tls_openssl(core)->BIO_write(core->session.incoming, data, (int)len) == (int)len)
        return tls_do_read(self, NULL);
    PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)len);
    PyObject *done =
        bytes ? PyObject_CallMethodOneArg(self, state->strings[STRING_RECEIVED], bytes) : NULL;
    Py_XDECREF(bytes);
    return done;
}
