#include "python/aio/openssl.h"

#include <dlfcn.h>
#include <string.h>

/* How CPython's Modules/_ssl.c begins PySSLSocket and PySSLMemoryBIO, 3.10 to 3.14. */
struct ssl_socket {
    PyObject_HEAD PyObject *socket; /* NULL: it stands on two of MemoryBIO */
    struct ssl_st *ssl;
    PyObject *context;
};

struct ssl_memory {
    PyObject_HEAD struct bio_st *bio;
};

/* Is it the OpenSSL that `module` itself calls? Another one's functions would ruin its objects. */
static bool openssl_is_of(const struct openssl *openssl, PyObject *module)
{
    PyObject *number = PyObject_GetAttrString(module, "OPENSSL_VERSION_NUMBER");
    PyObject *text = PyObject_GetAttrString(module, "OPENSSL_VERSION");
    const char *name = text ? PyUnicode_AsUTF8(text) : NULL;
    bool is_same = number && name && strncmp(name, "OpenSSL ", 8) == 0 &&
                   PyLong_AsUnsignedLong(number) == openssl->OpenSSL_version_num();
    Py_XDECREF(text);
    Py_XDECREF(number);
    return is_same;
}

static bool openssl_find_functions(struct openssl *openssl)
{
    void *function;
#define X(name, result, parameters)            \
    function = dlsym(openssl->library, #name); \
    if (!function)                             \
        return false;                          \
    memcpy(&openssl->name, &function, sizeof(function));
    OPENSSL_FUNCTIONS(X)
#undef X
    return true;
}

void openssl_load(struct openssl *openssl)
{
    PyObject *module = PyImport_ImportModule("_ssl");
    PyObject *file = module ? PyObject_GetAttrString(module, "__file__") : NULL;
    const char *path = file ? PyUnicode_AsUTF8(file) : NULL;
    openssl->library = path ? dlopen(path, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    if (openssl->library && !(openssl_find_functions(openssl) && openssl_is_of(openssl, module)))
        openssl_unload(openssl);
    PyErr_Clear();
    Py_XDECREF(file);
    Py_XDECREF(module);
}

void openssl_unload(struct openssl *openssl)
{
    if (openssl->library)
        dlclose(openssl->library);
    *openssl = (struct openssl){0};
}

/* socket.context is context? */
static bool socket_has_context(PyObject *socket, const PyObject *context)
{
    PyObject *known = PyObject_GetAttrString(socket, "context");
    PyErr_Clear();
    Py_XDECREF(known); /* the socket has it, too */
    return known && known == context;
}

bool openssl_session_of(const struct openssl *openssl, PyObject *socket, PyObject *incoming,
                        PyObject *outgoing, struct openssl_session *session)
{
    const struct ssl_socket *holder = (const struct ssl_socket *)socket;
    if (!openssl->library || Py_TYPE(socket)->tp_basicsize < (Py_ssize_t)sizeof(*holder) ||
        Py_TYPE(incoming)->tp_basicsize < (Py_ssize_t)sizeof(struct ssl_memory))
        return false;
    if (holder->socket || !holder->ssl || !socket_has_context(socket, holder->context))
        return false;
    *session = (struct openssl_session){
        .ssl = holder->ssl,
        .incoming = ((const struct ssl_memory *)incoming)->bio,
        .outgoing = ((const struct ssl_memory *)outgoing)->bio,
    };
    /* `_ssl` has a session know its object: SSL_set_app_data(). */
    return openssl->SSL_get_ex_data(session->ssl, 0) == socket && session->incoming &&
           openssl->SSL_get_rbio(session->ssl) == session->incoming && session->outgoing &&
           openssl->SSL_get_wbio(session->ssl) == session->outgoing;
}
