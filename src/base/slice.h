/* A slice: bytes that somebody else owns. Never NUL-terminated. */
#ifndef ZOLAL_BASE_SLICE_H
#define ZOLAL_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* `data` may be NULL when `len` (bytes) is 0. */
struct slice {
    const char *data;
    size_t len;
};

/* The slice of a string literal, without its NUL. */
#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})

static inline struct slice slice_of(const char *data, size_t len)
{
    return (struct slice){data, len};
}

/* The slice of a NUL-terminated string. */
static inline struct slice slice_of_text(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* Do both hold the same bytes? */
static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Are `len` bytes the same, with A-Z equal to a-z and no other letter, whatever the locale (RFC
 * 9110 5.1)? */
bool bytes_equal_ignoring_case(const char *a, const char *b, size_t len);

static inline bool slice_equal_ignoring_case(struct slice a, struct slice b)
{
    return a.len == b.len && bytes_equal_ignoring_case(a.data, b.data, a.len);
}

#endif
