#include <string.h>

#include "http/chunked.h"
#include "parse.h"

static const struct http_head_limits head_limits = {8190, PARSED_FIELDS, 8190, 65536};
static const struct chunked_limits chunked_limits = {4096, 8192};

static bool heads(struct slice text, size_t cut, int times, struct parsed *parsed)
{
    struct request_head head = {.fields = parsed->fields};
    for (int i = 0; i < times; i++) {
        struct request_head_progress progress = {0};
        if (cut > 0) {
            struct slice front = slice_of(text.data, cut);
            if (request_head_parse(&head, &progress, front, &head_limits) != 0)
                return false;
        }
        if (request_head_parse(&head, &progress, text, &head_limits) != (ssize_t)text.len)
            return false;
    }
    parsed->method = head.method_text;
    parsed->target = head.target;
    parsed->field_count = head.field_count;
    return true;
}

/* Returns what chunked_decode() said last. */
static int decode(struct chunked_decoder *decoder, struct slice bytes, char *out, size_t *len)
{
    struct slice data;
    int result;
    while ((result = chunked_decode(decoder, &bytes, &data, &chunked_limits)) == CHUNKED_DATA) {
        if (out)
            memcpy(out + *len, data.data, data.len);
        *len += data.len;
    }
    return result;
}

static bool body(struct slice head, struct slice chunks, int reads, char *out, size_t *len)
{
    struct http_field fields[PARSED_FIELDS];
    struct request_head request = {.fields = fields};
    struct request_head_progress progress = {0};
    struct chunked_decoder decoder = {0};
    *len = 0;
    if (request_head_parse(&request, &progress, head, &head_limits) != (ssize_t)head.len ||
        request.framing != HTTP_CHUNKED)
        return false;
    for (int i = 0; i < reads; i++) {
        if (decode(&decoder, chunks, out, len) != CHUNKED_MORE)
            return false;
    }
    return decode(&decoder, chunk_last, out, len) == CHUNKED_END;
}

const struct parser parse_zolal = {heads, body};
