/* How a fuzz target turns its input into pieces. The first byte seeds where they end, so that a
 * corpus file is one byte and then what goes over the wire. */
#ifndef ZOLAL_TESTS_FUZZ_PIECES_H
#define ZOLAL_TESTS_FUZZ_PIECES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As assert, in every build. */
#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

/* A copy of exactly `len` bytes, so that AddressSanitizer sees one too far; the caller frees it. */
static inline char *copy_of(const char *bytes, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    CHECK(copy);
    if (len > 0)
        memcpy(copy, bytes, len);
    return copy;
}

/* The length of the next piece: mostly a few bytes, now and then many. */
static inline size_t next_piece(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    uint32_t number = *seed >> 16;
    return number % 8 == 0 ? number % 97 : 1 + number % 9;
}

#endif
