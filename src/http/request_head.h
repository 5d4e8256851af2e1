/* The head of a request: request line and field lines, RFC 9112 2 to 6. A strict pull parser: it
 * refuses by default, allocates nothing (but for its memo, where it has one), and keeps slices of
 * the bytes it was given. */
#ifndef ZOLAL_HTTP_REQUEST_HEAD_H
#define ZOLAL_HTTP_REQUEST_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"
#include "http/refusal.h"

struct field_memo;

enum http_method {
    HTTP_METHOD_OTHER = 0,
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_CONNECT,
    HTTP_METHOD_TRACE,
    HTTP_METHOD_PATCH
};

/* RFC 9112 3.2. */
enum http_target_form {
    HTTP_ORIGIN_FORM,
    HTTP_ABSOLUTE_FORM,
    HTTP_AUTHORITY_FORM,
    HTTP_ASTERISK_FORM
};

/* How the body is framed, RFC 9112 6.3. */
enum http_framing { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKED };

/* A field line; `value` without the white space around it. */
struct http_field {
    struct slice name;
    struct slice value;
};

/* Bytes and numbers that a head may reach; 0 is not "unlimited" here: callers put a number. */
struct http_head_limits {
    size_t request_line; /* bytes without the line end */
    size_t fields;       /* field lines; at most the capacity of request_head.fields */
    size_t field_size;   /* bytes of a line without its end */
    size_t head;         /* bytes in all */
};

/* Slices point into the bytes parsed; the whole is valid while they are. */
struct request_head {
    struct slice method_text;
    enum http_method method;
    enum http_target_form form;
    struct slice target; /* as sent */
    struct slice path;   /* not decoded; "*" for OPTIONS *; for an absolute form without one "/",
                            with OPTIONS empty */
    struct slice query;  /* without '?', empty when there is none */
    struct slice host;   /* of the target in absolute form, else of Host; may be empty */
    int minor;           /* 1 for HTTP/1.1 and any HTTP/1.x above (RFC 9110 2.5), 0 for HTTP/1.0 */
    enum http_framing framing;
    uint64_t content_length; /* when framing is HTTP_LENGTH */
    bool has_content_length; /* also for Content-Length: 0, where framing is HTTP_NO_BODY */
    bool keep_alive;      /* may the connection be used again, as far as the client is concerned? */
    bool expect_continue; /* Expect: 100-continue, of an HTTP/1.1 client with a body (RFC
                             9110 10.1.1) */
    uint64_t block; /* the number of these fields in `memo`: equal numbers, equal bytes; 0: none */
    size_t field_count;
    struct http_field *fields; /* the caller's array */
    struct field_memo *memo;   /* the caller's, or NULL */
};

/* The fields that say how the message is read. */
enum request_field {
    REQUEST_FIELD_HOST,
    REQUEST_FIELD_CONTENT_LENGTH,
    REQUEST_FIELD_TRANSFER_ENCODING,
    REQUEST_FIELD_CONNECTION,
    REQUEST_FIELD_EXPECT,
    REQUEST_FIELD_OTHER
};

/* Where the parser stands in a head that is not whole yet: no line is parsed twice, no byte is
 * looked at more than twice. All zero for a new head; only request_head.c touches its members. */
struct request_head_progress {
    const char *base; /* where the bytes were in the last call */
    size_t line;      /* offset of the first line that is not parsed yet */
    size_t scanned;   /* bytes known to hold no end of that line */
    bool in_fields;   /* is the request line behind? */
    struct {
        uint32_t first, last; /* its place in `fields`, plus 1; 0 when there is none */
    } seen[REQUEST_FIELD_OTHER];
};

/* Parse `bytes`, which begin where a request begins (empty lines before it are skipped, RFC
 * 9112 2.2). `head->fields` must point to `limits->fields` elements, `head->memo` to the memo of
 * these limits or nowhere; all else is written here.
 * Returns > 0: the head is whole and that many bytes long (with any empty lines before it);
 * 0: more bytes are needed; -enum http_refusal: refused, which may be known before the head is
 * whole. Called again with the same bytes and more behind them, the same `head` and the same
 * `progress`, it goes on; the bytes may have moved. However they are cut, the verdict is the same,
 * at the latest when the line in question ends or reaches its limit. A whole head leaves `progress`
 * all zero. */
ssize_t request_head_parse(struct request_head *head, struct request_head_progress *progress,
                           struct slice bytes, const struct http_head_limits *limits);

/* Bytes of whole empty lines at the front of `bytes`: nothing of a request yet (RFC 9112 2.2). */
size_t request_head_blank(struct slice bytes);

/* More empty lines before a request than this, in bytes, are refused. */
#define REQUEST_HEAD_BLANK_MAX 16

/* The bytes that `head` points into were moved from `from` to `to`: let it point there. */
void request_head_move(struct request_head *head, const char *from, const char *to);

/* The value of the first field `name` (any case), or an empty slice with data NULL. */
struct slice request_head_field(const struct request_head *head, struct slice name);

#endif
