/* Character classes of HTTP as one table of 256 bytes: RFC 9110 5.6.2, 5.5, RFC 3986 2 and 3. */
#ifndef ZOLAL_HTTP_TOKEN_H
#define ZOLAL_HTTP_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum http_class {
    HTTP_TCHAR = 1,       /* RFC 9110 5.6.2: token */
    HTTP_FIELD_VCHAR = 2, /* VCHAR, obs-text, SP, HTAB: what a field value may hold */
    HTTP_PATH = 4,        /* RFC 3986 3.3: pchar, '/', '%', and what browsers leave as it is */
    HTTP_HOST = 8,        /* RFC 3986 3.2.2: reg-name without '%': unreserved, sub-delims */
    HTTP_DIGIT = 16,
    HTTP_HEXDIG = 32,
    HTTP_QUERY = 64, /* RFC 3986 3.4: pchar, '/', '?', '%', and what browsers leave as it is */
    HTTP_WHITE = 128 /* RFC 9110 5.6.3: SP, HTAB */
};

extern const uint8_t http_classes[256];

static inline bool http_is(enum http_class class, char c)
{
    return (http_classes[(unsigned char)c] & class) != 0;
}

/* Is it one or more tchar? */
bool http_is_token(struct slice text);

/* Is it free of CR, LF, NUL and the other control bytes but HTAB? Empty is fine. */
bool http_is_field_value(struct slice text);

/* The value of a hexadecimal digit, or -1. */
static inline int http_hex_value(char c)
{
    return http_is(HTTP_HEXDIG, c) ? (c & 15) + (c >> 6) * 9 : -1; /* ASCII: letters have bit 6 */
}

/* Read a number of one or more decimal digits and nothing else, at most 2^63-1, into `*number`
 * (Content-Length, RFC 9110 8.6). False when it is none. */
bool http_decimal_read(struct slice text, uint64_t *number);

/* `text` without the SP and HTAB around it (OWS, RFC 9110 5.6.3). */
struct slice http_trim(struct slice text);

/* Step through a comma-separated list (RFC 9110 5.6.1): takes the next non-empty element off the
 * front of `*list` into `*element`, trimmed; false when there is none. Quoted strings are not
 * known. */
bool http_list_next(struct slice *list, struct slice *element);

#endif
