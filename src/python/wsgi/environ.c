#include "python/wsgi/environ.h"

#include <string.h>

#include "http/target.h"
#include "python/wsgi/input.h"

#define S(name) state->strings[STRING_##name]

void environ_cache_init(struct environ_cache *cache, enum header_map header_map, bool threaded)
{
    *cache = (struct environ_cache){.header_map = header_map, .threaded = threaded};
}

int environ_cache_traverse(struct environ_cache *cache, visitproc visit, void *arg)
{
    for (unsigned i = 0; i < cache->template_count; i++)
        Py_VISIT(cache->templates[i]);
    return header_memo_traverse(&cache->memo, visit, arg);
}

void environ_cache_clear(struct environ_cache *cache)
{
    for (unsigned i = 0; i < cache->template_count; i++)
        Py_CLEAR(cache->templates[i]);
    PyMem_Free(cache->templates);
    cache->templates = NULL;
    cache->template_count = 0;
    Py_CLEAR(cache->last_path_bytes_text);
    header_memo_clear(&cache->memo);
    for (unsigned i = 0; i < ENVIRON_FIELDS; i++) {
        Py_CLEAR(cache->fields[i].key);
        Py_CLEAR(cache->fields[i].value);
        cache->fields[i].len = 0;
    }
    for (unsigned i = 0; i < ENVIRON_PEERS; i++) {
        Py_CLEAR(cache->peers[i].host);
        Py_CLEAR(cache->peers[i].port);
    }
}

/* Set and give the reference away; `value` may be NULL: an exception is set. */
static int environ_set(PyObject *environ, PyObject *key, PyObject *value)
{
    int result = value ? PyDict_SetItem(environ, key, value) : -1;
    Py_XDECREF(value);
    return result;
}

/* SERVER_NAME and SERVER_PORT are where we listen. A UNIX socket has neither, and PEP 3333 wants
 * both to be non-empty. */
static int environ_set_server(struct module_state *state, PyObject *environ,
                              const struct address *addr)
{
    char host[ADDRESS_TEXT_SIZE];
    address_host(addr, host);
    if (address_is_unix(addr)) {
        if (environ_set(environ, S(SERVER_NAME), PyUnicode_FromString("localhost")) < 0)
            return -1;
        return environ_set(environ, S(SERVER_PORT), PyUnicode_FromString("80"));
    }
    if (environ_set(environ, S(SERVER_NAME), PyUnicode_FromString(host)) < 0)
        return -1;
    return environ_set(environ, S(SERVER_PORT),
                       PyUnicode_FromFormat("%u", (unsigned)address_port(addr)));
}

static PyObject *environ_template(struct module_state *state, const struct address *addr,
                                  bool threaded)
{
    PyObject *environ = PyDict_New();
    PyObject *errors = PySys_GetObject("stderr"); /* borrowed; may be None, where there is none */
    if (!environ || environ_set_server(state, environ, addr) < 0)
        goto failed;
    if (PyDict_SetItem(environ, S(REQUEST_METHOD), S(GET)) < 0 ||
        PyDict_SetItem(environ, S(SCRIPT_NAME), S(EMPTY)) < 0 ||
        PyDict_SetItem(environ, S(PATH_INFO), S(EMPTY)) < 0 ||
        PyDict_SetItem(environ, S(QUERY_STRING), S(EMPTY)) < 0 ||
        PyDict_SetItem(environ, S(SERVER_PROTOCOL), S(HTTP_1_1)) < 0 ||
        PyDict_SetItem(environ, S(REMOTE_ADDR), S(EMPTY)) < 0 ||
        PyDict_SetItem(environ, S(REMOTE_PORT), S(EMPTY)) < 0 ||
        PyDict_SetItem(environ, S(WSGI_URL_SCHEME), S(HTTP)) < 0 ||
        PyDict_SetItem(environ, S(WSGI_ERRORS), errors ? errors : Py_None) < 0 ||
        PyDict_SetItem(environ, S(WSGI_MULTITHREAD), threaded ? Py_True : Py_False) < 0 ||
        PyDict_SetItem(environ, S(WSGI_MULTIPROCESS), Py_False) < 0 ||
        PyDict_SetItem(environ, S(WSGI_RUN_ONCE), Py_False) < 0 ||
        PyDict_SetItem(environ, S(WSGI_INPUT_TERMINATED), Py_True) < 0 ||
        PyDict_SetItem(environ, S(WSGI_FILE_WRAPPER), (PyObject *)state->file_wrapper_type) < 0)
        goto failed;
    if (environ_set(environ, S(WSGI_VERSION), Py_BuildValue("(ii)", 1, 0)) < 0 ||
        environ_set(environ, S(WSGI_INPUT), input_new(state, NULL, NULL)) < 0 ||
        environ_set(environ, S(SERVER_SOFTWARE), PyUnicode_FromString("zolal/" ZOLAL_VERSION)) < 0)
        goto failed;
    return environ;

failed:
    Py_XDECREF(environ);
    return NULL;
}

int environ_cache_add_listener(struct environ_cache *cache, struct module_state *state,
                               const struct address *addr, PyObject *early_hints)
{
    size_t size = (cache->template_count + 1) * sizeof(PyObject *);
    PyObject **templates = PyMem_Realloc(cache->templates, size);
    if (!templates) {
        PyErr_NoMemory();
        return -1;
    }
    cache->templates = templates;
    PyObject *environ = environ_template(state, addr, cache->threaded);
    if (!environ || PyDict_SetItem(environ, S(WSGI_EARLY_HINTS), early_hints) < 0) {
        Py_XDECREF(environ);
        return -1;
    }
    cache->templates[cache->template_count++] = environ;
    return 0;
}

static PyObject *latin1(struct slice text)
{
    return PyUnicode_DecodeLatin1(text.data, (Py_ssize_t)text.len, NULL);
}

/* Is `text` what the str (of latin-1 characters, as all of ours) holds? */
static bool text_is(PyObject *text, struct slice bytes)
{
    return (size_t)PyUnicode_GET_LENGTH(text) == bytes.len &&
           memcmp(PyUnicode_1BYTE_DATA(text), bytes.data, bytes.len) == 0;
}

/* "Accept-Encoding" -> "HTTP_ACCEPT_ENCODING", interned. RFC 3875 4.1.18. */
static PyObject *environ_key(struct module_state *state, struct slice name)
{
    if (slice_equal_ignoring_case(name, SLICE("Content-Type")))
        return Py_NewRef(S(CONTENT_TYPE));
    if (slice_equal_ignoring_case(name, SLICE("Content-Length")))
        return Py_NewRef(S(CONTENT_LENGTH));
    PyObject *key = PyUnicode_New((Py_ssize_t)name.len + 5, 127);
    if (!key)
        return NULL;
    Py_UCS1 *out = PyUnicode_1BYTE_DATA(key);
    memcpy(out, "HTTP_", 5);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        out[5 + i] = (Py_UCS1)(c == '-' ? '_' : c >= 'a' && c <= 'z' ? c - 32 : c);
    }
    PyUnicode_InternInPlace(&key);
    return key;
}

static bool name_is_ambiguous(struct slice name)
{
    return memchr(name.data, '_', name.len) != NULL;
}

bool environ_is_ambiguous(const struct environ_cache *cache, const struct request_head *head)
{
    if (cache->header_map != HEADER_MAP_REFUSE)
        return false;
    for (size_t i = 0; i < head->field_count; i++)
        if (name_is_ambiguous(head->fields[i].name))
            return true;
    return false;
}

/* Is a field of this name kept from the application? */
static bool environ_drops(const struct environ_cache *cache, struct slice name)
{
    return cache->header_map == HEADER_MAP_DROP && name_is_ambiguous(name);
}

static struct environ_field *environ_slot(struct environ_cache *cache, struct slice name)
{
    uint32_t hash = (uint32_t)name.len * 0x9E3779B1u;
    uint32_t first, last;
    if (name.len >= 4) {
        memcpy(&first, name.data, 4);
        memcpy(&last, name.data + name.len - 4, 4);
        hash ^= first * 0x85EBCA6Bu ^ (last * 0xC2B2AE35u);
    } else {
        hash ^= (unsigned char)name.data[0] * 0x85EBCA6Bu;
    }
    hash ^= hash >> 15;
    return &cache->fields[(hash ^ (hash >> 7)) & (ENVIRON_FIELDS - 1)];
}

/* The remembered field of that name, made if it was not; NULL with an exception set. */
static struct environ_field *environ_remember(struct environ_cache *cache,
                                              struct module_state *state, struct slice name)
{
    struct environ_field *field = environ_slot(cache, name);
    if (field->len == name.len && memcmp(field->name, name.data, name.len) == 0)
        return field;
    PyObject *key = environ_drops(cache, name) ? NULL : environ_key(state, name);
    if (!key && PyErr_Occurred())
        return NULL;
    Py_XSETREF(field->key, key);
    Py_CLEAR(field->value);
    memcpy(field->name, name.data, name.len);
    field->len = (uint8_t)name.len;
    return field;
}

/* A field that came before: joined with ", " (RFC 9110 5.3), cookies with "; " (RFC 6265 5.4). */
static int environ_join(struct module_state *state, PyObject *environ, PyObject *key,
                        PyObject *value)
{
    PyObject *before = PyDict_GetItemWithError(environ, key);
    if (!before)
        return -1;
    const char *format = key == S(HTTP_COOKIE) ? "%U; %U" : "%U, %U";
    return environ_set(environ, key, PyUnicode_FromFormat(format, before, value));
}

static int environ_add(struct module_state *state, PyObject *environ, PyObject *key,
                       PyObject *value)
{
    Py_ssize_t before = PyDict_GET_SIZE(environ);
    PyObject *there = PyDict_SetDefault(environ, key, value);
    if (!there)
        return -1;
    return PyDict_GET_SIZE(environ) > before ? 0 : environ_join(state, environ, key, value);
}

/* A name too long to be remembered. */
static int environ_add_rare(const struct environ_cache *cache, struct module_state *state,
                            PyObject *environ, const struct http_field *field)
{
    if (environ_drops(cache, field->name))
        return 0;
    PyObject *key = environ_key(state, field->name);
    PyObject *value = key ? latin1(field->value) : NULL;
    int result = value ? environ_add(state, environ, key, value) : -1;
    Py_XDECREF(value);
    Py_XDECREF(key);
    return result;
}

static int environ_add_field(struct environ_cache *cache, struct module_state *state,
                             PyObject *environ, const struct http_field *field)
{
    if (field->name.len > ENVIRON_NAME_MAX)
        return environ_add_rare(cache, state, environ, field);
    struct environ_field *known = environ_remember(cache, state, field->name);
    if (!known)
        return -1;
    if (!known->key)
        return 0;
    if (!known->value || !text_is(known->value, field->value)) {
        PyObject *value = latin1(field->value);
        if (!value)
            return -1;
        Py_XSETREF(known->value, value);
    }
    return environ_add(state, environ, known->key, known->value);
}

static int environ_set_peer(struct environ_cache *cache, struct module_state *state,
                            PyObject *environ, const struct address *addr)
{
    unsigned slot = address_port(addr) & (ENVIRON_PEERS - 1);
    struct environ_peer *peer = &cache->peers[slot];
    bool known = peer->port && peer->addr.len == addr->len &&
                 memcmp(&peer->addr.storage, &addr->storage, addr->len) == 0;
    if (!known) {
        char host[ADDRESS_TEXT_SIZE];
        address_host(addr, host);
        Py_XSETREF(peer->host, PyUnicode_DecodeFSDefault(host));
        Py_XSETREF(peer->port, address_is_unix(addr)
                                   ? Py_NewRef(S(EMPTY))
                                   : PyUnicode_FromFormat("%u", (unsigned)address_port(addr)));
        peer->addr = *addr;
        if (!peer->host || !peer->port) {
            Py_CLEAR(peer->port);
            return -1;
        }
    }
    if (PyDict_SetItem(environ, S(REMOTE_ADDR), peer->host) < 0)
        return -1;
    return PyDict_SetItem(environ, S(REMOTE_PORT), peer->port);
}

/* PATH_INFO: the bytes of the path, percent-decoded once, as latin-1 (PEP 3333 "Unicode Issues").
 */
static int environ_set_path(struct environ_cache *cache, struct module_state *state,
                            PyObject *environ, struct slice path)
{
    if (!memchr(path.data, '%', path.len)) {
        PyObject *last = cache->last_path_bytes_text;
        if (!last || !text_is(last, path)) {
            last = latin1(path);
            if (!last)
                return -1;
            Py_XSETREF(cache->last_path_bytes_text, last);
        }
        return PyDict_SetItem(environ, S(PATH_INFO), last);
    }
    char *decoded = PyMem_Malloc(path.len);
    if (!decoded) {
        PyErr_NoMemory();
        return -1;
    }
    size_t len = percent_decode(decoded, path);
    int result = environ_set(environ, S(PATH_INFO), latin1(slice_of(decoded, len)));
    PyMem_Free(decoded);
    return result;
}

static PyObject *environ_method(struct module_state *state, const struct request_head *head)
{
    static const enum state_string names[] = {
        [HTTP_METHOD_GET] = STRING_GET,       [HTTP_METHOD_HEAD] = STRING_HEAD,
        [HTTP_METHOD_POST] = STRING_POST,     [HTTP_METHOD_PUT] = STRING_PUT,
        [HTTP_METHOD_DELETE] = STRING_DELETE, [HTTP_METHOD_OPTIONS] = STRING_OPTIONS,
        [HTTP_METHOD_PATCH] = STRING_PATCH,
    };
    switch (head->method) {
    case HTTP_METHOD_OTHER:
    case HTTP_METHOD_CONNECT:
    case HTTP_METHOD_TRACE:
        return latin1(head->method_text);
    case HTTP_METHOD_GET:
    case HTTP_METHOD_HEAD:
    case HTTP_METHOD_POST:
    case HTTP_METHOD_PUT:
    case HTTP_METHOD_DELETE:
    case HTTP_METHOD_OPTIONS:
    case HTTP_METHOD_PATCH:
        break;
    }
    return Py_NewRef(state->strings[names[head->method]]);
}

/* The request line; the template says GET, HTTP/1.1 and no query. */
static int environ_set_request_line(struct environ_cache *cache, struct module_state *state,
                                    PyObject *environ, const struct request_head *head)
{
    if (head->method != HTTP_METHOD_GET &&
        environ_set(environ, S(REQUEST_METHOD), environ_method(state, head)) < 0)
        return -1;
    if (head->query.len > 0 && environ_set(environ, S(QUERY_STRING), latin1(head->query)) < 0)
        return -1;
    if (head->minor == 0 && PyDict_SetItem(environ, S(SERVER_PROTOCOL), S(HTTP_1_0)) < 0)
        return -1;
    if (head->form == HTTP_ASTERISK_FORM || head->path.len == 0)
        return 0; /* the server as a whole: PATH_INFO stays empty */
    return environ_set_path(cache, state, environ, head->path);
}

/* A chunked body that is whole has a length, and no coding any more: RFC 9112 7.1.3, RFC
 * 3875 4.1.2. */
static int environ_set_chunked(struct module_state *state, PyObject *environ,
                               const struct exchange *exchange)
{
    uint64_t len = exchange_body_left(exchange);
    PyObject *key = PyUnicode_InternFromString("HTTP_TRANSFER_ENCODING");
    int result = key ? 0 : -1;
    if (result == 0 && len != UINT64_MAX) {
        result = PyDict_DelItem(environ, key);
        if (result == 0)
            result = environ_set(environ, S(CONTENT_LENGTH),
                                 PyUnicode_FromFormat("%llu", (unsigned long long)len));
    }
    Py_XDECREF(key);
    return result;
}

/* What the listener's template and the request's fields make, a new dict. */
static PyObject *environ_of_fields(struct environ_cache *cache, struct module_state *state,
                                   struct exchange *exchange)
{
    const struct request_head *head = exchange_head(exchange);
    unsigned listener = exchange_listener(exchange);
    struct header_memo_entry *entry;
    PyObject *known = header_memo_find(&cache->memo, listener, head, &entry);
    if (known) {
        Py_INCREF(known); /* making the copy can run a garbage collection, and that anything */
        PyObject *copy = PyDict_Copy(known);
        Py_DECREF(known);
        return copy;
    }
    PyObject *environ = PyDict_Copy(cache->templates[listener]);
    for (size_t i = 0; environ && i < head->field_count; i++)
        if (environ_add_field(cache, state, environ, &head->fields[i]) < 0)
            Py_CLEAR(environ);
    if (environ)
        header_memo_keep(entry, listener, head, environ);
    return environ;
}

PyObject *environ_new(struct environ_cache *cache, struct module_state *state,
                      struct exchange *exchange)
{
    const struct request_head *head = exchange_head(exchange);
    PyObject *environ = environ_of_fields(cache, state, exchange);
    if (!environ)
        return NULL;
    if (environ_set_request_line(cache, state, environ, head) < 0 ||
        environ_set_peer(cache, state, environ, exchange_peer(exchange)) < 0)
        goto failed;
    if (head->form == HTTP_ABSOLUTE_FORM &&
        environ_set(environ, S(HTTP_HOST), latin1(head->host)) < 0)
        goto failed;
    if (head->framing == HTTP_CHUNKED && environ_set_chunked(state, environ, exchange) < 0)
        goto failed;
    return environ;

failed:
    Py_DECREF(environ);
    return NULL;
}
