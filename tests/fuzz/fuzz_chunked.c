/* A chunked body: at once or in pieces it comes to the same bytes, the same verdict and the same
 * end, and what was read, encoded again, is read again. */
#include "pieces.h"

#include "http/chunked.h"
#include "http/token.h"
#include "http/trailer.h"

/* The seed's highest bit: limits that are soon reached. */
static const struct chunked_limits limits[] = {{4096, 8192}, {6, 12}};

/* What a body came to. */
struct body {
    int result;
    size_t consumed;
    size_t len;
    char *data;
    size_t trailers_len;
    char *trailers;
};

static void take(struct body *body, struct chunked_decoder *decoder, struct slice piece,
                 const struct chunked_limits *limit)
{
    struct slice rest = piece;
    struct slice data;
    while ((body->result = chunked_decode(decoder, &rest, &data, limit)) == CHUNKED_DATA ||
           body->result == CHUNKED_TRAILERS) {
        CHECK(data.len > 0 && data.data >= piece.data && data.data + data.len <= rest.data);
        bool is_data = body->result == CHUNKED_DATA;
        size_t *len_so_far = is_data ? &body->len : &body->trailers_len;
        memcpy((is_data ? body->data : body->trailers) + *len_so_far, data.data, data.len);
        *len_so_far += data.len;
    }
    CHECK(rest.data + rest.len == piece.data + piece.len);
    CHECK(body->result != CHUNKED_MORE || rest.len == 0);
    body->consumed += piece.len - rest.len;
}

static struct body decode(struct slice bytes, uint32_t seed, bool in_pieces,
                          const struct chunked_limits *limit)
{
    struct body body = {
        .result = CHUNKED_MORE, .data = malloc(bytes.len + 1), .trailers = malloc(bytes.len + 1)};
    struct chunked_decoder decoder = {0};
    CHECK(body.data && body.trailers);
    for (size_t at = 0; at < bytes.len && body.result == CHUNKED_MORE;) {
        size_t len = in_pieces ? next_piece(&seed) : bytes.len;
        len = len < bytes.len - at ? len : bytes.len - at;
        char *copy = copy_of(bytes.data + at, len);
        take(&body, &decoder, slice_of(copy, len), limit);
        free(copy);
        at += len;
    }
    return body;
}

static void check_encoded_again(const struct body *body)
{
    char *out = malloc(CHUNK_LINE_SIZE + body->len + 2 + chunk_last.len);
    CHECK(out);
    size_t len = 0;
    if (body->len > 0) {
        len = chunk_line_write(out, body->len);
        memcpy(out + len, body->data, body->len);
        memcpy(out + len + body->len, "\r\n", 2);
        len += body->len + 2;
    }
    memcpy(out + len, chunk_last.data, chunk_last.len);
    len += chunk_last.len;
    struct body again = decode(slice_of(out, len), 0, false, &limits[1]);
    CHECK(again.result == CHUNKED_END && again.consumed == len);
    CHECK(slice_equal(slice_of(again.data, again.len), slice_of(body->data, body->len)));
    free(again.data);
    free(again.trailers);
    free(out);
}

static void check_trailers(const struct body *whole, const struct body *pieces)
{
    struct slice section = slice_of(whole->trailers, whole->trailers_len);
    struct http_field field;
    CHECK(slice_equal(section, slice_of(pieces->trailers, pieces->trailers_len)));
    while (trailer_next(&section, &field))
        CHECK(http_is_token(field.name) && http_is_field_value(field.value));
    CHECK(section.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice bytes = slice_of((const char *)data + 1, size - 1);
    const struct chunked_limits *limit = &limits[data[0] >> 7];
    struct body whole = decode(bytes, 0, false, limit);
    struct body pieces = decode(bytes, data[0], true, limit);
    CHECK(whole.result == pieces.result && whole.consumed == pieces.consumed);
    CHECK(slice_equal(slice_of(whole.data, whole.len), slice_of(pieces.data, pieces.len)));
    if (whole.result == CHUNKED_END) {
        check_trailers(&whole, &pieces);
        check_encoded_again(&whole);
    }
    free(pieces.data);
    free(pieces.trailers);
    free(whole.data);
    free(whole.trailers);
    return 0;
}
