/* Header blocks that came before, byte for byte, and the environs that were made of them: clients
 * send the same fields with each request. A table of a fixed size; a block gets into it when it is
 * seen for the second time, so that those which never come again cost no more than a look. */
#ifndef ZOLAL_PYTHON_WSGI_HEADER_MEMO_H
#define ZOLAL_PYTHON_WSGI_HEADER_MEMO_H

#include "http/request_head.h"
#include "python/state.h"

#define HEADER_MEMO_ENTRIES 32   /* a power of two */
#define HEADER_MEMO_MAX     4096 /* bytes of a block that is remembered */

/* `environ`: NULL while the block was seen only once. */
struct header_memo_entry {
    uint64_t fingerprint;
    unsigned listener;
    size_t len;
    char *bytes;
    PyObject *environ;
};

struct header_memo {
    struct header_memo_entry entries[HEADER_MEMO_ENTRIES];
};

/* The environ, to be copied, of a block of fields that came to `listener` before: borrowed; NULL:
 * it is not known. `*entry` is where it has its place. */
PyObject *header_memo_find(struct header_memo *memo, unsigned listener,
                           const struct request_head *head, struct header_memo_entry **entry);

/* Remember a copy of `environ`, made of this block, if it is time to. Never fails. */
void header_memo_keep(struct header_memo_entry *entry, unsigned listener,
                      const struct request_head *head, PyObject *environ);

int header_memo_traverse(struct header_memo *memo, visitproc visit, void *arg);
void header_memo_clear(struct header_memo *memo);

#endif
