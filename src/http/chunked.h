/* The chunked transfer coding, RFC 9112 7.1: a pull decoder that copies nothing, and the encoder.
 */
#ifndef ZOLAL_HTTP_CHUNKED_H
#define ZOLAL_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "http/refusal.h"

enum chunked_result {
    CHUNKED_MORE = 0,     /* all bytes are consumed, the body is not whole */
    CHUNKED_DATA = 1,     /* `*data` holds bytes of the body; call again with the rest */
    CHUNKED_TRAILERS = 2, /* `*data` holds bytes of the trailer section; call again */
    CHUNKED_END = 3       /* the body is whole, trailers and last line included */
    /* < 0: -enum http_refusal */
};

struct chunked_limits {
    size_t extensions; /* bytes of chunk extensions in the whole body */
    size_t trailers;   /* bytes of the trailer section */
};

/* All zero for a new body; only chunked.c touches its members. Constant in size. */
struct chunked_decoder {
    uint64_t remaining;
    size_t extensions;
    size_t trailers;
    unsigned char state;
    unsigned char digits;
};

/* Decode the front of `*bytes`, taking what was consumed off it. Trailer fields are checked as
 * field lines are and handed out as they came, in pieces: together they are what trailer_next
 * reads. Returns a chunked_result or -enum http_refusal. Time is proportional to the bytes given.
 */
int chunked_decode(struct chunked_decoder *decoder, struct slice *bytes, struct slice *data,
                   const struct chunked_limits *limits);

/* Room for the line before a chunk: 16 hexadecimal digits, CR, LF. */
#define CHUNK_LINE_SIZE 18

/* Write the line that begins a chunk of `len` > 0 bytes. Returns its length. */
size_t chunk_line_write(char line[CHUNK_LINE_SIZE], uint64_t len);

/* The last chunk, without trailers: "0\r\n\r\n". */
extern const struct slice chunk_last;

#endif
