/* Each refusal: its row, and that something returns it. */
#include "feed.h"

#include "http/refusal.h"

#define HEAD     "GET / HTTP/1.1\r\nHost: a\r\n"
#define BODY     "POST / HTTP/1.1\r\nHost: a\r\n"
#define TEN      "aaaaaaaaaa"
#define HUNDRED  TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define THOUSAND HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
#define THREE    "a:b\r\na:b\r\na:b\r\n"
#define LINES_24 THREE THREE THREE THREE THREE THREE THREE THREE

/* A request that is refused so, or, of a body, the body alone. A row without example is returned by
 * server/, whose tests have them. */
static const struct {
    const char *head;
    const char *body;
    bool by_server;
} examples[HTTP_REFUSAL_COUNT] = {
    [HTTP_BAD_REQUEST_LINE] = {.head = "GET /\r\n"},
    [HTTP_BAD_METHOD] = {.head = "G@T / HTTP/1.1\r\n"},
    [HTTP_BAD_TARGET] = {.head = "GET /# HTTP/1.1\r\n"},
    [HTTP_MISDIRECTED] = {.head = "GET https://a/ HTTP/1.1\r\n"},
    [HTTP_BAD_VERSION] = {.head = "GET / HTTQ/1.1\r\n"},
    [HTTP_VERSION_NOT_SUPPORTED] = {.head = "PRI * HTTP/2.0\r\n"},
    [HTTP_URI_TOO_LONG] = {.head = "GET /" THOUSAND},
    [HTTP_BARE_CR] = {.head = HEAD "A: b\rc\r\n"},
    [HTTP_BARE_LF] = {.head = HEAD "A: b\n"},
    [HTTP_BAD_FIELD_NAME] = {.head = HEAD "A/B: c\r\n"},
    [HTTP_SPACE_BEFORE_COLON] = {.head = HEAD "A : c\r\n"},
    [HTTP_BAD_FIELD_VALUE] = {.head = HEAD "A: \x01\r\n"},
    [HTTP_OBSOLETE_FOLD] = {.head = HEAD " b\r\n"},
    [HTTP_FIELD_TOO_LARGE] = {.head = HEAD "A: " THOUSAND},
    [HTTP_TOO_MANY_FIELDS] = {.head = HEAD LINES_24},
    [HTTP_HEAD_TOO_LARGE] = {.head = NULL}, /* in the test itself */
    [HTTP_NO_HOST] = {.head = "GET / HTTP/1.1\r\n\r\n"},
    [HTTP_SEVERAL_HOSTS] = {.head = HEAD "Host: a\r\n\r\n"},
    [HTTP_BAD_HOST] = {.head = "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    [HTTP_BAD_CONTENT_LENGTH] = {.head = BODY "Content-Length: +5\r\n\r\n"},
    [HTTP_SEVERAL_CONTENT_LENGTHS] = {.head =
                                          BODY "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"},
    [HTTP_LENGTH_AND_CHUNKED] = {.head = BODY
                                 "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
    [HTTP_BAD_TRANSFER_ENCODING] = {.head = BODY "Transfer-Encoding: [chunked]\r\n\r\n"},
    [HTTP_UNKNOWN_TRANSFER_ENCODING] = {.head = BODY "Transfer-Encoding: gzip, chunked\r\n\r\n"},
    [HTTP_CHUNKED_NOT_FINAL] = {.head = BODY "Transfer-Encoding: chunked, gzip\r\n\r\n"},
    [HTTP_CHUNKED_IN_1_0] = {.head = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
    [HTTP_BAD_CHUNK_SIZE] = {.body = "0x5\r\n"},
    [HTTP_CHUNK_TOO_LARGE] = {.body = "8000000000000000\r\n"},
    [HTTP_BAD_CHUNK_EXTENSION] = {.body = "5;\r\n"},
    [HTTP_CHUNK_EXTENSIONS_TOO_LARGE] = {.body = "5;" HUNDRED HUNDRED HUNDRED},
    [HTTP_BAD_CHUNK_END] = {.body = "5\r\nhelloXX"},
    [HTTP_BAD_TRAILER] = {.body = "0\r\nA b\r\n\r\n"},
    [HTTP_TRAILERS_TOO_LARGE] = {.body = "0\r\nA:" THOUSAND},
    [HTTP_BODY_TOO_LARGE] = {.by_server = true},
    [HTTP_EXPECTATION_FAILED] = {.head = BODY "Expect: cake\r\n\r\n"},
    [HTTP_METHOD_NOT_IMPLEMENTED] = {.head = "CONNECT a:443 HTTP/1.1\r\n"},
    [HTTP_INCOMPLETE_REQUEST] = {.by_server = true},
    [HTTP_AMBIGUOUS_FIELD_NAME] = {.by_server = true},
    [HTTP_REQUEST_TIMEOUT] = {.by_server = true},
    [HTTP_CANNOT_STORE_BODY] = {.by_server = true},
    [HTTP_OVERLOADED] = {.by_server = true},
    [HTTP_INTERNAL_ERROR] = {.by_server = true},
};

static void test_each_row_is_complete(void **state)
{
    for (int refusal = 1; refusal < HTTP_REFUSAL_COUNT; refusal++) {
        const struct http_refusal_row *row = http_refusal_row((enum http_refusal)refusal);
        assert_true(row->status >= 400 && row->status <= 505);
        assert_true(strlen(row->text) > 0 && strlen(row->text) < 60);
        assert_int_equal(strncmp(row->source, "RFC ", 4), 0);
        assert_null(strpbrk(row->text, "\r\n"));
        for (int other = 1; other < refusal; other++)
            assert_string_not_equal(row->text, http_refusal_row((enum http_refusal)other)->text);
    }
}

static void test_each_row_is_returned(void **state)
{
    for (int refusal = 1; refusal < HTTP_REFUSAL_COUNT; refusal++) {
        const char *head = examples[refusal].head;
        const char *body = examples[refusal].body;
        if (head) {
            struct feed feed;
            assert_string_equal(feed_result_text(feed_whole(&feed, slice_of_text(head))),
                                feed_result_text(-refusal));
            feed_release(&feed);
        } else if (body) {
            struct slice text = slice_of_text(body);
            struct body decoded = feed_body(text, text.len, text.len, &feed_chunked_limits);
            assert_string_equal(feed_result_text(decoded.result), feed_result_text(-refusal));
        } else {
            assert_true(examples[refusal].by_server || refusal == HTTP_HEAD_TOO_LARGE);
        }
    }
}

static void test_a_head_that_is_too_large(void **state)
{
    struct feed feed;
    struct http_head_limits limits = feed_limits;
    struct slice text = SLICE(HEAD "A: b\r\nC: d\r\n\r\n");
    limits.head = text.len - 1;
    feed_init(&feed);
    assert_int_equal(feed_give(&feed, text, text.len, &limits), -HTTP_HEAD_TOO_LARGE);
    feed_release(&feed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_row_is_complete),
        cmocka_unit_test(test_each_row_is_returned),
        cmocka_unit_test(test_a_head_that_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
