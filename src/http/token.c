#include "http/token.h"

#include <string.h>

#include "http/scan.h"

/* The grammars as conditions on a byte; the table is made of them by the compiler. */
#define BETWEEN(c, first, last) ((c) >= (first) && (c) <= (last))
#define ALPHA(c)                (BETWEEN(c, 'A', 'Z') || BETWEEN(c, 'a', 'z'))
#define DIGIT(c)                BETWEEN(c, '0', '9')
#define HEXDIG(c)               (DIGIT(c) || BETWEEN(c, 'A', 'F') || BETWEEN(c, 'a', 'f'))
#define TCHAR(c)                                                                                   \
    (ALPHA(c) || DIGIT(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' || (c) == '&' || \
     (c) == '\'' || (c) == '*' || (c) == '+' || (c) == '-' || (c) == '.' || (c) == '^' ||          \
     (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define FIELD_VCHAR(c) ((c) == '\t' || ((c) >= ' ' && (c) != 0x7f))
#define UNRESERVED(c)  (ALPHA(c) || DIGIT(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define SUB_DELIM(c)                                                                      \
    ((c) == '!' || (c) == '$' || (c) == '&' || (c) == '\'' || (c) == '(' || (c) == ')' || \
     (c) == '*' || (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=')
#define HOST(c)  (UNRESERVED(c) || SUB_DELIM(c))
#define PCHAR(c) (HOST(c) || (c) == ':' || (c) == '@' || (c) == '%' || (c) == '/')

/* Beyond RFC 3986: the bytes that browsers send unencoded (the WHATWG URL standard's percent-encode
 * sets); refusing them would refuse people. What no browser sends (quotes, angle brackets, '#',
 * bytes above 0x7f) stays refused: other readers of the same bytes disagree about them. */
#define PATH(c) (PCHAR(c) || (c) == '|' || (c) == '[' || (c) == ']')
#define QUERY(c) \
    (PATH(c) || (c) == '?' || (c) == '{' || (c) == '}' || (c) == '\\' || (c) == '^' || (c) == '`')

#define CLASSES(c)                                                                            \
    (TCHAR(c) ? HTTP_TCHAR : 0) | (FIELD_VCHAR(c) ? HTTP_FIELD_VCHAR : 0) |                   \
        (PATH(c) ? HTTP_PATH : 0) | (HOST(c) ? HTTP_HOST : 0) | (DIGIT(c) ? HTTP_DIGIT : 0) | \
        (HEXDIG(c) ? HTTP_HEXDIG : 0) | (QUERY(c) ? HTTP_QUERY : 0) |                         \
        ((c) == ' ' || (c) == '\t' ? HTTP_WHITE : 0)
#define CLASSES_4(c)  CLASSES(c), CLASSES((c) + 1), CLASSES((c) + 2), CLASSES((c) + 3)
#define CLASSES_16(c) CLASSES_4(c), CLASSES_4((c) + 4), CLASSES_4((c) + 8), CLASSES_4((c) + 12)
#define CLASSES_64(c) \
    CLASSES_16(c), CLASSES_16((c) + 16), CLASSES_16((c) + 32), CLASSES_16((c) + 48)

const uint8_t http_classes[256] = {CLASSES_64(0), CLASSES_64(64), CLASSES_64(128), CLASSES_64(192)};

bool http_is_token(struct slice text)
{
    if (text.len == 0)
        return false;
    const char *end = text.data + text.len;
    return http_skip(HTTP_TCHAR, text.data, end) == end;
}

bool http_is_field_value(struct slice text)
{
    if (text.len == 0)
        return true;
    const char *end = text.data + text.len;
    return http_skip_field_value(text.data, end) == end;
}

bool http_decimal_read(struct slice text, uint64_t *number)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!http_is(HTTP_DIGIT, text.data[i]))
            return false;
        uint64_t digit = (uint64_t)(text.data[i] - '0');
        if (sum > (INT64_MAX - digit) / 10)
            return false;
        sum = sum * 10 + digit;
    }
    *number = sum;
    return text.len > 0;
}

struct slice http_trim(struct slice text)
{
    while (text.len > 0 && http_is(HTTP_WHITE, text.data[0])) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && http_is(HTTP_WHITE, text.data[text.len - 1]))
        text.len--;
    return text;
}

bool http_list_next(struct slice *list, struct slice *element)
{
    while (list->len > 0) {
        const char *comma = memchr(list->data, ',', list->len);
        size_t len = comma ? (size_t)(comma - list->data) : list->len;
        size_t taken = comma ? len + 1 : len;
        *element = http_trim(slice_of(list->data, len));
        *list = slice_of(list->data + taken, list->len - taken);
        if (element->len > 0)
            return true;
    }
    return false;
}
