#include "http/chunked.h"

#include <stdbool.h>

#include "http/scan.h"
#include "http/token.h"

/* Chunk extensions, a request-smuggling favourite, are read by their grammar (RFC 9112 7.1.1):
 * *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ). Trailers are field lines. */
enum chunked_state {
    CHUNK_SIZE_FIRST = 0,
    CHUNK_SIZE,
    EXTENSION_SEMICOLON, /* white space before a ';' */
    EXTENSION_NAME_FIRST,
    EXTENSION_NAME,
    EXTENSION_EQUALS, /* white space after a name: '=' or ';' */
    EXTENSION_VALUE_FIRST,
    EXTENSION_TOKEN,
    EXTENSION_QUOTED,
    EXTENSION_ESCAPED,
    EXTENSION_QUOTED_END,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_FIRST,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    BODY_END
};

enum { SIZE_DIGITS = 16 };

static int enter(struct chunked_decoder *decoder, enum chunked_state state)
{
    decoder->state = (unsigned char)state;
    return 0;
}

/* Enter `state` if `right`, else refuse. */
static int enter_if(struct chunked_decoder *decoder, bool right, enum chunked_state state,
                    enum http_refusal refusal)
{
    return right ? enter(decoder, state) : -(int)refusal;
}

static int take_size_digit(struct chunked_decoder *decoder, int digit)
{
    if (decoder->digits == SIZE_DIGITS || decoder->remaining > INT64_MAX >> 4)
        return -HTTP_CHUNK_TOO_LARGE;
    decoder->digits++;
    decoder->remaining = decoder->remaining << 4 | (uint64_t)digit;
    return enter(decoder, CHUNK_SIZE);
}

/* What may follow a size, an extension's token or a quoted string; `white` is entered for white
 * space. */
static int take_delimiter(struct chunked_decoder *decoder, char c, enum chunked_state white,
                          enum http_refusal refusal)
{
    if (c == '\r')
        return enter(decoder, CHUNK_SIZE_LF);
    if (c == ';')
        return enter(decoder, EXTENSION_NAME_FIRST);
    return enter_if(decoder, http_is(HTTP_WHITE, c), white, refusal);
}

static int take_extension(struct chunked_decoder *decoder, char c)
{
    static const enum http_refusal bad = HTTP_BAD_CHUNK_EXTENSION;
    switch (decoder->state) {
    case EXTENSION_SEMICOLON:
        return http_is(HTTP_WHITE, c) ? 0 : enter_if(decoder, c == ';', EXTENSION_NAME_FIRST, bad);
    case EXTENSION_NAME_FIRST:
        return http_is(HTTP_WHITE, c)
                   ? 0
                   : enter_if(decoder, http_is(HTTP_TCHAR, c), EXTENSION_NAME, bad);
    case EXTENSION_NAME:
        if (c == '=')
            return enter(decoder, EXTENSION_VALUE_FIRST);
        return http_is(HTTP_TCHAR, c) ? 0 : take_delimiter(decoder, c, EXTENSION_EQUALS, bad);
    case EXTENSION_EQUALS:
        if (c == '=')
            return enter(decoder, EXTENSION_VALUE_FIRST);
        return http_is(HTTP_WHITE, c) ? 0 : enter_if(decoder, c == ';', EXTENSION_NAME_FIRST, bad);
    case EXTENSION_VALUE_FIRST:
        if (c == '"')
            return enter(decoder, EXTENSION_QUOTED);
        return http_is(HTTP_WHITE, c)
                   ? 0
                   : enter_if(decoder, http_is(HTTP_TCHAR, c), EXTENSION_TOKEN, bad);
    case EXTENSION_TOKEN:
        return http_is(HTTP_TCHAR, c) ? 0 : take_delimiter(decoder, c, EXTENSION_SEMICOLON, bad);
    case EXTENSION_QUOTED:
        if (c == '"')
            return enter(decoder, EXTENSION_QUOTED_END);
        return enter_if(decoder, http_is(HTTP_FIELD_VCHAR, c),
                        c == '\\' ? EXTENSION_ESCAPED : EXTENSION_QUOTED, bad);
    case EXTENSION_ESCAPED:
        return enter_if(decoder, http_is(HTTP_FIELD_VCHAR, c), EXTENSION_QUOTED, bad);
    default: /* EXTENSION_QUOTED_END */
        return take_delimiter(decoder, c, EXTENSION_SEMICOLON, bad);
    }
}

/* A size line, from its first byte to its LF. */
static int take_size_line(struct chunked_decoder *decoder, char c)
{
    int digit = http_hex_value(c);
    switch (decoder->state) {
    case CHUNK_SIZE_FIRST:
        decoder->remaining = 0;
        decoder->digits = 0;
        return digit >= 0 ? take_size_digit(decoder, digit) : -HTTP_BAD_CHUNK_SIZE;
    case CHUNK_SIZE:
        if (digit >= 0)
            return take_size_digit(decoder, digit);
        return take_delimiter(decoder, c, EXTENSION_SEMICOLON, HTTP_BAD_CHUNK_SIZE);
    case CHUNK_SIZE_LF:
        return enter_if(decoder, c == '\n', decoder->remaining > 0 ? CHUNK_DATA : TRAILER_FIRST,
                        HTTP_BARE_CR);
    default:
        return take_extension(decoder, c);
    }
}

static int take_data_end(struct chunked_decoder *decoder, char c)
{
    if (decoder->state == CHUNK_DATA_CR)
        return enter_if(decoder, c == '\r', CHUNK_DATA_LF, HTTP_BAD_CHUNK_END);
    return enter_if(decoder, c == '\n', CHUNK_SIZE_FIRST, HTTP_BAD_CHUNK_END);
}

static int take_trailer(struct chunked_decoder *decoder, char c)
{
    switch (decoder->state) {
    case TRAILER_FIRST:
        if (c == '\r')
            return enter(decoder, LAST_LF);
        return enter_if(decoder, http_is(HTTP_TCHAR, c), TRAILER_NAME, HTTP_BAD_TRAILER);
    case TRAILER_NAME:
        if (http_is(HTTP_TCHAR, c))
            return 0;
        return enter_if(decoder, c == ':', TRAILER_VALUE, HTTP_BAD_TRAILER);
    case TRAILER_VALUE:
        if (c == '\r')
            return enter(decoder, TRAILER_LF);
        return enter_if(decoder, http_is(HTTP_FIELD_VCHAR, c), TRAILER_VALUE, HTTP_BAD_TRAILER);
    case TRAILER_LF:
        return enter_if(decoder, c == '\n', TRAILER_FIRST, HTTP_BARE_CR);
    default: /* LAST_LF */
        return enter_if(decoder, c == '\n', BODY_END, HTTP_BARE_CR);
    }
}

static int count(size_t *counted, size_t limit, enum http_refusal refusal)
{
    if (*counted >= limit)
        return -(int)refusal;
    (*counted)++;
    return 0;
}

/* One byte that is not data. */
static int take_byte(struct chunked_decoder *decoder, char c, const struct chunked_limits *limits)
{
    unsigned char before = decoder->state;
    if (before >= TRAILER_FIRST) {
        int result = count(&decoder->trailers, limits->trailers, HTTP_TRAILERS_TOO_LARGE);
        return result < 0 ? result : take_trailer(decoder, c);
    }
    if (before > CHUNK_DATA)
        return take_data_end(decoder, c);
    int result = take_size_line(decoder, c);
    bool extension = decoder->state >= EXTENSION_SEMICOLON && decoder->state < CHUNK_SIZE_LF;
    if (result < 0 || !extension)
        return result;
    return count(&decoder->extensions, limits->extensions, HTTP_CHUNK_EXTENSIONS_TOO_LARGE);
}

/* Field lines of the trailer section, as far as they are here. Returns as chunked_decode does. */
static int take_trailers(struct chunked_decoder *decoder, struct slice *bytes, struct slice *data,
                         const struct chunked_limits *limits)
{
    const char *start = bytes->data;
    while (bytes->len > 0 && decoder->state >= TRAILER_FIRST && decoder->state < LAST_LF) {
        int result = take_byte(decoder, bytes->data[0], limits);
        if (result < 0)
            return result;
        *bytes = slice_of(bytes->data + 1, bytes->len - 1);
    }
    size_t last = decoder->state == LAST_LF ? 1 : 0; /* the CR of the line that ends it all */
    *data = slice_of(start, (size_t)(bytes->data - start) - last);
    return data->len > 0 ? CHUNKED_TRAILERS : CHUNKED_MORE;
}

/* What stands between two chunks, in one go when it is whole and no more than line ends and a size;
 * else nothing is taken, and it is read byte by byte. */
static bool take_plain_lines(struct chunked_decoder *decoder, struct slice *bytes)
{
    const char *at = bytes->data;
    const char *end = at + bytes->len;
    if (decoder->state == CHUNK_DATA_CR) {
        if (end - at < 2 || at[0] != '\r' || at[1] != '\n')
            return false;
        at += 2;
    }
    const char *digits = at;
    const char *most = end - at < SIZE_DIGITS ? end : at + SIZE_DIGITS - 1; /* cannot overflow */
    uint64_t size = 0;
    for (; at < most && http_is(HTTP_HEXDIG, *at); at++)
        size = size << 4 | (uint64_t)http_hex_value(*at);
    if (at == digits || end - at < 2 || at[0] != '\r' || at[1] != '\n')
        return false;
    *bytes = slice_of(at + 2, (size_t)(end - at) - 2);
    decoder->remaining = size;
    decoder->state = size > 0 ? CHUNK_DATA : TRAILER_FIRST;
    return true;
}

static void take_data(struct chunked_decoder *decoder, struct slice *bytes, struct slice *data)
{
    size_t len = bytes->len < decoder->remaining ? bytes->len : (size_t)decoder->remaining;
    *data = slice_of(bytes->data, len);
    *bytes = slice_of(bytes->data + len, bytes->len - len);
    decoder->remaining -= len;
    if (decoder->remaining == 0)
        enter(decoder, CHUNK_DATA_CR);
}

int chunked_decode(struct chunked_decoder *decoder, struct slice *bytes, struct slice *data,
                   const struct chunked_limits *limits)
{
    *data = (struct slice){0};
    while (decoder->state != BODY_END && bytes->len > 0) {
        if (decoder->state == CHUNK_DATA) {
            take_data(decoder, bytes, data);
            return CHUNKED_DATA;
        }
        if ((decoder->state == CHUNK_DATA_CR || decoder->state == CHUNK_SIZE_FIRST) &&
            take_plain_lines(decoder, bytes))
            continue;
        if (decoder->state >= TRAILER_FIRST && decoder->state < LAST_LF) {
            int result = take_trailers(decoder, bytes, data, limits);
            if (result != CHUNKED_MORE)
                return result;
            continue;
        }
        int result = take_byte(decoder, bytes->data[0], limits);
        if (result < 0)
            return result;
        *bytes = slice_of(bytes->data + 1, bytes->len - 1);
    }
    return decoder->state == BODY_END ? CHUNKED_END : CHUNKED_MORE;
}

size_t chunk_line_write(char line[CHUNK_LINE_SIZE], uint64_t len)
{
    size_t digits = (size_t)(67 - __builtin_clzll(len)) / 4;
    for (size_t i = digits; i > 0; len >>= 4)
        line[--i] = "0123456789abcdef"[len & 15];
    line[digits] = '\r';
    line[digits + 1] = '\n';
    return digits + 2;
}

const struct slice chunk_last = {"0\r\n\r\n", 5};
