/* _zolal.TLSCore: the part of asyncio's SSLProtocol that each message takes, to derive from
 * together with it: what was received is decrypted and handed to the protocol, what that writes is
 * encrypted and sent. Handshake, shutdown and all that is rare are asyncio's own methods, which set
 * and read the attributes that are members here.
 *
 * Two ways: OpenSSL is called directly where that can be (tls_is_direct), and only once the
 * handshake is done; else asyncio's methods do it, through `_ssl`. Whatever OpenSSL says that is
 * not data, nor that there are none yet, is asked of `_ssl` again, with OpenSSL's queue of errors
 * as it is: that makes the exception. */
#ifndef ZOLAL_PYTHON_AIO_TLS_CORE_H
#define ZOLAL_PYTHON_AIO_TLS_CORE_H

#include "python/aio/loop_object.h"
#include "python/aio/openssl.h"

/* So much is received at once: OpenSSL's memory for it grows to that and never shrinks. */
enum { TLS_RECEIVE = 64 * 1024 };

/* Member, attribute of the protocol. */
#define TLS_FIELDS(X)                            \
    X(loop, "_loop")                             \
    X(phase, "_state")                           \
    X(sslobj, "_sslobj")                         \
    X(incoming, "_incoming")                     \
    X(outgoing, "_outgoing")                     \
    X(transport, "_transport")                   \
    X(app_protocol, "_app_protocol")             \
    X(is_buffered, "_app_protocol_is_buffer")    \
    X(write_backlog, "_write_backlog")           \
    X(write_buffer_size, "_write_buffer_size")   \
    X(app_reading_paused, "_app_reading_paused") \
    X(app_writing_paused, "_app_writing_paused") \
    X(ssl_reading_paused, "_ssl_reading_paused") \
    X(ssl_writing_paused, "_ssl_writing_paused") \
    X(incoming_high, "_incoming_high_water")     \
    X(incoming_low, "_incoming_low_water")       \
    X(outgoing_high, "_outgoing_high_water")     \
    X(outgoing_low, "_outgoing_low_water")

/* The fields are strong references; NULL where the attribute is not set. `session` is that of
 * `looked_at`, an SSLObject, and lives in `socket`, both strong; its `ssl` is NULL where it was not
 * believed. */
struct tls_core {
    PyObject_HEAD struct module_state *state;
#define X(name, text) PyObject *name;
    TLS_FIELDS(X)
#undef X
    PyObject *looked_at;
    PyObject *socket;
    struct openssl_session session;
};

/* Is OpenSSL called directly? Then `session` is there, and the loop is ours. */
bool tls_is_direct(struct tls_core *core);

/* The loop, where tls_is_direct(). */
static inline struct loop_object *tls_loop(const struct tls_core *core)
{
    return (struct loop_object *)core->loop;
}

static inline const struct openssl *tls_openssl(const struct tls_core *core)
{
    return &core->state->aio.tls.openssl;
}

/* core.name(); the result dropped. Returns 0, or -1 with an exception set. */
int tls_call(struct tls_core *core, enum state_string name);

/* Give the transport what is encrypted, unless it has enough. Returns how many bytes wait on, or -1
 * with an exception set. */
Py_ssize_t tls_send_encrypted(struct tls_core *core);

/* The same; then have the protocol pause or go on writing, as the limits are. Returns 0, or -1 with
 * an exception set. */
int tls_flush(struct tls_core *core);

/* Have the transport pause or go on reading, as the limits are. Returns 0, or -1 with an exception
 * set. */
int tls_control_reading(struct tls_core *core);

/* `len` bytes came for it: decrypt and deliver. Returns None, or NULL with an exception set. */
PyObject *tls_receive(struct tls_core *core, const char *data, size_t len);

/* protocol._write_appdata() of these: encrypt and send. Returns None, or NULL with an exception
 * set.
 */
PyObject *tls_write(struct tls_core *core, PyObject *const *items, Py_ssize_t count);

/* Methods. */
PyObject *tls_do_read(PyObject *self, PyObject *unused);
PyObject *tls_write_appdata(PyObject *self, PyObject *list);

/* Add the type. Returns 0, or -1 with an exception set. */
int tls_core_type_add(PyObject *module);

/* Add that of the transport's methods. Returns 0, or -1 with an exception set. */
int tls_methods_add(PyObject *module);

/* Is the value of an attribute true? Also where it is not set. -1: an exception is set. */
static inline int core_flag(PyObject *value)
{
    if (value == Py_False || value == Py_None)
        return 0;
    return value ? PyObject_IsTrue(value) : 1;
}

#endif
