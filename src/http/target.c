#include "http/target.h"

#include <string.h>

#include "http/scan.h"
#include "http/token.h"

size_t percent_decode(char *out, struct slice path)
{
    char *to = out;
    while (path.len > 0) {
        const char *percent = memchr(path.data, '%', path.len);
        size_t plain = percent ? (size_t)(percent - path.data) : path.len;
        memcpy(to, path.data, plain);
        to += plain;
        path = slice_of(path.data + plain, path.len - plain);
        if (path.len == 0)
            break;
        bool encoded =
            path.len >= 3 && http_hex_value(path.data[1]) >= 0 && http_hex_value(path.data[2]) >= 0;
        *to++ = encoded ? (char)(http_hex_value(path.data[1]) * 16 + http_hex_value(path.data[2]))
                        : '%';
        size_t taken = encoded ? 3 : 1;
        path = slice_of(path.data + taken, path.len - taken);
    }
    return (size_t)(to - out);
}

/* RFC 3986 3.2.2: IPv4address, dec-octets without leading zeros. */
static bool is_ipv4(const char *at, const char *end)
{
    for (int octets = 1;; octets++) {
        const char *digits_end = http_skip(HTTP_DIGIT, at, end);
        size_t digits = (size_t)(digits_end - at);
        if (digits == 0 || digits > 3 || (digits > 1 && *at == '0'))
            return false;
        int value = 0;
        while (at < digits_end)
            value = value * 10 + (*at++ - '0');
        if (value > 255)
            return false;
        if (octets == 4)
            return at == end;
        if (at == end || *at++ != '.')
            return false;
    }
}

/* RFC 3986 3.2.2: IPv6address; eight groups, or fewer around one "::". */
static bool is_ipv6(const char *at, const char *end)
{
    size_t groups = 0;
    bool gap = end - at >= 2 && at[0] == ':' && at[1] == ':';
    if (gap)
        at += 2;
    while (at < end) {
        const char *group = at;
        at = http_skip(HTTP_HEXDIG, at, end);
        if (at < end && *at == '.') {
            groups += 2;
            if (!is_ipv4(group, end))
                return false;
            break;
        }
        if (at == group || at - group > 4)
            return false;
        groups++;
        if (at == end)
            break;
        if (*at++ != ':' || at == end)
            return false;
        if (*at == ':') {
            if (gap)
                return false;
            gap = true;
            at++;
        }
    }
    return gap ? groups <= 7 : groups == 8;
}

/* RFC 3986 3.2.2: IPvFuture, "v" 1*HEXDIG "." 1*(unreserved / sub-delims / ":"). */
static bool is_ip_future(const char *at, const char *end)
{
    if (at == end || (*at | 0x20) != 'v')
        return false;
    const char *dot = http_skip(HTTP_HEXDIG, at + 1, end);
    if (dot == at + 1 || dot == end || *dot != '.' || dot + 1 == end)
        return false;
    for (at = dot + 1; at < end; at++) {
        if (!http_is(HTTP_HOST, *at) && *at != ':')
            return false;
    }
    return true;
}

/* The end of the host that begins at `at`, or NULL. */
static const char *skip_host(const char *at, const char *end)
{
    const char *start = at;
    if (at < end && *at == '[') {
        const char *close = memchr(at, ']', (size_t)(end - at));
        bool valid = close && (is_ipv6(at + 1, close) || is_ip_future(at + 1, close));
        return valid ? close + 1 : NULL;
    }
    for (;;) {
        at = http_skip(HTTP_HOST, at, end);
        if (at == end || *at != '%')
            return at > start ? at : NULL;
        if (end - at < 3 || !http_is(HTTP_HEXDIG, at[1]) || !http_is(HTTP_HEXDIG, at[2]))
            return NULL;
        at += 3;
    }
}

bool authority_is_valid(struct slice authority)
{
    if (authority.len == 0)
        return false;
    const char *end = authority.data + authority.len;
    const char *at = skip_host(authority.data, end);
    if (!at || at == end)
        return at != NULL;
    return *at == ':' && http_skip(HTTP_DIGIT, at + 1, end) == end;
}
