/* What bench/parse.c measures: parsers of requests that do the same work. Each is strict, parses
 * and validates at once, and keeps method, target, names and values as slices of the text. */
#ifndef ZOLAL_BENCH_PARSE_H
#define ZOLAL_BENCH_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "http/request_head.h"

enum { PARSED_FIELDS = 100 };

struct parsed {
    struct slice method;
    struct slice target;
    size_t field_count;
    struct http_field fields[PARSED_FIELDS];
};

struct parser {
    /* Read the head `text` `times` over, as it arrives at a server: whole, or, when `cut` > 0, its
     * first `cut` bytes and then all of it. What the last one held goes to `*parsed`. Is each
     * a head, from the first byte to the last? */
    bool (*heads)(struct slice text, size_t cut, int times, struct parsed *parsed);

    /* Read a request: `head`, then `chunks` `reads` times over, each from the same memory, as when
     * a server reads from a socket; then the last chunk. Its data are copied to `out`, one piece
     * behind the other, or, when that is NULL, only found. `*len`: bytes of data. */
    bool (*body)(struct slice head, struct slice chunks, int reads, char *out, size_t *len);
};

extern const struct parser parse_zolal;

/* Linked only where LLHTTP is defined. */
extern const struct parser parse_llhttp;

#endif
