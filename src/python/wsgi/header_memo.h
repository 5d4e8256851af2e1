/* The environs that were made of header blocks which the parser remembers (http/field_memo.h): a
 * copy of one is cheaper than to make it anew. */
#ifndef ZOLAL_PYTHON_WSGI_HEADER_MEMO_H
#define ZOLAL_PYTHON_WSGI_HEADER_MEMO_H

#include "http/field_memo.h"
#include "http/request_head.h"
#include "python/state.h"

/* `block`: its number, 0: none. `environ`: of the last request with these fields. `path`, `host`
 * and `port`: what it has under PATH_INFO, REMOTE_ADDR and REMOTE_PORT, borrowed from it; NULL: not
 * known. */
struct header_memo_entry {
    uint64_t block;
    unsigned listener;
    PyObject *environ;
    PyObject *path;
    PyObject *host;
    PyObject *port;
};

struct header_memo {
    struct header_memo_entry entries[FIELD_MEMO_ENTRIES];
};

/* What is remembered of a head with the same fields that came to `listener`, or NULL. */
struct header_memo_entry *header_memo_find(struct header_memo *memo, unsigned listener,
                                           const struct request_head *head);

/* Remember a copy of `environ`, if the parser remembers the fields of `head`. Never fails. */
void header_memo_keep(struct header_memo *memo, unsigned listener, const struct request_head *head,
                      PyObject *environ);

int header_memo_traverse(struct header_memo *memo, visitproc visit, void *arg);
void header_memo_clear(struct header_memo *memo);

#endif
