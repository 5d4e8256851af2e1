#include "http/response_head.h"

#include <string.h>

#include "http/token.h"

const char *response_field_problem_text(enum response_field_problem problem)
{
    switch (problem) {
    case RESPONSE_FIELD_OK:
        return "nothing is wrong";
    case RESPONSE_FIELD_BAD_NAME:
        return "the name is not a token (RFC 9110 5.1)";
    case RESPONSE_FIELD_BAD_VALUE:
        return "the value holds a control character (RFC 9110 5.5)";
    case RESPONSE_FIELD_HOP_BY_HOP:
        return "a hop-by-hop field is the server's to send (PEP 3333)";
    case RESPONSE_FIELD_BAD_LENGTH:
        return "Content-Length is not a number of at most 2^63-1 (RFC 9110 8.6)";
    case RESPONSE_FIELD_SECOND_LENGTH:
        return "Content-Length stands there twice (RFC 9110 8.6)";
    }
    return "unknown problem";
}

/* RFC 2616 13.5.1, which PEP 3333 refers to, and Trailer as it should have been spelled there. */
static bool is_hop_by_hop(struct slice name)
{
    static const struct slice names[] = {
        {"connection", 10}, {"keep-alive", 10},          {"proxy-authenticate", 18},
        {"te", 2},          {"proxy-authorization", 19}, {"trailer", 7},
        {"trailers", 8},    {"transfer-encoding", 17},   {"upgrade", 7},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (slice_equal_ignoring_case(name, names[i]))
            return true;
    }
    return false;
}

enum response_field_problem response_fields_add(struct response_fields *fields,
                                                const struct response_fields *one)
{
    fields->has_date |= one->has_date;
    fields->has_server |= one->has_server;
    if (!one->has_content_length)
        return RESPONSE_FIELD_OK;
    if (fields->has_content_length)
        return RESPONSE_FIELD_SECOND_LENGTH;
    fields->has_content_length = true;
    fields->content_length = one->content_length;
    return RESPONSE_FIELD_OK;
}

enum response_field_problem response_field_check(struct response_fields *fields, struct slice name,
                                                 struct slice value)
{
    if (!http_is_token(name))
        return RESPONSE_FIELD_BAD_NAME;
    if (!http_is_field_value(value))
        return RESPONSE_FIELD_BAD_VALUE;
    if (is_hop_by_hop(name))
        return RESPONSE_FIELD_HOP_BY_HOP;
    struct response_fields one = {
        .has_content_length = slice_equal_ignoring_case(name, SLICE("content-length")),
        .has_date = slice_equal_ignoring_case(name, SLICE("date")),
        .has_server = slice_equal_ignoring_case(name, SLICE("server")),
    };
    if (one.has_content_length && !http_decimal_read(http_trim(value), &one.content_length))
        return RESPONSE_FIELD_BAD_LENGTH;
    return response_fields_add(fields, &one);
}

bool http_status_has_no_content(int status)
{
    return (status >= 100 && status < 200) || status == 204 || status == 304;
}

/* RFC 9110 15, and the registered codes of RFC 2518, 5842, 6585, 7725, 8297, 8470. */
#define STATUSES(X)                           \
    X(100, "Continue")                        \
    X(101, "Switching Protocols")             \
    X(102, "Processing")                      \
    X(103, "Early Hints")                     \
    X(200, "OK")                              \
    X(201, "Created")                         \
    X(202, "Accepted")                        \
    X(203, "Non-Authoritative Information")   \
    X(204, "No Content")                      \
    X(205, "Reset Content")                   \
    X(206, "Partial Content")                 \
    X(207, "Multi-Status")                    \
    X(208, "Already Reported")                \
    X(226, "IM Used")                         \
    X(300, "Multiple Choices")                \
    X(301, "Moved Permanently")               \
    X(302, "Found")                           \
    X(303, "See Other")                       \
    X(304, "Not Modified")                    \
    X(305, "Use Proxy")                       \
    X(307, "Temporary Redirect")              \
    X(308, "Permanent Redirect")              \
    X(400, "Bad Request")                     \
    X(401, "Unauthorized")                    \
    X(402, "Payment Required")                \
    X(403, "Forbidden")                       \
    X(404, "Not Found")                       \
    X(405, "Method Not Allowed")              \
    X(406, "Not Acceptable")                  \
    X(407, "Proxy Authentication Required")   \
    X(408, "Request Timeout")                 \
    X(409, "Conflict")                        \
    X(410, "Gone")                            \
    X(411, "Length Required")                 \
    X(412, "Precondition Failed")             \
    X(413, "Content Too Large")               \
    X(414, "URI Too Long")                    \
    X(415, "Unsupported Media Type")          \
    X(416, "Range Not Satisfiable")           \
    X(417, "Expectation Failed")              \
    X(421, "Misdirected Request")             \
    X(422, "Unprocessable Content")           \
    X(423, "Locked")                          \
    X(424, "Failed Dependency")               \
    X(425, "Too Early")                       \
    X(426, "Upgrade Required")                \
    X(428, "Precondition Required")           \
    X(429, "Too Many Requests")               \
    X(431, "Request Header Fields Too Large") \
    X(451, "Unavailable For Legal Reasons")   \
    X(500, "Internal Server Error")           \
    X(501, "Not Implemented")                 \
    X(502, "Bad Gateway")                     \
    X(503, "Service Unavailable")             \
    X(504, "Gateway Timeout")                 \
    X(505, "HTTP Version Not Supported")      \
    X(506, "Variant Also Negotiates")         \
    X(507, "Insufficient Storage")            \
    X(508, "Loop Detected")                   \
    X(511, "Network Authentication Required")

const char *http_status_reason(int status)
{
    switch (status) {
#define X(code, reason) \
    case code:          \
        return reason;
        STATUSES(X)
#undef X
    default:
        return "Unknown";
    }
}

size_t status_line_write(char *out, int status, struct slice reason)
{
    memcpy(out, "HTTP/1.1 000 ", 13);
    out[9] = (char)('0' + status / 100 % 10);
    out[10] = (char)('0' + status / 10 % 10);
    out[11] = (char)('0' + status % 10);
    if (reason.len > 0)
        memcpy(out + 13, reason.data, reason.len);
    memcpy(out + 13 + reason.len, "\r\n", 2);
    return 15 + reason.len;
}

size_t field_line_write(char *out, struct slice name, struct slice value)
{
    memcpy(out, name.data, name.len);
    memcpy(out + name.len, ": ", 2);
    if (value.len > 0)
        memcpy(out + name.len + 2, value.data, value.len);
    memcpy(out + name.len + 2 + value.len, "\r\n", 2);
    return name.len + value.len + FIELD_LINE_EXTRA;
}

size_t http_decimal_write(char *out, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(out, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}
