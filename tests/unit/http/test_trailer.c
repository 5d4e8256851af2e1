/* Trailer fields: from the decoder's pieces to names and values. */
#include "feed.h"

#include "http/trailer.h"

/* The fields of a body's trailer section, "name=value" each, with its line end. */
static struct slice fields_of(struct slice text, size_t piece, char out[1024])
{
    struct body body = feed_body(text, piece, piece, &feed_chunked_limits);
    struct slice section = slice_of(body.trailers, body.trailers_len);
    struct http_field field;
    size_t len = 0;
    assert_int_equal(body.result, CHUNKED_END);
    while (trailer_next(&section, &field))
        len += (size_t)snprintf(out + len, 1024 - len, "%.*s=%.*s\n", (int)field.name.len,
                                field.name.data, (int)field.value.len, field.value.data);
    assert_int_equal(section.len, 0);
    return slice_of(out, len);
}

static void assert_fields(struct slice text, struct slice expected)
{
    char out[1024];
    for (size_t piece = 1; piece <= text.len; piece++)
        assert_true(slice_equal(fields_of(text, piece, out), expected));
}

static void test_fields_however_the_body_is_cut(void **state)
{
    assert_fields(SLICE("0\r\n\r\n"), SLICE(""));
    assert_fields(SLICE("1\r\nx\r\n0\r\nA: b\r\n\r\n"), SLICE("A=b\n"));
    assert_fields(SLICE("0\r\nDigest: sha-256=:x:\r\nE:\r\nF:\t a: b \t\r\n\r\n"),
                  SLICE("Digest=sha-256=:x:\nE=\nF=a: b\n"));
}

/* RFC 9110 6.5.1 */
static void test_what_belongs_into_a_head_is_passed_over(void **state)
{
    assert_fields(SLICE("0\r\nContent-Length: 5\r\nhost: evil\r\nX-Sum: 1\r\nCOOKIE: a\r\n\r\n"),
                  SLICE("X-Sum=1\n"));
    assert_fields(SLICE("0\r\nTransfer-Encoding: chunked\r\n\r\n"), SLICE(""));
    assert_fields(SLICE("0\r\nHosts: a\r\nX-Host: b\r\n\r\n"), SLICE("Hosts=a\nX-Host=b\n"));
}

/* Bytes that no decoder has seen end it, whatever they are. */
static void test_what_is_no_section_has_no_fields(void **state)
{
    static const char *const texts[] = {"", "A", "A:", "A: b", "A\nB: c\n", "\n", ":\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct slice section = slice_of_text(texts[i]);
        struct http_field field;
        int most = 8;
        while (most > 0 && trailer_next(&section, &field))
            most--;
        assert_true(most > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields_however_the_body_is_cut),
        cmocka_unit_test(test_what_belongs_into_a_head_is_passed_over),
        cmocka_unit_test(test_what_is_no_section_has_no_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
