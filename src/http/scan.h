/* Sixteen bytes at a time through text that is nearly always fine. Inside http/ only. */
#ifndef ZOLAL_HTTP_SCAN_H
#define ZOLAL_HTTP_SCAN_H

#include <stdint.h>
#include <string.h>

#include "http/token.h"

/* GCC's and clang's portable vectors: SSE2 on x86-64, NEON on aarch64. */
typedef uint8_t http_block __attribute__((vector_size(16)));
enum { HTTP_BLOCK = sizeof(http_block) };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte is the lowest one");

static inline http_block http_block_load(const char *bytes)
{
    http_block block;
    memcpy(&block, bytes, sizeof(block));
    return block;
}

/* The place of the first byte of `block` that is not 0, or HTTP_BLOCK. */
static inline int http_block_first(http_block block)
{
    uint64_t half[2];
    memcpy(half, &block, sizeof(half));
    if (half[0])
        return __builtin_ctzll(half[0]) / 8;
    return half[1] ? 8 + __builtin_ctzll(half[1]) / 8 : HTTP_BLOCK;
}

/* The first byte from `at` on that is not of `class`, or `end`. Four bytes a turn: a head takes
 * about a sixth less time than with one. */
static inline const char *http_skip(enum http_class class, const char *at, const char *end)
{
    for (; end - at >= 4; at += 4) {
        if (!http_is(class, at[0]))
            return at;
        if (!http_is(class, at[1]))
            return at + 1;
        if (!http_is(class, at[2]))
            return at + 2;
        if (!http_is(class, at[3]))
            return at + 3;
    }
    while (at < end && http_is(class, *at))
        at++;
    return at;
}

/* The first byte from `at` on that may not stand in a field value (RFC 9110 5.5), or `end`. */
static inline const char *http_skip_field_value(const char *at, const char *end)
{
    while (end - at >= HTTP_BLOCK) {
        http_block block = http_block_load(at);
        http_block bad = (http_block)(((block < ' ') & (block != '\t')) | (block == 0x7f));
        int first = http_block_first(bad);
        at += first;
        if (first < HTTP_BLOCK)
            return at;
    }
    return http_skip(HTTP_FIELD_VCHAR, at, end);
}

#endif
