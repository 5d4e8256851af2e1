/* How the tests of src/http hand bytes to a parser: from memory of exactly the right size, so that
 * AddressSanitizer sees one byte too far, and moved with every call, so that nothing old is used.
 */
#ifndef ZOLAL_TESTS_UNIT_HTTP_FEED_H
#define ZOLAL_TESTS_UNIT_HTTP_FEED_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>

#include <cmocka.h>

#include "http/chunked.h"
#include "http/request_head.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Requests around field lines. */
#define HOST             "Host: localhost\r\n"
#define FIELDS(fields)   "GET /echo HTTP/1.1\r\n" HOST fields "\r\n"
#define POST(fields)     "POST /echo HTTP/1.1\r\n" HOST fields "\r\n"
#define POST_1_0(fields) "POST /echo HTTP/1.0\r\n" fields "\r\n"

enum { FEED_FIELDS = 24 };

static const struct http_head_limits feed_limits = {
    .request_line = 1000, .fields = FEED_FIELDS, .field_size = 1000, .head = 8192};

/* A parser being fed; `bytes` is its own copy of what it was given so far. */
struct feed {
    struct http_field fields[FEED_FIELDS];
    struct request_head head;
    struct request_head_progress progress;
    char *bytes;
};

static inline void feed_init(struct feed *feed)
{
    memset(feed, 0, sizeof(*feed));
    memset(&feed->head, 0x5a, sizeof(feed->head)); /* nothing may be taken from before */
    feed->head.fields = feed->fields;
    feed->head.memo = NULL;
}

static inline void feed_release(struct feed *feed)
{
    free(feed->bytes);
}

/* The first `len` bytes of `text`, in new memory; the old is gone. */
static inline ssize_t feed_give(struct feed *feed, struct slice text, size_t len,
                                const struct http_head_limits *limits)
{
    char *bytes = malloc(len > 0 ? len : 1);
    assert_non_null(bytes);
    memcpy(bytes, text.data, len);
    free(feed->bytes);
    feed->bytes = bytes;
    return request_head_parse(&feed->head, &feed->progress, slice_of(bytes, len), limits);
}

/* All of `text` at once. */
static inline ssize_t feed_whole(struct feed *feed, struct slice text)
{
    feed_init(feed);
    return feed_give(feed, text, text.len, &feed_limits);
}

/* A printable name of a result, for messages. */
static inline const char *feed_result_text(ssize_t result)
{
    static const char *const names[] = {"ACCEPTED",
#define X(name, status, text, source) #name,
                                        HTTP_REFUSALS(X)
#undef X
    };
    return result > 0 ? "a head" : names[-result];
}

/* What a chunked body came to. */
struct body {
    int result;
    size_t consumed;
    size_t len;
    char data[4096];
    size_t trailers_len;
    char trailers[1024];
};

static const struct chunked_limits feed_chunked_limits = {.extensions = 256, .trailers = 512};

/* Decode `text` in pieces of `piece` bytes (the last one shorter), each in memory of its own. */
static inline struct body feed_body(struct slice text, size_t first, size_t piece,
                                    const struct chunked_limits *limits)
{
    struct body body = {.result = CHUNKED_MORE};
    struct chunked_decoder decoder = {0};
    size_t next = first;
    for (size_t at = 0; at < text.len && body.result == CHUNKED_MORE; at += next, next = piece) {
        next = text.len - at < next ? text.len - at : next;
        char *bytes = malloc(next > 0 ? next : 1);
        assert_non_null(bytes);
        memcpy(bytes, text.data + at, next);
        struct slice rest = slice_of(bytes, next);
        struct slice data;
        while ((body.result = chunked_decode(&decoder, &rest, &data, limits)) == CHUNKED_DATA ||
               body.result == CHUNKED_TRAILERS) {
            bool is_data = body.result == CHUNKED_DATA;
            size_t *len = is_data ? &body.len : &body.trailers_len;
            assert_true(data.len > 0);
            assert_true(*len + data.len <= (is_data ? sizeof(body.data) : sizeof(body.trailers)));
            memcpy((is_data ? body.data : body.trailers) + *len, data.data, data.len);
            *len += data.len;
        }
        assert_true(body.result != CHUNKED_MORE || rest.len == 0);
        body.consumed += next - rest.len;
        free(bytes);
    }
    return body;
}

#endif
