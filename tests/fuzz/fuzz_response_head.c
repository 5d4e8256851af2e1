/* Fields of an application: those that pass, written out, are read back as the same fields and no
 * more, by the strict parser of requests (their field lines have one grammar). The input: names and
 * values in turn, each ended by a byte 0xff; the first byte is the status, by hundreds. */
#include "pieces.h"

#include "http/request_head.h"
#include "http/response_head.h"
#include "http/token.h"

enum { FIELDS = 32, ROOM = 1 << 16 };

struct sent {
    struct http_field fields[FIELDS];
    size_t count;
    struct response_fields notes;
};

static struct slice next_text(struct slice *input)
{
    const char *end = input->len > 0 ? memchr(input->data, 0xff, input->len) : NULL;
    size_t len = end ? (size_t)(end - input->data) : input->len;
    size_t taken = end ? len + 1 : len;
    struct slice text = slice_of(input->data, len);
    *input = slice_of(input->data + taken, input->len - taken);
    return text;
}

/* Is it a field that would frame or end a message, and never an application's? */
static bool frames(struct slice name)
{
    return slice_equal_ignoring_case(name, SLICE("transfer-encoding")) ||
           slice_equal_ignoring_case(name, SLICE("connection"));
}

static void check_fields(struct sent *sent, struct slice input)
{
    size_t lengths = 0;
    while (input.len > 0 && sent->count < FIELDS) {
        struct slice name = next_text(&input);
        struct slice value = next_text(&input);
        enum response_field_problem problem = response_field_check(&sent->notes, name, value);
        CHECK(strlen(response_field_problem_text(problem)) > 0);
        if (problem != RESPONSE_FIELD_OK)
            continue;
        CHECK(!frames(name));
        lengths += slice_equal_ignoring_case(name, SLICE("content-length"));
        sent->fields[sent->count++] = (struct http_field){name, value};
    }
    CHECK(lengths == sent->notes.has_content_length);
    CHECK(sent->notes.content_length <= INT64_MAX);
}

static size_t write_fields(char *out, const struct sent *sent)
{
    size_t len = 0;
    for (size_t i = 0; i < sent->count; i++) {
        const struct http_field *field = &sent->fields[i];
        size_t wrote = field_line_write(out + len, field->name, field->value);
        CHECK(wrote == field->name.len + field->value.len + 4);
        len += wrote;
    }
    return len;
}

/* `out` holds a request line of 16 bytes and then the fields. */
static void check_read_back(const struct sent *sent, struct slice out)
{
    static const struct http_head_limits limits = {100, FIELDS, ROOM, 2 * ROOM};
    struct http_field fields[FIELDS];
    struct request_head head = {.fields = fields};
    struct request_head_progress progress = {0};
    ssize_t result = request_head_parse(&head, &progress, out, &limits);
    if (result < 0) /* right fields, but of a response: Host, Expect */
        CHECK(result == -HTTP_BAD_HOST || result == -HTTP_SEVERAL_HOSTS ||
              result == -HTTP_EXPECTATION_FAILED);
    else
        CHECK(result == (ssize_t)out.len);
    CHECK(head.field_count == sent->count);
    for (size_t i = 0; i < sent->count; i++) {
        CHECK(slice_equal(fields[i].name, sent->fields[i].name));
        CHECK(slice_equal(fields[i].value, http_trim(sent->fields[i].value)));
    }
}

static void check_status_line(int status, struct slice reason)
{
    char line[HTTP_STATUS_LINE_SIZE + 64];
    char expected[HTTP_STATUS_LINE_SIZE + 65];
    reason.len = reason.len < 64 ? reason.len : 64;
    if (!http_is_field_value(reason) || memchr(reason.data, 0, reason.len))
        return;
    size_t len = status_line_write(line, status, reason);
    snprintf(expected, sizeof(expected), "HTTP/1.1 %03d %.*s\r\n", status, (int)reason.len,
             reason.data);
    CHECK(slice_equal(slice_of(line, len), slice_of_text(expected)));
    CHECK(strlen(http_status_reason(status)) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char request_line[] = "GET / HTTP/1.0\r\n";
    if (size == 0 || size > ROOM / 2)
        return 0;
    struct sent sent = {.count = 0};
    char *copy = copy_of((const char *)data + 1, size - 1);
    struct slice input = slice_of(copy, size - 1);
    check_status_line(data[0] * 1000 / 256, input);
    check_fields(&sent, input);
    char *out = malloc(sizeof(request_line) + size + FIELDS * 4 + 2);
    CHECK(out);
    memcpy(out, request_line, sizeof(request_line) - 1);
    size_t len = sizeof(request_line) - 1;
    len += write_fields(out + len, &sent);
    memcpy(out + len, "\r\n", 2);
    check_read_back(&sent, slice_of(out, len + 2));
    free(out);
    free(copy);
    return 0;
}
