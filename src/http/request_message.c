#include "http/request_message.h"

#include <string.h>

#include "http/target.h"
#include "http/token.h"

/* What of the names below a name could be is told by its length and first letter. */
static enum request_field field_of(struct slice name)
{
    static const struct slice names[] = {
        [REQUEST_FIELD_HOST] = {"host", 4},
        [REQUEST_FIELD_CONTENT_LENGTH] = {"content-length", 14},
        [REQUEST_FIELD_TRANSFER_ENCODING] = {"transfer-encoding", 17},
        [REQUEST_FIELD_CONNECTION] = {"connection", 10},
        [REQUEST_FIELD_EXPECT] = {"expect", 6},
    };
    enum request_field field;
    switch (name.len) {
    case 4:
        field = REQUEST_FIELD_HOST;
        break;
    case 6:
        field = REQUEST_FIELD_EXPECT;
        break;
    case 10:
        field = REQUEST_FIELD_CONNECTION;
        break;
    case 14:
        field = REQUEST_FIELD_CONTENT_LENGTH;
        break;
    case 17:
        field = REQUEST_FIELD_TRANSFER_ENCODING;
        break;
    default:
        return REQUEST_FIELD_OTHER;
    }
    bool same = (name.data[0] | 0x20) == names[field].data[0] &&
                slice_equal_ignoring_case(name, names[field]);
    return same ? field : REQUEST_FIELD_OTHER;
}

void request_message_note(struct request_head_progress *progress, struct slice name, uint32_t place)
{
    enum request_field field = field_of(name);
    if (field == REQUEST_FIELD_OTHER)
        return;
    progress->seen[field].last = place;
    if (progress->seen[field].first == 0)
        progress->seen[field].first = place;
}

/* Steps through the fields of a kind: the next one's value into `*value`. `*place` begins as 0. */
static bool next_value(const struct request_head *head,
                       const struct request_head_progress *progress, enum request_field field,
                       size_t *place, struct slice *value)
{
    size_t next = *place == 0 ? progress->seen[field].first : *place + 1;
    size_t last = progress->seen[field].last;
    while (next < last && field_of(head->fields[next - 1].name) != field)
        next++;
    if (next > last || last == 0)
        return false;
    *place = next;
    *value = head->fields[next - 1].value;
    return true;
}

static bool seen(const struct request_head_progress *progress, enum request_field field)
{
    return progress->seen[field].first != 0;
}

static bool repeated(const struct request_head_progress *progress, enum request_field field)
{
    return progress->seen[field].first != progress->seen[field].last;
}

/* RFC 9112 3.2. Empty is right for a target without authority. */
static int check_host(struct request_head *head, const struct request_head_progress *progress)
{
    if (!seen(progress, REQUEST_FIELD_HOST))
        return head->minor == 0 ? 0 : -HTTP_NO_HOST;
    if (repeated(progress, REQUEST_FIELD_HOST))
        return -HTTP_SEVERAL_HOSTS;
    struct slice host = head->fields[progress->seen[REQUEST_FIELD_HOST].first - 1].value;
    if (host.len > 0 && !authority_is_valid(host))
        return -HTTP_BAD_HOST;
    if (head->form != HTTP_ABSOLUTE_FORM)
        head->host = host;
    return 0;
}

/* RFC 9110 8.6: digits and nothing else. A list of equal numbers could be taken for one; nobody
 * means well who sends it. */
static int read_content_length(struct request_head *head,
                               const struct request_head_progress *progress)
{
    if (repeated(progress, REQUEST_FIELD_CONTENT_LENGTH))
        return -HTTP_SEVERAL_CONTENT_LENGTHS;
    struct slice text = head->fields[progress->seen[REQUEST_FIELD_CONTENT_LENGTH].first - 1].value;
    if (!http_decimal_read(text, &head->content_length))
        return -HTTP_BAD_CONTENT_LENGTH;
    head->has_content_length = true;
    head->framing = head->content_length > 0 ? HTTP_LENGTH : HTTP_NO_BODY;
    return 0;
}

/* The codings of a Transfer-Encoding that is not simply "chunked": which refusal tells the client
 * most? RFC 9112 6.1, 6.3, 7. */
static enum http_refusal refusal_of_codings(const struct request_head *head,
                                            const struct request_head_progress *progress)
{
    size_t place = 0;
    size_t chunked = 0;
    size_t others = 0;
    bool chunked_last = false;
    struct slice value;
    struct slice coding;
    while (next_value(head, progress, REQUEST_FIELD_TRANSFER_ENCODING, &place, &value)) {
        while (http_list_next(&value, &coding)) {
            const char *semicolon = memchr(coding.data, ';', coding.len);
            size_t len = semicolon ? (size_t)(semicolon - coding.data) : coding.len;
            struct slice name = http_trim(slice_of(coding.data, len));
            chunked_last = slice_equal_ignoring_case(name, SLICE("chunked"));
            if (!http_is_token(name) || (chunked_last && semicolon))
                return HTTP_BAD_TRANSFER_ENCODING;
            chunked += chunked_last;
            others += !chunked_last;
        }
    }
    if (others > 0 && !chunked_last)
        return HTTP_CHUNKED_NOT_FINAL;
    return others > 0 && chunked == 1 ? HTTP_UNKNOWN_TRANSFER_ENCODING : HTTP_BAD_TRANSFER_ENCODING;
}

static int read_transfer_encoding(struct request_head *head,
                                  const struct request_head_progress *progress)
{
    if (head->minor == 0)
        return -HTTP_CHUNKED_IN_1_0;
    if (seen(progress, REQUEST_FIELD_CONTENT_LENGTH))
        return -HTTP_LENGTH_AND_CHUNKED;
    size_t first = progress->seen[REQUEST_FIELD_TRANSFER_ENCODING].first;
    if (repeated(progress, REQUEST_FIELD_TRANSFER_ENCODING) ||
        !slice_equal_ignoring_case(head->fields[first - 1].value, SLICE("chunked")))
        return -(int)refusal_of_codings(head, progress);
    head->framing = HTTP_CHUNKED;
    return 0;
}

static int read_framing(struct request_head *head, const struct request_head_progress *progress)
{
    head->framing = HTTP_NO_BODY;
    head->content_length = 0;
    head->has_content_length = false;
    if (seen(progress, REQUEST_FIELD_TRANSFER_ENCODING))
        return read_transfer_encoding(head, progress);
    if (seen(progress, REQUEST_FIELD_CONTENT_LENGTH))
        return read_content_length(head, progress);
    return 0;
}

/* RFC 9112 9.3. */
static void read_connection(struct request_head *head, const struct request_head_progress *progress)
{
    bool close = false;
    bool keep_alive = head->minor > 0;
    size_t place = 0;
    struct slice value;
    struct slice option;
    while (next_value(head, progress, REQUEST_FIELD_CONNECTION, &place, &value)) {
        while (http_list_next(&value, &option)) {
            close |= slice_equal_ignoring_case(option, SLICE("close"));
            keep_alive |= slice_equal_ignoring_case(option, SLICE("keep-alive"));
        }
    }
    head->keep_alive = keep_alive && !close;
}

/* RFC 9110 10.1.1: of an HTTP/1.0 client it is not for us; without a body there is nothing to wait
 * for. */
static int read_expect(struct request_head *head, const struct request_head_progress *progress)
{
    head->expect_continue = false;
    if (head->minor == 0)
        return 0;
    size_t place = 0;
    struct slice value;
    struct slice expectation;
    while (next_value(head, progress, REQUEST_FIELD_EXPECT, &place, &value)) {
        while (http_list_next(&value, &expectation)) {
            if (!slice_equal_ignoring_case(expectation, SLICE("100-continue")))
                return -HTTP_EXPECTATION_FAILED;
            head->expect_continue = head->framing != HTTP_NO_BODY;
        }
    }
    return 0;
}

int request_message_read(struct request_head *head, const struct request_head_progress *progress)
{
    int result = check_host(head, progress);
    if (result == 0)
        result = read_framing(head, progress);
    if (result == 0)
        result = read_expect(head, progress);
    read_connection(head, progress);
    return result;
}
