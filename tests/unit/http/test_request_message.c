/* What the fields say of the message, where they are right; test_request_head.c has the refusals.
 */
#include "feed.h"

#include "http/request_message.h"

static void test_the_framing(void **state)
{
    static const struct {
        const char *text;
        enum http_framing framing;
        uint64_t content_length;
        bool has_content_length;
        bool expect_continue;
    } framings[] = {
        {FIELDS(""), HTTP_NO_BODY, 0, false, false},
        {FIELDS("Expect: 100-continue\r\n"), HTTP_NO_BODY, 0, false, false},
        {POST("Content-Length: 0\r\nExpect: 100-continue\r\n"), HTTP_NO_BODY, 0, true, false},
        {POST("Content-Length: 00012\r\n"), HTTP_LENGTH, 12, true, false},
        {POST("Content-Length: 9223372036854775807\r\n"), HTTP_LENGTH, INT64_MAX, true, false},
        {POST("Expect: 100-continue\r\nContent-Length: 5\r\n"), HTTP_LENGTH, 5, true, true},
        {POST("Transfer-Encoding: Chunked\r\n"), HTTP_CHUNKED, 0, false, false},
        {POST("Transfer-Encoding: chunked\r\nExpect: 100-CONTINUE\r\n"), HTTP_CHUNKED, 0, false,
         true},
        {POST_1_0("Expect: 100-continue\r\nContent-Length: 5\r\n"), HTTP_LENGTH, 5, true, false},
    };
    for (size_t i = 0; i < COUNT_OF(framings); i++) {
        struct feed feed;
        struct slice text = slice_of_text(framings[i].text);
        assert_int_equal(feed_whole(&feed, text), text.len);
        assert_int_equal(feed.head.framing, framings[i].framing);
        assert_int_equal(feed.head.content_length, framings[i].content_length);
        assert_int_equal(feed.head.has_content_length, framings[i].has_content_length);
        assert_int_equal(feed.head.expect_continue, framings[i].expect_continue);
        feed_release(&feed);
    }
}

static void test_persistence(void **state)
{
    static const struct {
        bool keep_alive;
        int minor;
        const char *text;
    } heads[] = {
        {true, 1, FIELDS("")},
        {true, 1, FIELDS("Connection: keep-alive\r\n")},
        {true, 1, FIELDS("Connection: closed, not-close\r\n")},
        {true, 1, FIELDS("Connection: \"close\"\r\n")},
        {true, 1, FIELDS("X-Connection: close\r\nConnectiom: close\r\n")},
        {true, 1, FIELDS("Proxy-Connection: close\r\n")},
        {true, 1, "GET / HTTP/1.7\r\n" HOST "\r\n"},
        {false, 1, FIELDS("Connection: close\r\n")},
        {false, 1, FIELDS("connection:\tCLOSE \r\n")},
        {false, 1, FIELDS("Connection: foo,close,bar\r\n")},
        {false, 1, FIELDS("Connection: keep-alive, ,, close\r\n")},
        {false, 1,
         FIELDS("Connection: keep-alive\r\nA: b\r\nuser-agent: c\r\nConnection: close\r\n")},
        {false, 1, FIELDS("Connection: close\r\nConnection: keep-alive\r\n")},
        {false, 0, POST_1_0("")},
        {false, 0, POST_1_0("Proxy-Connection: keep-alive\r\n")},
        {false, 0, POST_1_0("Connection: keep-alive, close\r\n")},
        {true, 0, POST_1_0("Connection: Keep-Alive\r\n")},
        {true, 0, POST_1_0("Connection: foo\r\nConnection: keep-alive\r\n")},
    };
    for (size_t i = 0; i < COUNT_OF(heads); i++) {
        struct feed feed;
        struct slice text = slice_of_text(heads[i].text);
        assert_int_equal(feed_whole(&feed, text), text.len);
        assert_int_equal(feed.head.keep_alive, heads[i].keep_alive);
        assert_int_equal(feed.head.minor, heads[i].minor);
        feed_release(&feed);
    }
}

/* The parts on their own: fields are noted by their place, whatever stands between them. */
static void test_first_and_last_of_a_kind_are_noted(void **state)
{
    struct request_head_progress progress = {0};
    request_message_note(&progress, SLICE("Accept"), 1);
    request_message_note(&progress, SLICE("HOST"), 2);
    request_message_note(&progress, SLICE("connection"), 3);
    request_message_note(&progress, SLICE("Cookie"), 4);
    request_message_note(&progress, SLICE("Connection"), 5);
    request_message_note(&progress, SLICE("CONNECTION"), 6);
    assert_int_equal(progress.seen[REQUEST_FIELD_HOST].first, 2);
    assert_int_equal(progress.seen[REQUEST_FIELD_HOST].last, 2);
    assert_int_equal(progress.seen[REQUEST_FIELD_CONNECTION].first, 3);
    assert_int_equal(progress.seen[REQUEST_FIELD_CONNECTION].last, 6);
    assert_int_equal(progress.seen[REQUEST_FIELD_EXPECT].first, 0);
    assert_int_equal(progress.seen[REQUEST_FIELD_CONTENT_LENGTH].last, 0);
    assert_int_equal(progress.seen[REQUEST_FIELD_TRANSFER_ENCODING].last, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_framing),
        cmocka_unit_test(test_persistence),
        cmocka_unit_test(test_first_and_last_of_a_kind_are_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
