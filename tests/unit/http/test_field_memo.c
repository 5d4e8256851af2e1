#include "feed.h"

#include "http/field_memo.h"

#define BROWSER HOST "Accept: */*\r\nUser-Agent: A browser/1.0\r\nCookie: a=b; c=d\r\n\r\n"

/* Parse `text` in new memory with the memo; returns its length. The caller releases `feed`. */
static ssize_t parse(struct feed *feed, struct field_memo *memo, struct slice text)
{
    feed_init(feed);
    feed->head.memo = memo;
    return feed_give(feed, text, text.len, &feed_limits);
}

/* The number of the block in `text` once it is remembered, 0 if that never happens. */
static uint64_t block_of(struct field_memo *memo, const char *text)
{
    uint64_t block = 0;
    for (int i = 0; i < 3; i++) {
        struct feed feed;
        parse(&feed, memo, slice_of_text(text));
        block = feed.head.block;
        feed_release(&feed);
    }
    return block;
}

static void assert_slice(struct slice slice, const char *text)
{
    assert_int_equal(slice.len, strlen(text));
    assert_memory_equal(slice.data, text, slice.len);
}

static void test_the_second_time_it_is_remembered(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\n" BROWSER;
    struct field_memo memo = {0};
    uint64_t blocks[4];
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct feed feed;
        assert_int_equal(parse(&feed, &memo, SLICE(text)), sizeof(text) - 1);
        blocks[i] = feed.head.block;
        assert_int_equal(feed.head.field_count, 4);
        assert_slice(feed.head.fields[3].name, "Cookie");
        assert_slice(feed.head.fields[3].value, "a=b; c=d");
        assert_slice(feed.head.host, "localhost");
        assert_true(feed.head.host.data > feed.bytes);
        assert_true(feed.head.host.data < feed.bytes + sizeof(text));
        feed_release(&feed);
    }
    assert_int_equal(blocks[0], 0);
    assert_int_not_equal(blocks[1], 0);
    assert_int_equal(blocks[2], blocks[1]);
    assert_int_equal(blocks[3], blocks[1]);
    field_memo_release(&memo);
}

/* What stands in the request line is its own. */
static void test_other_request_lines_with_the_same_fields(void **state)
{
    struct field_memo memo = {0};
    struct feed feed;
    (void)state;
    uint64_t block = block_of(&memo, "GET / HTTP/1.1\r\n" BROWSER);
    parse(&feed, &memo, SLICE("DELETE /x?y=z HTTP/1.1\r\n" BROWSER));
    assert_int_equal(feed.head.block, block);
    assert_int_equal(feed.head.method, HTTP_METHOD_DELETE);
    assert_slice(feed.head.path, "/x");
    assert_slice(feed.head.query, "y=z");
    assert_slice(feed.head.host, "localhost");
    feed_release(&feed);
    parse(&feed, &memo, SLICE("OPTIONS * HTTP/1.1\r\n" BROWSER));
    assert_int_equal(feed.head.block, block);
    assert_int_equal(feed.head.form, HTTP_ASTERISK_FORM);
    feed_release(&feed);
    field_memo_release(&memo);
}

/* The target's authority is the host (RFC 9112 3.2.2), HTTP/1.0 is not kept alive: there the same
 * fields say something else. */
static void test_where_the_same_fields_say_something_else(void **state)
{
    struct field_memo memo = {0};
    struct feed feed;
    (void)state;
    block_of(&memo, "GET / HTTP/1.1\r\n" BROWSER);
    parse(&feed, &memo, SLICE("GET http://other/ HTTP/1.1\r\n" BROWSER));
    assert_int_equal(feed.head.block, 0);
    assert_slice(feed.head.host, "other");
    feed_release(&feed);
    parse(&feed, &memo, SLICE("GET / HTTP/1.0\r\n" BROWSER));
    assert_int_equal(feed.head.block, 0);
    assert_false(feed.head.keep_alive);
    feed_release(&feed);
    field_memo_release(&memo);
}

static void test_what_is_not_remembered(void **state)
{
    static const char *const texts[] = {
        "GET / HTTP/1.0\r\n" BROWSER,
        "GET http://a/ HTTP/1.1\r\n" BROWSER,
        POST("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        "GET / HTTP/1.1\r\nA: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        FIELDS("Expect: cake\r\n"),
    };
    struct field_memo memo = {0};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        assert_int_equal(block_of(&memo, texts[i]), 0);
    field_memo_release(&memo);
}

/* With a body behind it a block is found by where the last one ended, or when it is parsed. */
static void test_requests_with_a_body(void **state)
{
    static const struct {
        const char *text;
        enum http_framing framing;
        bool expects;
    } rows[] = {
        {POST("Content-Length: 4\r\n") "body", HTTP_LENGTH, false},
        {POST("Transfer-Encoding: chunked\r\n") "0\r\n\r\n", HTTP_CHUNKED, false},
        {POST("Content-Length: 4\r\nExpect: 100-continue\r\n"), HTTP_LENGTH, true},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct field_memo memo = {0};
        uint64_t block = block_of(&memo, rows[i].text);
        assert_int_not_equal(block, 0);
        for (int recalled = 0; recalled < 2; recalled++) {
            struct feed feed;
            if (!recalled)
                memo.last = NULL;
            parse(&feed, &memo, slice_of_text(rows[i].text));
            assert_int_equal(feed.head.block, block);
            assert_int_equal(feed.head.framing, rows[i].framing);
            assert_int_equal(feed.head.has_content_length, rows[i].framing == HTTP_LENGTH);
            assert_int_equal(feed.head.content_length, rows[i].framing == HTTP_LENGTH ? 4 : 0);
            assert_int_equal(feed.head.expect_continue, rows[i].expects);
            feed_release(&feed);
        }
        field_memo_release(&memo);
    }
}

static void test_each_block_has_its_number(void **state)
{
    struct field_memo memo = {0};
    (void)state;
    uint64_t one = block_of(&memo, FIELDS("A: 1\r\n"));
    uint64_t two = block_of(&memo, FIELDS("A: 2\r\n"));
    assert_int_not_equal(one, two);
    assert_int_not_equal(one, 0);
    assert_int_equal(block_of(&memo, FIELDS("A: 1\r\n")), one);
    assert_true(field_memo_place(one) < FIELD_MEMO_ENTRIES);
    field_memo_release(&memo);
}

/* Another request behind it, as in a pipeline, or half of one. */
static void test_requests_in_a_row(void **state)
{
    static const char text[] = "GET /1 HTTP/1.1\r\n" BROWSER "GET /2 HTTP/1.1\r\n" BROWSER "GET /3";
    struct field_memo memo = {0};
    struct feed feed;
    (void)state;
    uint64_t block = block_of(&memo, text);
    assert_int_not_equal(block, 0);
    ssize_t first = parse(&feed, &memo, SLICE(text));
    assert_int_equal(feed.head.block, block);
    feed_release(&feed);
    ssize_t second = parse(&feed, &memo, slice_of(text + first, sizeof(text) - 1 - (size_t)first));
    assert_int_equal(feed.head.block, block);
    assert_slice(feed.head.path, "/2");
    feed_release(&feed);
    assert_memory_equal(text + first + second, "GET /3", 6);
    /* Found by its own bytes though another block came last. */
    block_of(&memo, FIELDS("A: 1\r\n"));
    parse(&feed, &memo, SLICE(text));
    assert_int_equal(feed.head.block, block);
    feed_release(&feed);
    field_memo_release(&memo);
}

/* A block that is only the beginning of what came is found by chance, where that has its place. */
static void test_blocks_with_another_request_behind_them(void **state)
{
    static const char first[] = "GET / HTTP/1.1\r\n" BROWSER;
    struct field_memo memo = {0};
    (void)state;
    uint64_t block = block_of(&memo, first);
    for (int i = 0; i < 10 * FIELD_MEMO_ENTRIES; i++) {
        char text[sizeof(first) + 200];
        struct feed feed;
        snprintf(text, sizeof(text), "%sGET /%0100d HTTP/1.1\r\n\r\n", first, i);
        memo.last = NULL;
        assert_int_equal(parse(&feed, &memo, slice_of_text(text)), sizeof(first) - 1);
        assert_int_equal(feed.head.block, block);
        assert_slice(feed.head.host, "localhost");
        feed_release(&feed);
    }
    field_memo_release(&memo);
}

/* Nothing is recalled that does not stand there. */
static void test_each_changed_byte_is_seen(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\n" BROWSER;
    struct field_memo memo = {0};
    (void)state;
    block_of(&memo, text);
    for (size_t i = sizeof("GET / HTTP/1.1\r\n") - 1; i < sizeof(text) - 1; i++) {
        char changed[sizeof(text)];
        struct feed with, without;
        memcpy(changed, text, sizeof(text));
        changed[i] ^= 1;
        ssize_t result = parse(&with, &memo, SLICE(changed));
        assert_int_equal(result, parse(&without, NULL, SLICE(changed)));
        assert_true(result <= 0 || with.head.block == 0);
        feed_release(&with);
        feed_release(&without);
    }
    field_memo_release(&memo);
}

static void test_a_head_that_is_too_large_stays_so(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\n" BROWSER;
    static const char longer[] = "GET /2 HTTP/1.1\r\n" BROWSER;
    struct http_head_limits limits = feed_limits;
    struct field_memo memo = {0};
    struct feed feed;
    (void)state;
    limits.head = sizeof(text) - 1;
    for (int i = 0; i < 3; i++) {
        feed_init(&feed);
        feed.head.memo = &memo;
        assert_int_equal(feed_give(&feed, SLICE(text), sizeof(text) - 1, &limits),
                         sizeof(text) - 1);
        feed_release(&feed);
    }
    feed_init(&feed);
    feed.head.memo = &memo;
    assert_int_equal(feed_give(&feed, SLICE(longer), sizeof(longer) - 1, &limits),
                     -HTTP_HEAD_TOO_LARGE);
    feed_release(&feed);
    field_memo_release(&memo);
}

/* Clients that never come again push each other out, and nothing else happens. */
static void test_the_table_has_an_end(void **state)
{
    struct field_memo memo = {0};
    size_t kept = 0;
    (void)state;
    for (int i = 0; i < 2000; i++) {
        char text[200], value[16];
        struct feed feed;
        snprintf(value, sizeof(value), "%d", i);
        snprintf(text, sizeof(text), FIELDS("A: %d\r\n"), i);
        block_of(&memo, text);
        parse(&feed, &memo, slice_of_text(text));
        assert_slice(feed.head.fields[1].value, value);
        feed_release(&feed);
    }
    for (size_t i = 0; i < FIELD_MEMO_ENTRIES; i++)
        kept += memo.entries[i] != NULL;
    assert_true(kept > FIELD_MEMO_ENTRIES / 2);
    field_memo_release(&memo);
}

static void test_a_long_block_is_not_remembered(void **state)
{
    char text[FIELD_MEMO_MAX + 500];
    struct field_memo memo = {0};
    (void)state;
    int len = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST);
    while (len < FIELD_MEMO_MAX + 20)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "A: %0400d\r\n", 1);
    snprintf(text + len, sizeof(text) - (size_t)len, "\r\n");
    assert_int_equal(block_of(&memo, text), 0);
    field_memo_release(&memo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_second_time_it_is_remembered),
        cmocka_unit_test(test_other_request_lines_with_the_same_fields),
        cmocka_unit_test(test_where_the_same_fields_say_something_else),
        cmocka_unit_test(test_what_is_not_remembered),
        cmocka_unit_test(test_requests_with_a_body),
        cmocka_unit_test(test_each_block_has_its_number),
        cmocka_unit_test(test_requests_in_a_row),
        cmocka_unit_test(test_blocks_with_another_request_behind_them),
        cmocka_unit_test(test_each_changed_byte_is_seen),
        cmocka_unit_test(test_a_head_that_is_too_large_stays_so),
        cmocka_unit_test(test_the_table_has_an_end),
        cmocka_unit_test(test_a_long_block_is_not_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
