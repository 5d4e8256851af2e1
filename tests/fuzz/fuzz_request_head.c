/* The head of a request: at once or in pieces that move, the verdict is the same; what is kept lies
 * in the bytes and is what it claims to be; what was read, written again, is read the same way; so
 * it is with what the parser remembers, of this head and of all before it. */
#include "pieces.h"

#include "http/field_memo.h"
#include "http/request_head.h"
#include "http/target.h"
#include "http/token.h"

enum { FIELDS = 16 };

/* The seed's highest bit: limits that are soon reached. */
static const struct http_head_limits limits[] = {{8190, FIELDS, 8190, 65536}, {40, 4, 30, 120}};

struct parser {
    struct http_field fields[FIELDS];
    struct request_head head;
    struct request_head_progress progress;
};

static void parser_init(struct parser *parser)
{
    memset(parser, 0, sizeof(*parser));
    parser->head.fields = parser->fields;
}

static void check_inside(struct slice slice, struct slice bytes)
{
    CHECK(slice.len == 0 ||
          (slice.data >= bytes.data && slice.data + slice.len <= bytes.data + bytes.len));
}

static void check_field(const struct http_field *field, struct slice bytes)
{
    check_inside(field->name, bytes);
    check_inside(field->value, bytes);
    CHECK(http_is_token(field->name));
    CHECK(http_is_field_value(field->value));
    CHECK(http_trim(field->value).len == field->value.len);
}

static void check_head(const struct request_head *head, struct slice bytes)
{
    check_inside(head->method_text, bytes);
    check_inside(head->target, bytes);
    check_inside(head->path, bytes);
    check_inside(head->query, bytes);
    check_inside(head->host, bytes);
    CHECK(http_is_token(head->method_text));
    if (head->path.len > 0)
        CHECK(head->path.data[0] == '/' || head->form == HTTP_ASTERISK_FORM);
    else /* the server as a whole: RFC 9112 3.2.4 */
        CHECK(head->form == HTTP_ABSOLUTE_FORM && head->method == HTTP_METHOD_OPTIONS &&
              head->query.len == 0);
    CHECK(head->host.len == 0 || authority_is_valid(head->host));
    CHECK(head->minor == 0 || head->minor == 1);
    CHECK(head->content_length <= INT64_MAX);
    CHECK((head->framing == HTTP_LENGTH) == (head->content_length > 0));
    CHECK(head->framing != HTTP_CHUNKED || (!head->has_content_length && head->minor == 1));
    CHECK(!head->expect_continue || head->framing != HTTP_NO_BODY);
    CHECK(head->field_count <= FIELDS);
    for (size_t i = 0; i < head->field_count; i++)
        check_field(&head->fields[i], bytes);
}

static void check_same(struct slice a, struct slice b)
{
    CHECK(slice_equal(a, b));
}

static void check_same_head(const struct request_head *a, const struct request_head *b)
{
    check_same(a->method_text, b->method_text);
    check_same(a->target, b->target);
    check_same(a->path, b->path);
    check_same(a->query, b->query);
    check_same(a->host, b->host);
    CHECK(a->method == b->method && a->form == b->form && a->minor == b->minor);
    CHECK(a->framing == b->framing && a->content_length == b->content_length);
    CHECK(a->has_content_length == b->has_content_length);
    CHECK(a->keep_alive == b->keep_alive && a->expect_continue == b->expect_continue);
    CHECK(a->field_count == b->field_count);
    for (size_t i = 0; i < a->field_count; i++) {
        check_same(a->fields[i].name, b->fields[i].name);
        check_same(a->fields[i].value, b->fields[i].value);
    }
}

static size_t append(char *out, size_t len, struct slice text)
{
    if (text.len > 0)
        memcpy(out + len, text.data, text.len);
    return len + text.len;
}

/* Written as plainly as can be, a head must say the same. */
static void check_written_again(const struct request_head *head, size_t size,
                                const struct http_head_limits *limit)
{
    char *out = malloc(size + FIELDS);
    CHECK(out);
    size_t len = append(out, 0, head->method_text);
    len = append(out, len, SLICE(" "));
    len = append(out, len, head->target);
    len = append(out, len, head->minor == 1 ? SLICE(" HTTP/1.1\r\n") : SLICE(" HTTP/1.0\r\n"));
    for (size_t i = 0; i < head->field_count; i++) {
        len = append(out, len, head->fields[i].name);
        len = append(out, len, SLICE(":"));
        len = append(out, len, head->fields[i].value);
        len = append(out, len, SLICE("\r\n"));
    }
    len = append(out, len, SLICE("\r\n"));
    CHECK(len <= size);
    struct parser again;
    parser_init(&again);
    CHECK(request_head_parse(&again.head, &again.progress, slice_of(out, len), limit) ==
          (ssize_t)len);
    check_same_head(head, &again.head);
    free(out);
}

/* In pieces, each time at another place. Returns what parsing came to. */
static ssize_t parse_in_pieces(struct parser *parser, struct slice bytes, uint32_t seed,
                               const struct http_head_limits *limit, char **copy)
{
    size_t len = 0;
    for (;;) {
        free(*copy);
        *copy = copy_of(bytes.data, len);
        ssize_t result =
            request_head_parse(&parser->head, &parser->progress, slice_of(*copy, len), limit);
        CHECK(result <= (ssize_t)len);
        if (result != 0 || len == bytes.len)
            return result;
        size_t piece = next_piece(&seed);
        len += piece < bytes.len - len ? piece : bytes.len - len;
    }
}

/* Three times: noted, remembered, recalled. */
static void check_with_memory(const struct request_head *head, struct slice bytes, ssize_t expected,
                              const struct http_head_limits *limit)
{
    static struct field_memo memos[2];
    for (int i = 0; i < 3; i++) {
        struct parser parser;
        parser_init(&parser);
        parser.head.memo = &memos[limit - limits];
        char *copy = copy_of(bytes.data, bytes.len);
        ssize_t result =
            request_head_parse(&parser.head, &parser.progress, slice_of(copy, bytes.len), limit);
        CHECK(result == expected);
        if (result > 0) {
            check_head(&parser.head, slice_of(copy, bytes.len));
            check_same_head(head, &parser.head);
        }
        free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct http_head_limits *limit = &limits[data[0] >> 7];
    char *whole = copy_of((const char *)data + 1, size - 1);
    struct slice bytes = slice_of(whole, size - 1);
    struct parser once;
    parser_init(&once);
    ssize_t expected = request_head_parse(&once.head, &once.progress, bytes, limit);
    CHECK(expected <= (ssize_t)bytes.len);
    if (expected > 0) {
        check_head(&once.head, bytes);
        check_written_again(&once.head, (size_t)expected, limit);
    }
    check_with_memory(&once.head, bytes, expected, limit);
    struct parser pieces;
    char *copy = NULL;
    parser_init(&pieces);
    ssize_t result = parse_in_pieces(&pieces, bytes, data[0], limit, &copy);
    /* What is wrong with a line that has no end yet may be seen later. */
    bool ended = bytes.len > 0 && bytes.data[bytes.len - 1] == '\n';
    CHECK(result == expected || (result == 0 && expected < 0 && !ended));
    if (result > 0)
        check_same_head(&once.head, &pieces.head);
    free(copy);
    free(whole);
    return 0;
}
