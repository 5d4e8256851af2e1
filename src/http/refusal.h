/* Every refusal of a request: one row, its status, its text, the source that demands or allows it.
 */
#ifndef ZOLAL_HTTP_REFUSAL_H
#define ZOLAL_HTTP_REFUSAL_H

/* X(enumerator, status, text, source). Parsers return -enumerator (all are > 0). Rows are added as
 * rules are; a row that nothing returns is dead and a test says so. */
#define HTTP_REFUSALS(X)                                                                        \
    X(HTTP_BAD_REQUEST_LINE, 400, "malformed request line", "RFC 9112 3")                       \
    X(HTTP_BAD_METHOD, 400, "method is not a token", "RFC 9112 3.1")                            \
    X(HTTP_BAD_TARGET, 400, "malformed request target", "RFC 9112 3.2")                         \
    X(HTTP_MISDIRECTED, 421, "https target on a connection without TLS", "RFC 9110 7.4")        \
    X(HTTP_BAD_VERSION, 400, "malformed HTTP version", "RFC 9112 2.3")                          \
    X(HTTP_VERSION_NOT_SUPPORTED, 505, "HTTP version not supported", "RFC 9110 15.6.6")         \
    X(HTTP_URI_TOO_LONG, 414, "request line too long", "RFC 9112 3")                            \
    X(HTTP_BARE_CR, 400, "carriage return without line feed", "RFC 9112 2.2")                   \
    X(HTTP_BARE_LF, 400, "line feed without carriage return", "RFC 9112 2.2")                   \
    X(HTTP_BAD_FIELD_NAME, 400, "malformed field name", "RFC 9112 5.1")                         \
    X(HTTP_SPACE_BEFORE_COLON, 400, "white space between field name and colon", "RFC 9112 5.1") \
    X(HTTP_BAD_FIELD_VALUE, 400, "control character in a field value", "RFC 9110 5.5")          \
    X(HTTP_OBSOLETE_FOLD, 400, "folded field line", "RFC 9112 5.2")                             \
    X(HTTP_FIELD_TOO_LARGE, 431, "request header field too large", "RFC 6585 5")                \
    X(HTTP_TOO_MANY_FIELDS, 431, "too many request header fields", "RFC 6585 5")                \
    X(HTTP_HEAD_TOO_LARGE, 431, "request header fields too large", "RFC 6585 5")                \
    X(HTTP_NO_HOST, 400, "no Host field", "RFC 9112 3.2")                                       \
    X(HTTP_SEVERAL_HOSTS, 400, "more than one Host field", "RFC 9112 3.2")                      \
    X(HTTP_BAD_HOST, 400, "malformed Host", "RFC 9112 3.2")                                     \
    X(HTTP_BAD_CONTENT_LENGTH, 400, "malformed Content-Length", "RFC 9112 6.3")                 \
    X(HTTP_SEVERAL_CONTENT_LENGTHS, 400, "conflicting Content-Length fields", "RFC 9112 6.3")   \
    X(HTTP_LENGTH_AND_CHUNKED, 400, "Transfer-Encoding with Content-Length", "RFC 9112 6.1")    \
    X(HTTP_BAD_TRANSFER_ENCODING, 400, "malformed Transfer-Encoding", "RFC 9112 6.1")           \
    X(HTTP_UNKNOWN_TRANSFER_ENCODING, 501, "unknown transfer coding", "RFC 9112 6.1")           \
    X(HTTP_CHUNKED_NOT_FINAL, 400, "chunked is not the final transfer coding", "RFC 9112 6.3")  \
    X(HTTP_CHUNKED_IN_1_0, 400, "Transfer-Encoding in HTTP/1.0", "RFC 9112 6.1")                \
    X(HTTP_BAD_CHUNK_SIZE, 400, "malformed chunk size", "RFC 9112 7.1")                         \
    X(HTTP_CHUNK_TOO_LARGE, 400, "chunk size too large", "RFC 9112 7.1")                        \
    X(HTTP_BAD_CHUNK_EXTENSION, 400, "malformed chunk extension", "RFC 9112 7.1.1")             \
    X(HTTP_CHUNK_EXTENSIONS_TOO_LARGE, 400, "chunk extensions too large", "RFC 9112 7.1.1")     \
    X(HTTP_BAD_CHUNK_END, 400, "chunk data without its line end", "RFC 9112 7.1")               \
    X(HTTP_BAD_TRAILER, 400, "malformed trailer field", "RFC 9112 7.1.2")                       \
    X(HTTP_TRAILERS_TOO_LARGE, 431, "trailer section too large", "RFC 9112 7.1.2")              \
    X(HTTP_BODY_TOO_LARGE, 413, "request body too large", "RFC 9110 15.5.14")                   \
    X(HTTP_EXPECTATION_FAILED, 417, "unknown expectation", "RFC 9110 10.1.1")                   \
    X(HTTP_METHOD_NOT_IMPLEMENTED, 501, "method not implemented", "RFC 9110 9.3.6")             \
    X(HTTP_INCOMPLETE_REQUEST, 400, "request not complete", "RFC 9112 8")                       \
    X(HTTP_AMBIGUOUS_FIELD_NAME, 400, "underscore in a field name", "RFC 3875 4.1.18")          \
    X(HTTP_REQUEST_TIMEOUT, 408, "request not complete in time", "RFC 9110 15.5.9")             \
    X(HTTP_CANNOT_STORE_BODY, 500, "cannot store the request body", "RFC 9110 15.6.1")          \
    X(HTTP_OVERLOADED, 503, "too many requests are waiting", "RFC 9110 15.6.4")                 \
    X(HTTP_INTERNAL_ERROR, 500, "internal server error", "RFC 9110 15.6.1")

enum http_refusal {
    HTTP_ACCEPTED = 0,
#define X(name, status, text, source) name,
    HTTP_REFUSALS(X)
#undef X
        HTTP_REFUSAL_COUNT
};

struct http_refusal_row {
    int status;
    const char *text;
    const char *source;
};

/* The row of `refusal`, which must be one. Never NULL. */
const struct http_refusal_row *http_refusal_row(enum http_refusal refusal);

#endif
