#include "python/wsgi/environ.h"

#include <string.h>

#include "http/response_head.h"
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
    Py_CLEAR(cache->last_path);
    header_memo_clear(&cache->memo);
    for (unsigned i = 0; i < ENVIRON_FIELDS; i++) {
        Py_CLEAR(cache->fields[i].key);
        Py_CLEAR(cache->fields[i].value);
        cache->fields[i].len = 0;
    }
    for (unsigned i = 0; i < ENVIRON_HOSTS; i++)
        Py_CLEAR(cache->hosts[i].text);
    for (unsigned i = 0; i < ENVIRON_PORTS; i++)
        Py_CLEAR(cache->ports[i].text);
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
                               const struct address *addr, PyObject *early_hints, PyObject *more)
{
    size_t size = (cache->template_count + 1) * sizeof(PyObject *);
    PyObject **templates = PyMem_Realloc(cache->templates, size);
    if (!templates) {
        PyErr_NoMemory();
        return -1;
    }
    cache->templates = templates;
    PyObject *environ = environ_template(state, addr, cache->threaded);
    if (!environ || PyDict_SetItem(environ, S(WSGI_EARLY_HINTS), early_hints) < 0 ||
        (more && PyDict_Update(environ, more) < 0)) {
        Py_XDECREF(environ);
        return -1;
    }
    cache->templates[cache->template_count++] = environ;
    cache->has_more |= more != NULL;
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

/* A field that is there already came before, or the template says what is without it. */
static int environ_add(const struct environ_cache *cache, struct module_state *state,
                       PyObject *environ, PyObject *key, PyObject *value)
{
    Py_ssize_t before = PyDict_GET_SIZE(environ);
    PyObject *there = PyDict_SetDefault(environ, key, value);
    if (!there)
        return -1;
    if (PyDict_GET_SIZE(environ) > before)
        return 0;
    if (cache->has_more && (key == S(CONTENT_LENGTH) || key == S(CONTENT_TYPE)))
        return PyDict_SetItem(environ, key, value);
    return environ_join(state, environ, key, value);
}

/* A name too long to be remembered. */
static int environ_add_rare(const struct environ_cache *cache, struct module_state *state,
                            PyObject *environ, const struct http_field *field)
{
    if (environ_drops(cache, field->name))
        return 0;
    PyObject *key = environ_key(state, field->name);
    PyObject *value = key ? latin1(field->value) : NULL;
    int result = value ? environ_add(cache, state, environ, key, value) : -1;
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
    return environ_add(cache, state, environ, known->key, known->value);
}

/* REMOTE_ADDR, borrowed from the cache; NULL with an exception set. */
static PyObject *environ_host(struct environ_cache *cache, const struct address *addr)
{
    struct environ_host *known = &cache->hosts[address_host_hash(addr) & (ENVIRON_HOSTS - 1)];
    if (known->text && address_host_equal(&known->addr, addr))
        return known->text;
    char host[ADDRESS_TEXT_SIZE];
    address_host(addr, host);
    Py_XSETREF(known->text, PyUnicode_DecodeFSDefault(host));
    known->addr = *addr;
    return known->text;
}

/* REMOTE_PORT, the same way. */
static PyObject *environ_port(struct environ_cache *cache, struct module_state *state,
                              const struct address *addr)
{
    uint16_t port = address_port(addr);
    struct environ_port *known = &cache->ports[port & (ENVIRON_PORTS - 1)];
    if (address_is_unix(addr))
        return S(EMPTY);
    if (known->text && known->port == port)
        return known->text;
    char digits[HTTP_DECIMAL_SIZE];
    Py_XSETREF(known->text, latin1(slice_of(digits, http_decimal_write(digits, port))));
    known->port = port;
    return known->text;
}

/* PATH_INFO, a new reference: the bytes of the path, percent-decoded once, as latin-1 (PEP 3333
 * "Unicode Issues"); empty for the server as a whole. */
static PyObject *environ_path(struct environ_cache *cache, struct module_state *state,
                              const struct request_head *head)
{
    struct slice path = head->path;
    if (head->form == HTTP_ASTERISK_FORM || path.len == 0)
        return Py_NewRef(S(EMPTY));
    if (!memchr(path.data, '%', path.len)) {
        if (!cache->last_path || !text_is(cache->last_path, path))
            Py_XSETREF(cache->last_path, latin1(path));
        return Py_XNewRef(cache->last_path);
    }
    char *decoded = PyMem_Malloc(path.len);
    if (!decoded)
        return PyErr_NoMemory();
    PyObject *text = latin1(slice_of(decoded, percent_decode(decoded, path)));
    PyMem_Free(decoded);
    return text;
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

/* The request line but for its path; the template says GET, HTTP/1.1 and no query. */
static int environ_set_request_line(struct module_state *state, PyObject *environ,
                                    const struct request_head *head)
{
    if (head->method != HTTP_METHOD_GET &&
        environ_set(environ, S(REQUEST_METHOD), environ_method(state, head)) < 0)
        return -1;
    if (head->query.len > 0 && environ_set(environ, S(QUERY_STRING), latin1(head->query)) < 0)
        return -1;
    return head->minor == 0 ? PyDict_SetItem(environ, S(SERVER_PROTOCOL), S(HTTP_1_0)) : 0;
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

/* Set what is not there yet. `*there`: what is, borrowed from the dict. */
static int environ_renew(PyObject *environ, PyObject *key, PyObject *value, PyObject **there)
{
    if (!value || *there == value)
        return value ? 0 : -1;
    if (PyDict_SetItem(environ, key, value) < 0)
        return -1;
    *there = value;
    return 0;
}

/* Where a request came from: references of our own. Asked for before anything that can run code of
 * the application, during which the connection may end. */
struct environ_origin {
    unsigned listener;
    PyObject *host;
    PyObject *port;
};

static struct environ_origin environ_origin(struct environ_cache *cache, struct module_state *state,
                                            const struct exchange *exchange)
{
    const struct address *peer = exchange_peer(exchange);
    return (struct environ_origin){.listener = exchange_listener(exchange),
                                   .host = Py_XNewRef(environ_host(cache, peer)),
                                   .port = Py_XNewRef(environ_port(cache, state, peer))};
}

static void environ_origin_release(struct environ_origin *origin)
{
    Py_XDECREF(origin->host);
    Py_XDECREF(origin->port);
}

/* What the path and the peer say, in `entry->environ`. */
static int environ_renew_entry(struct environ_cache *cache, struct module_state *state,
                               const struct request_head *head, const struct environ_origin *origin,
                               struct header_memo_entry *entry)
{
    PyObject *environ = entry->environ;
    PyObject *path = environ_path(cache, state, head);
    int result = environ_renew(environ, S(PATH_INFO), path, &entry->path);
    Py_XDECREF(path);
    if (result == 0)
        result = environ_renew(environ, S(REMOTE_ADDR), origin->host, &entry->host);
    if (result == 0)
        result = environ_renew(environ, S(REMOTE_PORT), origin->port, &entry->port);
    return result;
}

/* A copy of the listener's template with the request's fields. */
static PyObject *environ_of_fields(struct environ_cache *cache, struct module_state *state,
                                   unsigned listener, const struct request_head *head)
{
    PyObject *environ = PyDict_Copy(cache->templates[listener]);
    for (size_t i = 0; environ && i < head->field_count; i++)
        if (environ_add_field(cache, state, environ, &head->fields[i]) < 0)
            Py_CLEAR(environ);
    return environ;
}

/* What the fields, the path and the peer make, a new dict. Requests with the same fields mostly
 * have the rest in common too: what differs is set in the environ that is remembered. */
static PyObject *environ_begin(struct environ_cache *cache, struct module_state *state,
                               const struct request_head *head, const struct environ_origin *origin)
{
    struct header_memo_entry *known = header_memo_find(&cache->memo, origin->listener, head);
    struct header_memo_entry fresh = {0};
    uint64_t renewals = ++cache->renewals;
    if (known) {
        if (environ_renew_entry(cache, state, head, origin, known) < 0)
            return NULL;
        PyObject *environ = Py_NewRef(known->environ);
        fresh.environ = PyDict_Copy(environ);
        Py_DECREF(environ);
        /* Making the copy can run a garbage collection, and that another request. */
        if (cache->renewals == renewals)
            return fresh.environ;
    } else {
        fresh.environ = environ_of_fields(cache, state, origin->listener, head);
        if (fresh.environ)
            header_memo_keep(&cache->memo, origin->listener, head, fresh.environ);
    }
    if (fresh.environ && environ_renew_entry(cache, state, head, origin, &fresh) < 0)
        Py_CLEAR(fresh.environ);
    return fresh.environ;
}

PyObject *environ_new(struct environ_cache *cache, struct module_state *state,
                      struct exchange *exchange)
{
    const struct request_head *head = exchange_head(exchange);
    struct environ_origin origin = environ_origin(cache, state, exchange);
    PyObject *environ = environ_begin(cache, state, head, &origin);
    environ_origin_release(&origin);
    if (!environ || environ_set_request_line(state, environ, head) < 0)
        goto failed;
    if (head->form == HTTP_ABSOLUTE_FORM &&
        environ_set(environ, S(HTTP_HOST), latin1(head->host)) < 0)
        goto failed;
    if (head->framing == HTTP_CHUNKED && environ_set_chunked(state, environ, exchange) < 0)
        goto failed;
    return environ;

failed:
    Py_XDECREF(environ);
    return NULL;
}
