/* The environ of a request: PEP 3333 "environ Variables", RFC 3875 4.1.
 *
 * What does not change from request to request is copied from a template, one a listener; names and
 * values of fields that come again and again are remembered, in tables of a fixed size. */
#ifndef ZOLAL_PYTHON_WSGI_ENVIRON_H
#define ZOLAL_PYTHON_WSGI_ENVIRON_H

#include "python/state.h"
#include "python/wsgi/header_memo.h"
#include "server/exchange.h"
#include "socket/address.h"

#define ENVIRON_FIELDS   256 /* remembered field names; a power of two */
#define ENVIRON_HOSTS    64  /* remembered hosts of clients; a power of two */
#define ENVIRON_PORTS    512 /* and ports; a power of two */
#define ENVIRON_NAME_MAX 40  /* bytes of a field name that is remembered */

/* A field name as it was sent, its key ("HTTP_...", NULL: not passed on), and its last value. */
struct environ_field {
    char name[ENVIRON_NAME_MAX];
    uint8_t len;
    PyObject *key;
    PyObject *value;
};

struct environ_host {
    struct address addr;
    PyObject *text;
};

struct environ_port {
    uint16_t port;
    PyObject *text;
};

/* What to do with a field whose name has an underscore, which the environ cannot tell from a
 * hyphen: X_Forwarded_For must not stand for X-Forwarded-For. gunicorn's --header-map. */
enum header_map { HEADER_MAP_DROP, HEADER_MAP_REFUSE, HEADER_MAP_DANGEROUS };

struct environ_cache {
    enum header_map header_map;
    bool threaded;
    bool has_more;        /* the templates may have a CONTENT_TYPE, a CONTENT_LENGTH */
    PyObject **templates; /* dicts, one a listener */
    unsigned template_count;
    PyObject *last_path; /* the last PATH_INFO, when it was sent without '%' */
    struct environ_field fields[ENVIRON_FIELDS];
    struct environ_host hosts[ENVIRON_HOSTS];
    struct environ_port ports[ENVIRON_PORTS];
    struct header_memo memo;
    uint64_t renewals; /* how often what it remembers may have changed */
};

/* `threaded`: wsgi.multithread. */
void environ_cache_init(struct environ_cache *cache, enum header_map header_map, bool threaded);

/* `early_hints`: the callable of wsgi.early_hints. `more`: a dict of what else is in every environ,
 * in the place of what there was; NULL: nothing. Returns 0, or -1 with an exception set. */
int environ_cache_add_listener(struct environ_cache *cache, struct module_state *state,
                               const struct address *addr, PyObject *early_hints, PyObject *more);
int environ_cache_traverse(struct environ_cache *cache, visitproc visit, void *arg);
void environ_cache_clear(struct environ_cache *cache);

/* Must the request be refused for its field names (HEADER_MAP_REFUSE)? */
bool environ_is_ambiguous(const struct environ_cache *cache, const struct request_head *head);

/* The environ of the exchange's request, a new dict whose wsgi.input is empty, or NULL with an
 * exception set. The exchange has its connection still; making objects can run a garbage
 * collection, in which any code runs, and it may have lost it when this returns. */
PyObject *environ_new(struct environ_cache *cache, struct module_state *state,
                      struct exchange *exchange);

#endif
