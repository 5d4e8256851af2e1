#include "http/trailer.h"

#include <string.h>

#include "http/token.h"

/* RFC 9110 6.5.1, with the fields that its list of kinds stands for; and those by which a proxy
 * says for whom it speaks. */
static bool trailer_is_forbidden(struct slice name)
{
    static const char *const names[] = {
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "max-forwards",
        "pragma",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (slice_equal_ignoring_case(name, slice_of_text(names[i])))
            return true;
    return false;
}

bool trailer_next(struct slice *section, struct http_field *field)
{
    while (section->len > 0) {
        const char *end = memchr(section->data, '\n', section->len);
        const char *colon = memchr(section->data, ':', section->len);
        if (!end || !colon || colon + 1 >= end)
            return false; /* not what the decoder hands out */
        field->name = slice_of(section->data, (size_t)(colon - section->data));
        field->value = http_trim(slice_of(colon + 1, (size_t)(end - colon) - 2)); /* without CR */
        *section = slice_of(end + 1, section->len - (size_t)(end + 1 - section->data));
        if (!trailer_is_forbidden(field->name))
            return true;
    }
    return false;
}
