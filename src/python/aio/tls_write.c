#include "python/aio/tls_core.h"

#include <limits.h>

#include "python/aio/stream_methods.h"

/* So much may be encrypted before it is sent: the memory between OpenSSL and the transport never
 * shrinks. */
#define TLS_SEND_AT ((size_t)64 * 1024)

/* Encrypt and send. Returns how much was taken; less than `len` where OpenSSL has taken no more, or
 * an exception is set. */
static Py_ssize_t tls_encrypt(struct tls_core *core, const char *data, Py_ssize_t len)
{
    const struct openssl *openssl = tls_openssl(core);
    Py_ssize_t taken = 0;
    while (taken < len) {
        int most = len - taken < INT_MAX ? (int)(len - taken) : INT_MAX;
        openssl_begin(openssl);
        int n = openssl->SSL_write(core->session.ssl, data + taken, most);
        if (n <= 0)
            break;
        taken += n;
        if (taken < len && openssl->BIO_ctrl_pending(core->session.outgoing) >= TLS_SEND_AT &&
            tls_send_encrypted(core) < 0)
            break;
    }
    return taken;
}

/* The same for an object. Returns 1 when all of it was taken; 0: `*taken` was; -1: an exception is
 * set. */
static int tls_encrypt_object(struct tls_core *core, PyObject *data, Py_ssize_t *taken)
{
    Py_buffer view;
    *taken = 0;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* asyncio will say it */
        return 0;
    }
    *taken = tls_encrypt(core, view.buf, view.len);
    int result = *taken == view.len;
    PyBuffer_Release(&view);
    return PyErr_Occurred() ? -1 : result;
}

/* asyncio's _write_appdata() of what is left, `taken` bytes of the first gone. */
static PyObject *tls_write_rest(struct tls_core *core, PyObject *const *items, Py_ssize_t count,
                                Py_ssize_t taken)
{
    PyObject *rest = PyTuple_New(count);
    for (Py_ssize_t i = 0; rest && i < count; i++) {
        PyObject *item = Py_NewRef(items[i]);
        if (i == 0 && taken > 0) {
            PyObject *view = PyMemoryView_FromObject(item);
            Py_SETREF(item, view ? PySequence_GetSlice(view, taken, PY_SSIZE_T_MAX) : NULL);
            Py_XDECREF(view);
        }
        if (item)
            PyTuple_SET_ITEM(rest, i, item);
        else
            Py_CLEAR(rest);
    }
    PyObject *args[] = {(PyObject *)core, rest};
    PyObject *base = core->state->aio.tls.base_write_appdata;
    PyObject *done = rest ? PyObject_Vectorcall(base, args, 2, NULL) : NULL;
    Py_XDECREF(rest);
    return done;
}

/* Returns how many of the items were taken whole, and `*taken` bytes of the next; -1: an exception
 * is set. */
static Py_ssize_t tls_encrypt_all(struct tls_core *core, PyObject *const *items, Py_ssize_t count,
                                  Py_ssize_t *taken)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        int result = tls_encrypt_object(core, items[i], taken);
        if (result <= 0)
            return result < 0 ? -1 : i;
    }
    return count;
}

PyObject *tls_write(struct tls_core *core, PyObject *const *items, Py_ssize_t count)
{
    int is_waiting = core_flag(core->write_backlog);
    if (is_waiting < 0)
        return NULL;
    Py_ssize_t taken = 0, whole = 0;
    if (core->phase == core->state->aio.tls.wrapped && !is_waiting && tls_is_direct(core)) {
        whole = tls_encrypt_all(core, items, count, &taken);
        if (whole == count && tls_flush(core) == 0)
            Py_RETURN_NONE;
    }
    if (!PyErr_Occurred())
        return tls_write_rest(core, items + whole, count - whole, taken);
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    return stream_fail(core->state, (PyObject *)core, "Fatal error on SSL protocol");
}

PyObject *tls_write_appdata(PyObject *self, PyObject *list)
{
    PyObject *items = PySequence_Tuple(list); /* no code that runs meanwhile can change that */
    if (!items)
        return NULL;
    PyObject *done =
        tls_write((struct tls_core *)self, &PyTuple_GET_ITEM(items, 0), PyTuple_GET_SIZE(items));
    Py_DECREF(items);
    return done;
}
