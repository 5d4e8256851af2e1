/* OpenSSL, called directly: the library that Python's own `_ssl` has loaded, whose functions are
 * found when the program runs (zolal is linked to none). The session of an ssl.SSLObject is taken
 * from the two objects of `_ssl` that hold it, whose layouts are no interface: they are believed
 * only where all that is known of them from elsewhere is found in them (openssl_session_of). What
 * is not believed is left to `_ssl`. All calls hold the GIL. */
#ifndef ZOLAL_PYTHON_AIO_OPENSSL_H
#define ZOLAL_PYTHON_AIO_OPENSSL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

struct ssl_st;
struct bio_st;

/* Name, result, parameters: as in OpenSSL's manual, the same in 1.1.1 and 3. */
#define OPENSSL_FUNCTIONS(X)                                  \
    X(OpenSSL_version_num, unsigned long, (void))             \
    X(ERR_clear_error, void, (void))                          \
    X(ERR_peek_error, unsigned long, (void))                  \
    X(SSL_read, int, (struct ssl_st *, void *, int))          \
    X(SSL_write, int, (struct ssl_st *, const void *, int))   \
    X(SSL_get_error, int, (const struct ssl_st *, int))       \
    X(SSL_pending, int, (const struct ssl_st *))              \
    X(SSL_get_ex_data, void *, (const struct ssl_st *, int))  \
    X(SSL_get_rbio, struct bio_st *, (const struct ssl_st *)) \
    X(SSL_get_wbio, struct bio_st *, (const struct ssl_st *)) \
    X(BIO_read, int, (struct bio_st *, void *, int))          \
    X(BIO_write, int, (struct bio_st *, const void *, int))   \
    X(BIO_ctrl_pending, size_t, (struct bio_st *))

enum { OPENSSL_WANT_READ = 2 }; /* SSL_get_error(3): SSL_ERROR_WANT_READ */

/* `library`: NULL where it was not found; then the functions are NULL, too. */
struct openssl {
    void *library;
#define X(name, result, parameters) result(*name) parameters;
    OPENSSL_FUNCTIONS(X)
#undef X
};

/* A session and the memory that stands between it and the transport: all borrowed from the
 * _ssl._SSLSocket. */
struct openssl_session {
    struct ssl_st *ssl;
    struct bio_st *incoming;
    struct bio_st *outgoing;
};

/* Find the library. Without an exception also where there is none, which `library` says. */
void openssl_load(struct openssl *openssl);

/* Drop errors that other code of this thread has left: SSL_get_error(3) would take them for its
 * own.
 */
static inline void openssl_begin(const struct openssl *openssl)
{
    if (openssl->ERR_peek_error() != 0)
        openssl->ERR_clear_error();
}

/* Forget it. */
void openssl_unload(struct openssl *openssl);

/* The session of an _ssl._SSLSocket that was made with these two of _ssl.MemoryBIO; the caller has
 * looked at the three types. Returns false, without an exception, where one is not as expected. */
bool openssl_session_of(const struct openssl *openssl, PyObject *socket, PyObject *incoming,
                        PyObject *outgoing, struct openssl_session *session);

#endif
