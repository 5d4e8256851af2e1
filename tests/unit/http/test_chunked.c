/* Chunked bodies: verdicts, contents, limits, any segmentation; and what the encoder writes. */
#include "feed.h"

#include "http/chunked.h"

/* A body and what becomes of it: refused, or `data` with `rest` bytes left for the next request;
 * HTTP_ACCEPTED without data: not whole. */
struct verdict {
    enum http_refusal refusal;
    struct slice text;
    const char *data;
    size_t rest;
};

#define OK(text, data)         {HTTP_ACCEPTED, {text, sizeof(text) - 1}, data, 0}
#define OK_REST(text, data, n) {HTTP_ACCEPTED, {text, sizeof(text) - 1}, data, n}
#define MORE(text)             {HTTP_ACCEPTED, {text, sizeof(text) - 1}, NULL, 0}
#define NO(refusal, text)      {refusal, {text, sizeof(text) - 1}, NULL, 0}
#define HELLO                  "5\r\nhello\r\n"
#define SIXTEEN(a)             a a a a a a a a a a a a a a a a

static const struct verdict verdicts[] = {
    OK("0\r\n\r\n", ""),
    OK(HELLO "0\r\n\r\n", "hello"),
    OK("1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n", "abcdef"),
    OK("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    OK("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    OK("0005\r\nhello\r\n0\r\n\r\n", "hello"),
    OK("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
    OK("000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
    OK(HELLO "000\r\n\r\n", "hello"),
    OK(HELLO "0000000000000000\r\n\r\n", "hello"),
    OK("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
    OK("10\r\n" SIXTEEN("x") "\r\n0\r\n\r\n", SIXTEEN("x")),
    OK("5;a\r\nhello\r\n0\r\n\r\n", "hello"),
    OK("5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello"),
    OK("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", "hello"),
    OK("5;a=\"\"\r\nhello\r\n0\r\n\r\n", "hello"),
    OK("5;a=\"\\\"\\\\\\a\t\xff\"\r\nhello\r\n0\r\n\r\n", "hello"),
    OK("5;a;b=c;d=\"e\";f\r\nhello\r\n0\r\n\r\n", "hello"),
    OK("5 \t; \ta \t= \tb \t; c = \"d\" ; e\r\nhello\r\n0\r\n\r\n", "hello"),
    OK("5;!#$%&'*+-.^_`|~09Az=!\r\nhello\r\n0\r\n\r\n", "hello"),
    OK(HELLO "0\r\nX-T: 1\r\nX-U:2\r\nx-v:\r\n\r\n", "hello"),
    OK(HELLO "0\r\nX-T: \t a \xff \t \r\n\r\n", "hello"),
    OK(HELLO "0\r\nHost: evil\r\nTransfer-Encoding: x\r\nContent-Length: 1\r\n\r\n", "hello"),
    OK_REST(HELLO "0\r\n\r\nGET / HTTP/1.1\r\n", "hello", 16),
    OK_REST("0\r\n\r\n\r\n", "", 2),
    MORE(""),
    MORE("5"),
    MORE("5\r"),
    MORE("5\r\nhell"),
    MORE(HELLO),
    MORE(HELLO "0\r\n"),
    MORE(HELLO "0\r\nA: b\r\n"),
    MORE("100000005\r\nhello"),
    MORE("80000000\r\nhello\r\n0\r\n\r\n"),
    MORE("100000000\r\n\r\nGET / HTTP/1.1\r\n"),
    MORE("7fffffffffffffff\r\nhello"),
    NO(HTTP_CHUNK_TOO_LARGE, "8000000000000000\r\nhello"),
    NO(HTTP_CHUNK_TOO_LARGE, "ffffffffffffffff\r\nhello"),
    NO(HTTP_CHUNK_TOO_LARGE, "10000000000000005\r\nhello"),
    NO(HTTP_CHUNK_TOO_LARGE, "00000000000000005\r\nhello"),
    NO(HTTP_CHUNK_TOO_LARGE, "00000000000000000\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "\n"),
    NO(HTTP_BAD_CHUNK_SIZE, " 5\r\nhello\r\n0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "\t5\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "\r\n5\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "+5\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "-1\r\n\r\n0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "0x5\r\nhello\r\n0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "0_5\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "5h\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "5,5\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "5.\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "5\0\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "5\nhello\n0\n\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "5\n\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "5\x0b\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "\xef\xbc\x95\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, "hello\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, ";a=b\r\nhello\r\n0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_SIZE, HELLO "\r\n"),
    NO(HTTP_BARE_CR, "5\rhello"),
    NO(HTTP_BARE_CR, "5\r\r\nhello"),
    NO(HTTP_BARE_CR, "5;a\r\r\nhello"),
    NO(HTTP_BARE_CR, "5;a\rb\r\nhello"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5 \r\nhello\r\n0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "0 5\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5; \r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;;a\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a;\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a \r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a b\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;=b\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=;b\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=b=c\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=b \r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=b c\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=b\"\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;\"a\"\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=\"b\"c\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=\"b\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=\"b\\\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=\"b\nc\"\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=\"b\rc\"\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=\"\0\"\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=\"\x7f\"\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a=\xff\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a/b\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "5;a\nxx\r\nhello\r\n"),
    NO(HTTP_BAD_CHUNK_EXTENSION, "2;\nxx\r\n4c\r\n0\r\n\r\nGET / HTTP/1.1\r\n"),
    NO(HTTP_BAD_CHUNK_END, "5\r\nhello0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_END, "5\r\nhello\r0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_END, "5\r\nhello\n0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_END, "5\r\nhelloXX0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_END, "5\r\nhello world\r\n0\r\n\r\n"),
    NO(HTTP_BAD_CHUNK_END, "5\r\nhello \r\n0\r\n\r\n"),
    NO(HTTP_BAD_TRAILER, "0\r\n\n"),
    NO(HTTP_BAD_TRAILER, HELLO "0\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
    NO(HTTP_BAD_TRAILER, "0\r\nX : 1\r\n\r\n"),
    NO(HTTP_BAD_TRAILER, "0\r\nX\r\n\r\n"),
    NO(HTTP_BAD_TRAILER, "0\r\n: 1\r\n\r\n"),
    NO(HTTP_BAD_TRAILER, "0\r\n X: 1\r\n\r\n"),
    NO(HTTP_BAD_TRAILER, "0\r\nX: 1\r\n folded\r\n\r\n"),
    NO(HTTP_BAD_TRAILER, "0\r\nX: 1\n\r\n"),
    NO(HTTP_BAD_TRAILER, "0\r\nX: \0\r\n\r\n"),
    NO(HTTP_BAD_TRAILER, "0\r\nX\xff: 1\r\n\r\n"),
    NO(HTTP_BARE_CR, "0\r\nX: 1\rY: 2\r\n\r\n"),
    NO(HTTP_BARE_CR, "0\r\n\rX"),
    NO(HTTP_BARE_CR, "0\r\n\r\r\n"),
};

/* Which of its results is `verdict`'s, and is the data it? */
static void assert_verdict(const struct verdict *verdict, const struct body *body)
{
    int expected = verdict->refusal ? -(int)verdict->refusal
                   : verdict->data  ? CHUNKED_END
                                    : CHUNKED_MORE;
    if (body->result != expected)
        fail_msg("%d (%s) instead of %d: %.*s", body->result,
                 body->result < 0 ? feed_result_text(body->result) : "no refusal", expected,
                 (int)verdict->text.len, verdict->text.data);
    if (expected != CHUNKED_END)
        return;
    struct slice data = slice_of_text(verdict->data);
    assert_true(slice_equal(slice_of(body->data, body->len), data));
    assert_int_equal(body->consumed, verdict->text.len - verdict->rest);
}

static void test_verdicts_however_the_body_is_cut(void **state)
{
    for (size_t i = 0; i < COUNT_OF(verdicts); i++) {
        struct slice text = verdicts[i].text;
        struct body whole = feed_body(text, text.len, text.len, &feed_chunked_limits);
        assert_verdict(&verdicts[i], &whole);
        for (size_t cut = 0; cut <= text.len; cut++) {
            struct body two = feed_body(text, cut, text.len, &feed_chunked_limits);
            assert_verdict(&verdicts[i], &two);
            assert_int_equal(two.consumed, whole.consumed);
            assert_int_equal(two.len, whole.len);
            assert_memory_equal(two.data, whole.data, whole.len);
        }
        for (size_t piece = 1; piece <= 3; piece++) {
            struct body pieces = feed_body(text, piece, piece, &feed_chunked_limits);
            assert_verdict(&verdicts[i], &pieces);
            assert_int_equal(pieces.consumed, whole.consumed);
        }
    }
}

/* ------------------------------------------------------------------------ each byte at each place
 */

static bool in(const char *set, int byte)
{
    return byte != 0 && strchr(set, byte) != NULL;
}

#define ALPHA  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define TCHAR  ALPHA "0123456789!#$%&'*+-.^_`|~"
#define HEXDIG "0123456789abcdefABCDEF"
#define VCHAR  TCHAR "\"(),/:;<=>?@[\\]{} \t"

/* As in test_request_head.c; `after` makes the body whole where the byte is right. */
static const struct place {
    const char *before;
    const char *after;
    const char *right;
    bool high;
    enum http_refusal otherwise;
    struct {
        const char *bytes;
        enum http_refusal refusal;
    } also[3];
} places[] = {
    {"", "\r\n", "", false, HTTP_BAD_CHUNK_SIZE, {{HEXDIG, HTTP_ACCEPTED}}},
    {"0",
     "\r\n",
     "",
     false,
     HTTP_BAD_CHUNK_SIZE,
     {{HEXDIG, HTTP_ACCEPTED}, {" \t;", HTTP_BAD_CHUNK_EXTENSION}, {"\r", HTTP_BARE_CR}}},
    {"0", "\n\r\n", "\r", false, HTTP_BAD_CHUNK_SIZE, {{" \t;", HTTP_BAD_CHUNK_EXTENSION}}},
    {"0\r", "\r\n", "\n", false, HTTP_BARE_CR, {{NULL, HTTP_ACCEPTED}}},
    {"0;", "a\r\n\r\n", TCHAR " \t", false, HTTP_BAD_CHUNK_EXTENSION, {{NULL, HTTP_ACCEPTED}}},
    {"0;a", "b\r\n\r\n", TCHAR ";=", false, HTTP_BAD_CHUNK_EXTENSION, {{"\r", HTTP_BARE_CR}}},
    {"0;a=", "b\r\n\r\n", TCHAR " \t", false, HTTP_BAD_CHUNK_EXTENSION, {{NULL, HTTP_ACCEPTED}}},
    {"0;a=b", "c\r\n\r\n", TCHAR ";", false, HTTP_BAD_CHUNK_EXTENSION, {{"\r", HTTP_BARE_CR}}},
    {"0;a=\"b",
     "c\"\r\n\r\n",
     TCHAR "(),/:;<=>?@[\\]{} \t",
     true,
     HTTP_BAD_CHUNK_EXTENSION,
     {{NULL, HTTP_ACCEPTED}}},
    {"0;a=\"\\", "\"\r\n\r\n", VCHAR, true, HTTP_BAD_CHUNK_EXTENSION, {{NULL, HTTP_ACCEPTED}}},
    {"0;a=\"\"", "\n\r\n", "\r", false, HTTP_BAD_CHUNK_EXTENSION, {{NULL, HTTP_ACCEPTED}}},
    {"0;a=\"\" ", "b\r\n\r\n", ";", false, HTTP_BAD_CHUNK_EXTENSION, {{NULL, HTTP_ACCEPTED}}},
    {"0;a ", ";b\r\n\r\n", " \t", false, HTTP_BAD_CHUNK_EXTENSION, {{NULL, HTTP_ACCEPTED}}},
    {"1\r\na", "\n0\r\n\r\n", "\r", false, HTTP_BAD_CHUNK_END, {{NULL, HTTP_ACCEPTED}}},
    {"1\r\na\r", "0\r\n\r\n", "\n", false, HTTP_BAD_CHUNK_END, {{NULL, HTTP_ACCEPTED}}},
    {"0\r\n", ": b\r\n\r\n", TCHAR, false, HTTP_BAD_TRAILER, {{"\r", HTTP_BARE_CR}}},
    {"0\r\nA", "B: c\r\n\r\n", TCHAR ":", false, HTTP_BAD_TRAILER, {{NULL, HTTP_ACCEPTED}}},
    {"0\r\nA", " c\r\n\r\n", ":", false, HTTP_BAD_TRAILER, {{TCHAR, HTTP_BAD_TRAILER}}},
    {"0\r\nA:", "b\r\n\r\n", VCHAR, true, HTTP_BAD_TRAILER, {{"\r", HTTP_BARE_CR}}},
    {"0\r\nA:b\r", "\r\n", "\n", false, HTTP_BARE_CR, {{NULL, HTTP_ACCEPTED}}},
    {"0\r\n\r", "", "\n", false, HTTP_BARE_CR, {{NULL, HTTP_ACCEPTED}}},
};

static enum http_refusal refusal_at(const struct place *place, int byte)
{
    for (size_t i = 0; i < COUNT_OF(place->also) && place->also[i].bytes; i++) {
        if (in(place->also[i].bytes, byte))
            return place->also[i].refusal;
    }
    return place->otherwise;
}

static void test_each_byte_at_each_place(void **state)
{
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        for (int byte = 0; byte < 256; byte++) {
            char text[64];
            size_t before = strlen(places[i].before);
            size_t len = before + 1 + strlen(places[i].after);
            memcpy(text, places[i].before, before);
            text[before] = (char)byte;
            memcpy(text + before + 1, places[i].after, len - before - 1);
            bool right = in(places[i].right, byte) || (places[i].high && byte >= 0x80);
            enum http_refusal refusal = right ? HTTP_ACCEPTED : refusal_at(&places[i], byte);
            const char *data = !right ? NULL : strncmp(places[i].before, "1", 1) == 0 ? "a" : "";
            struct verdict verdict = {refusal, slice_of(text, len), data, 0};
            struct body whole = feed_body(verdict.text, len, len, &feed_chunked_limits);
            struct body bytes = feed_body(verdict.text, 1, 1, &feed_chunked_limits);
            assert_verdict(&verdict, &whole);
            assert_verdict(&verdict, &bytes);
        }
    }
}

/* --------------------------------------------------------------------------------------- limits */

static int decode(struct slice text, struct chunked_limits limits)
{
    int whole = feed_body(text, text.len, text.len, &limits).result;
    assert_int_equal(feed_body(text, 1, 1, &limits).result, whole);
    return whole;
}

static void test_extensions_of_all_chunks_are_limited_together(void **state)
{
    struct slice text = SLICE("1;abc\r\nx\r\n1;abc=\"d\"\r\nx\r\n0;e\r\n\r\n");
    size_t extensions = strlen(";abc;abc=\"d\";e");
    assert_int_equal(decode(text, (struct chunked_limits){extensions, 2}), CHUNKED_END);
    assert_int_equal(decode(text, (struct chunked_limits){extensions - 1, 2}),
                     -HTTP_CHUNK_EXTENSIONS_TOO_LARGE);
    assert_int_equal(decode(SLICE("1\r\nx\r\n0\r\n\r\n"), (struct chunked_limits){0, 2}),
                     CHUNKED_END);
    assert_int_equal(decode(SLICE("1;"), (struct chunked_limits){0, 2}),
                     -HTTP_CHUNK_EXTENSIONS_TOO_LARGE);
    assert_int_equal(decode(SLICE("1 "), (struct chunked_limits){0, 2}),
                     -HTTP_CHUNK_EXTENSIONS_TOO_LARGE);
}

static void test_the_trailer_section_is_limited(void **state)
{
    struct slice text = SLICE("0\r\nA: b\r\nC: d\r\n\r\n");
    size_t trailers = text.len - strlen("0\r\n");
    assert_int_equal(decode(text, (struct chunked_limits){0, trailers}), CHUNKED_END);
    assert_int_equal(decode(text, (struct chunked_limits){0, trailers - 1}),
                     -HTTP_TRAILERS_TOO_LARGE);
    assert_int_equal(decode(SLICE("0\r\n\r\n"), (struct chunked_limits){0, 2}), CHUNKED_END);
}

static void test_an_endless_size_is_refused(void **state)
{
    char text[1000];
    memset(text, '0', sizeof(text));
    assert_int_equal(decode(slice_of(text, 16), feed_chunked_limits), CHUNKED_MORE);
    assert_int_equal(decode(slice_of(text, 17), feed_chunked_limits), -HTTP_CHUNK_TOO_LARGE);
    assert_int_equal(decode(slice_of(text, 1000), feed_chunked_limits), -HTTP_CHUNK_TOO_LARGE);
}

/* ------------------------------------------------------------------------------------- the rest */

/* Data is handed out where it lies. */
static void test_nothing_is_copied(void **state)
{
    struct chunked_decoder decoder = {0};
    struct slice text = SLICE("5\r\nhello\r\n");
    struct slice rest = text;
    struct slice data;
    assert_int_equal(chunked_decode(&decoder, &rest, &data, &feed_chunked_limits), CHUNKED_DATA);
    assert_ptr_equal(data.data, text.data + 3);
    assert_int_equal(data.len, 5);
    assert_ptr_equal(rest.data, text.data + 8);
    assert_int_equal(chunked_decode(&decoder, &rest, &data, &feed_chunked_limits), CHUNKED_MORE);
    assert_int_equal(data.len, 0);
    assert_int_equal(rest.len, 0);
}

/* What follows a body is never taken, however often one asks. */
static void test_the_end_stays_the_end(void **state)
{
    struct chunked_decoder decoder = {0};
    struct slice rest = SLICE("0\r\n\r\n5\r\nhello\r\n");
    struct slice data;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(chunked_decode(&decoder, &rest, &data, &feed_chunked_limits), CHUNKED_END);
        assert_int_equal(rest.len, 10);
        assert_int_equal(data.len, 0);
    }
}

static void test_a_size_at_the_end_of_its_range(void **state)
{
    struct chunked_decoder decoder = {0};
    struct slice rest = SLICE("7FFFFFFFFFFFFFFF\r\nxyz");
    struct slice data;
    assert_int_equal(chunked_decode(&decoder, &rest, &data, &feed_chunked_limits), CHUNKED_DATA);
    assert_int_equal(data.len, 3);
    assert_true(decoder.remaining == INT64_MAX - 3);
}

static void test_chunk_lines_are_read_back(void **state)
{
    for (unsigned bit = 0; bit < 63; bit++) {
        for (uint64_t less = 0; less < 2; less++) {
            char line[CHUNK_LINE_SIZE];
            char expected[CHUNK_LINE_SIZE + 1];
            uint64_t len = (UINT64_C(1) << bit) - (bit > 0 ? less : 0);
            size_t size = chunk_line_write(line, len);
            snprintf(expected, sizeof(expected), "%llx\r\n", (unsigned long long)len);
            assert_true(slice_equal(slice_of(line, size), slice_of_text(expected)));
            struct chunked_decoder decoder = {0};
            struct slice rest = slice_of(line, size);
            struct slice data;
            assert_int_equal(chunked_decode(&decoder, &rest, &data, &feed_chunked_limits),
                             CHUNKED_MORE);
            assert_true(decoder.remaining == len);
        }
    }
    char line[CHUNK_LINE_SIZE];
    assert_int_equal(chunk_line_write(line, UINT64_MAX), CHUNK_LINE_SIZE);
    assert_true(slice_equal(chunk_last, SLICE("0\r\n\r\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts_however_the_body_is_cut),
        cmocka_unit_test(test_each_byte_at_each_place),
        cmocka_unit_test(test_extensions_of_all_chunks_are_limited_together),
        cmocka_unit_test(test_the_trailer_section_is_limited),
        cmocka_unit_test(test_an_endless_size_is_refused),
        cmocka_unit_test(test_nothing_is_copied),
        cmocka_unit_test(test_the_end_stays_the_end),
        cmocka_unit_test(test_a_size_at_the_end_of_its_range),
        cmocka_unit_test(test_chunk_lines_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
