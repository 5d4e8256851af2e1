#include "http/request_head.h"

#include <assert.h>
#include <string.h>

#include "http/field_memo.h"
#include "http/request_message.h"
#include "http/scan.h"
#include "http/target.h"
#include "http/token.h"

/* What became of a line: refused when < 0. Lines are read strictly from left to right, and what
 * comes later is looked at only when all before it is right: so the verdict does not depend on how
 * the bytes were cut, and a line that is too long is told from a bad one by which comes first. */
enum line_result {
    LINE_UNFINISHED = 0, /* the bytes, or the limit, end before the line does */
    LINE_DONE = 1,
    LINE_LAST = 2 /* the empty line after the fields */
};

/* The line being read: bytes from `at` up to `end`, which no line may pass. */
struct cursor {
    const char *at;
    const char *end;
};

/* ------------------------------------------------------------------------------- request line */

static inline int take_line_end(struct cursor *cursor, enum http_refusal otherwise)
{
    size_t len = (size_t)(cursor->end - cursor->at);
    if (len >= 2 && cursor->at[0] == '\r' && cursor->at[1] == '\n') {
        cursor->at += 2;
        return LINE_DONE;
    }
    if (len == 0)
        return LINE_UNFINISHED;
    if (*cursor->at == '\n')
        return -HTTP_BARE_LF;
    if (*cursor->at != '\r')
        return -(int)otherwise;
    return len == 1 ? LINE_UNFINISHED : -HTTP_BARE_CR;
}

size_t request_head_blank(struct slice bytes)
{
    size_t len = 0;
    while (bytes.len - len >= 2 && bytes.data[len] == '\r' && bytes.data[len + 1] == '\n')
        len += 2;
    return len;
}

/* Old clients send a line end after a body (RFC 9112 2.2); more than a few of them is no mistake.
 */
static int skip_empty_lines(struct cursor *cursor)
{
    const char *start = cursor->at;
    while (cursor->at < cursor->end && (*cursor->at == '\r' || *cursor->at == '\n')) {
        if (cursor->at - start >= REQUEST_HEAD_BLANK_MAX)
            return -HTTP_BAD_REQUEST_LINE;
        int result = take_line_end(cursor, HTTP_BAD_REQUEST_LINE);
        if (result != LINE_DONE)
            return result;
    }
    return cursor->at < cursor->end ? LINE_DONE : LINE_UNFINISHED;
}

static int take_method(struct request_head *head, struct cursor *cursor)
{
    const char *start = cursor->at;
    cursor->at = http_skip(HTTP_TCHAR, start, cursor->end);
    if (cursor->at == cursor->end)
        return LINE_UNFINISHED;
    if (cursor->at == start || *cursor->at != ' ')
        return *cursor->at == '\r' || *cursor->at == '\n' ? -HTTP_BAD_REQUEST_LINE
                                                          : -HTTP_BAD_METHOD;
    head->method_text = slice_of(start, (size_t)(cursor->at - start));
    cursor->at++;
    return LINE_DONE;
}

/* Origin-forms, which nearly all are, are taken apart on the way. */
static int take_target(struct request_head *head, struct cursor *cursor)
{
    const char *start = cursor->at;
    const char *path_end = http_skip(HTTP_PATH, start, cursor->end);
    const char *at = path_end;
    if (at < cursor->end && *at == '?')
        at = http_skip(HTTP_QUERY, at + 1, cursor->end);
    if (at == cursor->end)
        return LINE_UNFINISHED;
    if (*at == '\r' || *at == '\n' || (*at == ' ' && at == start))
        return -HTTP_BAD_REQUEST_LINE;
    if (*at != ' ')
        return -HTTP_BAD_TARGET;
    head->target = slice_of(start, (size_t)(at - start));
    head->path = slice_of(start, (size_t)(path_end - start));
    head->query =
        at > path_end ? slice_of(path_end + 1, (size_t)(at - path_end) - 1) : (struct slice){0};
    cursor->at = at + 1;
    return LINE_DONE;
}

/* RFC 9112 2.3: "HTTP/" DIGIT "." DIGIT. Byte by byte, so that a short line is refused at its end.
 */
static int take_version(struct request_head *head, struct cursor *cursor)
{
    static const struct slice form = {"HTTP/1.1", sizeof("HTTP/1.1") - 1};
    const char *at = cursor->at;
    for (size_t i = 0; i < form.len; i++, at++) {
        if (at == cursor->end)
            return LINE_UNFINISHED;
        if (form.data[i] == '1' ? !http_is(HTTP_DIGIT, *at) : *at != form.data[i])
            return -HTTP_BAD_VERSION;
    }
    if (at[-3] != '1')
        return -HTTP_VERSION_NOT_SUPPORTED;
    head->minor = at[-1] == '0' ? 0 : 1;
    cursor->at = at;
    return LINE_DONE;
}

static enum http_method method_of(struct slice text)
{
    static const struct {
        struct slice text;
        enum http_method method;
    } methods[] = {
        {{"HEAD", 4}, HTTP_METHOD_HEAD},       {{"POST", 4}, HTTP_METHOD_POST},
        {{"PUT", 3}, HTTP_METHOD_PUT},         {{"DELETE", 6}, HTTP_METHOD_DELETE},
        {{"OPTIONS", 7}, HTTP_METHOD_OPTIONS}, {{"CONNECT", 7}, HTTP_METHOD_CONNECT},
        {{"TRACE", 5}, HTTP_METHOD_TRACE},     {{"PATCH", 5}, HTTP_METHOD_PATCH},
    };
    if (text.len == 3 && memcmp(text.data, "GET", 3) == 0)
        return HTTP_METHOD_GET;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (slice_equal(text, methods[i].text))
            return methods[i].method;
    }
    return HTTP_METHOD_OTHER;
}

static size_t scheme_len(struct slice target)
{
    static const struct slice schemes[] = {{"http://", 7}, {"https://", 8}};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        struct slice front = slice_of(target.data, schemes[i].len);
        if (target.len >= front.len && slice_equal_ignoring_case(front, schemes[i]))
            return front.len;
    }
    return 0;
}

/* RFC 9112 3.2.2. Its authority is the host, whatever Host says. Its query is the target's. Without
 * a path it means "/", or the server as a whole, RFC 9112 3.2.4. */
static int read_absolute_form(struct request_head *head)
{
    size_t scheme = scheme_len(head->path);
    if (scheme == 0)
        return -HTTP_BAD_TARGET;
    struct slice rest = slice_of(head->path.data + scheme, head->path.len - scheme);
    const char *slash = memchr(rest.data, '/', rest.len);
    head->host = slice_of(rest.data, slash ? (size_t)(slash - rest.data) : rest.len);
    if (!authority_is_valid(head->host))
        return -HTTP_BAD_TARGET;
    head->form = HTTP_ABSOLUTE_FORM;
    if (slash)
        head->path = slice_of(slash, rest.len - head->host.len);
    else if (head->method == HTTP_METHOD_OPTIONS && head->query.len == 0)
        head->path = slice_of(rest.data + rest.len, 0);
    else
        head->path = slice_of(rest.data - 1, 1); /* a '/' that is there: the last one of "://" */
    /* This connection is not secured, RFC 9110 7.4. */
    return scheme == sizeof("http://") - 1 ? LINE_DONE : -HTTP_MISDIRECTED;
}

/* A tunnel is a proxy's work (RFC 9110 9.3.6); no other form is right with CONNECT. */
static int read_authority_form(struct request_head *head)
{
    head->form = HTTP_AUTHORITY_FORM;
    char last = head->target.data[head->target.len - 1];
    bool has_port = http_is(HTTP_DIGIT, last) && memchr(head->target.data, ':', head->target.len);
    return has_port && authority_is_valid(head->target) ? -HTTP_METHOD_NOT_IMPLEMENTED
                                                        : -HTTP_BAD_TARGET;
}

static int read_target(struct request_head *head)
{
    head->host = (struct slice){0};
    if (head->method == HTTP_METHOD_CONNECT)
        return read_authority_form(head);
    if (head->target.data[0] == '/') {
        head->form = HTTP_ORIGIN_FORM;
        return LINE_DONE;
    }
    if (!slice_equal(head->target, SLICE("*")))
        return read_absolute_form(head);
    head->form = HTTP_ASTERISK_FORM;
    return head->method == HTTP_METHOD_OPTIONS ? LINE_DONE : -HTTP_BAD_TARGET;
}

static int take_request_line(struct request_head *head, struct cursor *cursor)
{
    int result = take_method(head, cursor);
    if (result == LINE_DONE)
        result = take_target(head, cursor);
    if (result == LINE_DONE)
        result = take_version(head, cursor);
    if (result == LINE_DONE)
        result = take_line_end(cursor, HTTP_BAD_VERSION);
    if (result != LINE_DONE)
        return result;
    head->method = method_of(head->method_text);
    head->field_count = 0;
    head->block = 0;
    return read_target(head);
}

/* --------------------------------------------------------------------------------- field lines */

/* The name that begins at the cursor ends at `at`, and not with a colon: what is wrong? */
static int refuse_name(const struct request_head *head, const struct cursor *cursor, const char *at)
{
    if (at == cursor->at && http_is(HTTP_WHITE, *at) && head->field_count > 0)
        return -HTTP_OBSOLETE_FOLD;
    if (at == cursor->at || !http_is(HTTP_WHITE, *at))
        return *at == '\n' ? -HTTP_BARE_LF : -HTTP_BAD_FIELD_NAME;
    at = http_skip(HTTP_WHITE, at, cursor->end);
    if (at == cursor->end)
        return LINE_UNFINISHED;
    return *at == ':' ? -HTTP_SPACE_BEFORE_COLON : -HTTP_BAD_FIELD_NAME;
}

static int take_field(struct request_head *head, struct cursor *cursor, struct http_field *field)
{
    const char *at = http_skip(HTTP_TCHAR, cursor->at, cursor->end);
    if (at == cursor->end)
        return LINE_UNFINISHED;
    if (at == cursor->at || *at != ':')
        return refuse_name(head, cursor, at);
    field->name = slice_of(cursor->at, (size_t)(at - cursor->at));
    const char *value = http_skip(HTTP_WHITE, at + 1, cursor->end);
    cursor->at = at = http_skip_field_value(value, cursor->end);
    while (at > value && http_is(HTTP_WHITE, at[-1]))
        at--;
    field->value = slice_of(value, (size_t)(at - value));
    return take_line_end(cursor, HTTP_BAD_FIELD_VALUE);
}

static int take_field_line(struct request_head *head, struct request_head_progress *progress,
                           struct cursor *cursor, const struct http_head_limits *limits)
{
    if (cursor->at == cursor->end)
        return LINE_UNFINISHED;
    if (*cursor->at == '\r') {
        int result = take_line_end(cursor, HTTP_BARE_CR);
        return result == LINE_DONE ? LINE_LAST : result;
    }
    if (head->field_count >= limits->fields)
        return -HTTP_TOO_MANY_FIELDS;
    struct http_field *field = &head->fields[head->field_count];
    int result = take_field(head, cursor, field);
    if (result == LINE_DONE)
        request_message_note(progress, field->name, (uint32_t)++head->field_count);
    return result;
}

/* ----------------------------------------------------------------------------------- the whole */

/* Set the cursor to the line in hand, up to what is here or what a line may be, its end included.
 * Returns what to say if the line does not end there; HTTP_ACCEPTED: wait for more. */
static inline enum http_refusal bound_line(struct cursor *cursor,
                                           const struct request_head_progress *progress,
                                           struct slice bytes,
                                           const struct http_head_limits *limits)
{
    enum http_refusal refusal = HTTP_ACCEPTED;
    size_t end = bytes.len;
    size_t line_limit = progress->in_fields ? limits->field_size : limits->request_line;
    if (end >= limits->head) {
        end = limits->head > progress->line ? limits->head : progress->line;
        refusal = progress->in_fields ? HTTP_HEAD_TOO_LARGE : HTTP_URI_TOO_LONG;
    }
    if (end - progress->line >= 2 && end - progress->line - 2 >= line_limit) {
        end = progress->line + line_limit + 2;
        refusal = progress->in_fields ? HTTP_FIELD_TOO_LARGE : HTTP_URI_TOO_LONG;
    }
    cursor->at = bytes.data + progress->line;
    cursor->end = bytes.data + end;
    return refusal;
}

/* Goes on with the line in hand. */
static int take_line(struct request_head *head, struct request_head_progress *progress,
                     struct cursor *cursor, const struct http_head_limits *limits)
{
    if (progress->in_fields)
        return take_field_line(head, progress, cursor, limits);
    int result = take_request_line(head, cursor);
    progress->in_fields = result == LINE_DONE;
    return result;
}

/* Does what the fields mean depend on them alone? */
static bool may_recall(const struct request_head *head)
{
    return head->memo && head->minor == 1 && head->form != HTTP_ABSOLUTE_FORM;
}

/* The request line is behind: are the fields known? */
static bool recall_fields(struct request_head *head, struct request_head_progress *progress,
                          struct slice bytes, const struct http_head_limits *limits)
{
    if (!may_recall(head) || bytes.len > limits->head)
        return false;
    size_t line = progress->line;
    size_t len = field_memo_find(head->memo, slice_of(bytes.data + line, bytes.len - line), head);
    progress->line += len;
    return len > 0;
}

/* The head is whole: what it says is read, and kept for the next one with these fields. */
static int read_message(struct request_head *head, const struct request_head_progress *progress,
                        const char *end)
{
    if (head->block != 0)
        return 0; /* recalled */
    int result = request_message_read(head, progress);
    if (result == 0 && may_recall(head)) {
        const char *start = head->fields[0].name.data;
        field_memo_keep(head->memo, slice_of(start, (size_t)(end - start)), head);
    }
    return result;
}

static ssize_t take_lines(struct request_head *head, struct request_head_progress *progress,
                          struct slice bytes, const struct http_head_limits *limits)
{
    for (;;) {
        struct cursor cursor;
        enum http_refusal too_long = bound_line(&cursor, progress, bytes, limits);
        int result = take_line(head, progress, &cursor, limits);
        if (result < 0)
            return result;
        if (result == LINE_UNFINISHED) {
            progress->scanned = bytes.len;
            /* RFC 9112 3: too long a method is one that is not known. */
            if (too_long == HTTP_URI_TOO_LONG &&
                !memchr(bytes.data + progress->line, ' ',
                        (size_t)(cursor.end - bytes.data) - progress->line))
                return -HTTP_METHOD_NOT_IMPLEMENTED;
            return -(ssize_t)too_long;
        }
        progress->line = (size_t)(cursor.at - bytes.data);
        if (result == LINE_LAST)
            return (ssize_t)progress->line;
        if (head->field_count == 0 && recall_fields(head, progress, bytes, limits))
            return (ssize_t)progress->line;
    }
}

/* Is the end of the line in hand still out of sight, and may it yet come? */
static bool must_wait(struct request_head_progress *progress, struct slice bytes,
                      const struct http_head_limits *limits)
{
    struct cursor cursor;
    size_t scanned = progress->scanned;
    if (scanned == 0 || bound_line(&cursor, progress, bytes, limits) != HTTP_ACCEPTED)
        return false;
    assert(scanned <= bytes.len);
    progress->scanned = bytes.len;
    return !memchr(bytes.data + scanned, '\n', bytes.len - scanned);
}

ssize_t request_head_parse(struct request_head *head, struct request_head_progress *progress,
                           struct slice bytes, const struct http_head_limits *limits)
{
    if (bytes.len == 0)
        return 0;
    if (progress->in_fields && progress->base != bytes.data)
        request_head_move(head, progress->base, bytes.data);
    progress->base = bytes.data;
    if (must_wait(progress, bytes, limits))
        return 0;
    if (!progress->in_fields && progress->line < REQUEST_HEAD_BLANK_MAX) {
        struct cursor cursor = {bytes.data, bytes.data + bytes.len};
        int result = skip_empty_lines(&cursor);
        if (result != LINE_DONE)
            return result;
        progress->line = (size_t)(cursor.at - bytes.data);
    }
    ssize_t result = take_lines(head, progress, bytes, limits);
    if (result > 0) {
        int message = read_message(head, progress, bytes.data + result);
        *progress = (struct request_head_progress){0};
        return message < 0 ? message : result;
    }
    return result;
}

static void slice_move(struct slice *slice, const char *from, const char *to)
{
    /* As numbers: the bytes at `from` may be gone, and C forbids to subtract such pointers. */
    if (slice->data)
        slice->data = to + ((uintptr_t)slice->data - (uintptr_t)from);
}

void request_head_move(struct request_head *head, const char *from, const char *to)
{
    slice_move(&head->method_text, from, to);
    slice_move(&head->target, from, to);
    slice_move(&head->path, from, to);
    slice_move(&head->query, from, to);
    slice_move(&head->host, from, to);
    for (size_t i = 0; i < head->field_count; i++) {
        slice_move(&head->fields[i].name, from, to);
        slice_move(&head->fields[i].value, from, to);
    }
}

struct slice request_head_field(const struct request_head *head, struct slice name)
{
    for (size_t i = 0; i < head->field_count; i++) {
        if (slice_equal_ignoring_case(head->fields[i].name, name))
            return head->fields[i].value;
    }
    return (struct slice){0};
}
