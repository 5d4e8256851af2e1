/* Percent-encoding and authorities. */
#include "feed.h"

#include "http/target.h"

static void assert_decoded(struct slice path, struct slice expected)
{
    char *copy = malloc(path.len + 1);
    char *out = malloc(path.len + 1);
    assert_non_null(copy);
    assert_non_null(out);
    memcpy(copy, path.data, path.len);
    size_t len = percent_decode(out, slice_of(copy, path.len));
    assert_true(slice_equal(slice_of(out, len), expected));
    free(out);
    free(copy);
}

static void test_every_byte_can_be_encoded(void **state)
{
    for (int byte = 0; byte < 256; byte++) {
        char upper[8];
        char lower[8];
        char expected[3] = {'a', (char)byte, 'b'};
        snprintf(upper, sizeof(upper), "a%%%02Xb", (unsigned)byte);
        snprintf(lower, sizeof(lower), "a%%%02xb", (unsigned)byte);
        assert_decoded(slice_of_text(upper), slice_of(expected, 3));
        assert_decoded(slice_of_text(lower), slice_of(expected, 3));
    }
}

static void test_it_is_decoded_exactly_once(void **state)
{
    assert_decoded(SLICE("/%2541"), SLICE("/%41"));
    assert_decoded(SLICE("/%25%34%31"), SLICE("/%41"));
    assert_decoded(SLICE("%%34%31"), SLICE("%41"));
}

static void test_what_is_no_encoding_stays(void **state)
{
    static const char *const paths[] = {"",   "/",    "/a+b", "%",  "/a%",
                                        "%4", "/%4g", "%g4",  "%%", "% 41"};
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        assert_decoded(slice_of_text(paths[i]), slice_of_text(paths[i]));
    assert_decoded(SLICE("%%41"), SLICE("%A"));
    assert_decoded(SLICE("%4%41"), SLICE("%4A"));
    assert_decoded(SLICE("/a%20b%"), SLICE("/a b%"));
}

static void test_authorities(void **state)
{
    static const char *const valid[] = {"a",
                                        "A.example.ORG",
                                        "localhost",
                                        "localhost:",
                                        "localhost:8080",
                                        "a:00000000000080",
                                        "127.0.0.1",
                                        "127.0.0.1:80",
                                        "999.1",
                                        "a%20b",
                                        "a%41",
                                        "%41:1",
                                        "a!$&'()*+,;=b~_-.",
                                        "-",
                                        "xn--bcher-kva.example",
                                        "[::]",
                                        "[::1]",
                                        "[::1]:",
                                        "[::1]:8080",
                                        "[1::]",
                                        "[1:2::7:8]",
                                        "[1:2:3:4:5:6:7:8]",
                                        "[ABCD:ef01:2345:6789:abcd:EF01:2345:6789]",
                                        "[1:2:3:4:5:6:7::]",
                                        "[::2:3:4:5:6:7:8]",
                                        "[::1.2.3.4]",
                                        "[1:2:3:4:5:6:1.2.3.4]",
                                        "[::ffff:255.255.255.0]",
                                        "[1:2:3:4:5::1.2.3.4]",
                                        "[v1.a]",
                                        "[vF0.a:b]:1",
                                        "[V1.~]"};
    static const char *const others[] = {"",
                                         ":",
                                         ":80",
                                         "a:b",
                                         "a:8 0",
                                         "a:80:80",
                                         "a:-1",
                                         "a:+1",
                                         "a b",
                                         "a/b",
                                         "a?b",
                                         "a#b",
                                         "a@b",
                                         "user:pass@a",
                                         "<a>",
                                         "a\"b",
                                         "a\\b",
                                         "a^b",
                                         "a`b",
                                         "a|b",
                                         "a{b}",
                                         "a,\x80",
                                         "\xc3\xa9",
                                         "a\t",
                                         "%",
                                         "%4",
                                         "%4g",
                                         "a%:1",
                                         "a%4",
                                         "::1",
                                         "1:2:3",
                                         "[",
                                         "]",
                                         "[]",
                                         "[]:80",
                                         "[:]",
                                         "[:::]",
                                         "[::1",
                                         "::1]",
                                         "[::1]a",
                                         "[::1]:a",
                                         "[::1]80",
                                         "[[::1]]",
                                         "a[::1]",
                                         "[1:2:3:4:5:6:7]",
                                         "[1:2:3:4:5:6:7:8:9]",
                                         "[1:2:3:4:5:6:7:8::]",
                                         "[::1:2:3:4:5:6:7:8]",
                                         "[1::2::3]",
                                         "[12345::]",
                                         "[::g]",
                                         "[:1::]",
                                         "[1:2:3:4:5:6:7:]",
                                         "[::1:]",
                                         "[::1.2.3]",
                                         "[::1.2.3.4.5]",
                                         "[::256.1.1.1]",
                                         "[::01.2.3.4]",
                                         "[::1.2.3.4:5]",
                                         "[1.2.3.4::]",
                                         "[1:2:3:4:5:6:7:1.2.3.4]",
                                         "[::1..3.4]",
                                         "[::.1.2.3]",
                                         "[::1.2.3.]",
                                         "[::1.2.3.0004]",
                                         "[127.0.0.1]",
                                         "[::1%25eth0]",
                                         "[::1%eth0]",
                                         "[v]",
                                         "[v.a]",
                                         "[v1]",
                                         "[v1.]",
                                         "[vg.a]",
                                         "[v1.a/]",
                                         "[v1.%41]",
                                         "[a]"};
    for (size_t i = 0; i < COUNT_OF(valid); i++)
        if (!authority_is_valid(slice_of_text(valid[i])))
            fail_msg("refused: %s", valid[i]);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (authority_is_valid(slice_of_text(others[i])))
            fail_msg("taken: %s", others[i]);
    assert_false(authority_is_valid(SLICE("a\0b")));
    assert_false(authority_is_valid(slice_of(NULL, 0)));
}

/* Every cut of an authority is read from memory that ends there. */
static void test_no_byte_behind_is_read(void **state)
{
    static const char *const texts[] = {"a%41b:80", "[1:2::1.2.3.4]:80", "[v1.a]:1"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        for (size_t len = 0; len <= strlen(texts[i]); len++) {
            char *copy = malloc(len > 0 ? len : 1);
            assert_non_null(copy);
            memcpy(copy, texts[i], len);
            bool valid = authority_is_valid(slice_of(copy, len));
            assert_true(valid || len < strlen(texts[i]));
            free(copy);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_can_be_encoded),
        cmocka_unit_test(test_it_is_decoded_exactly_once),
        cmocka_unit_test(test_what_is_no_encoding_stays),
        cmocka_unit_test(test_authorities),
        cmocka_unit_test(test_no_byte_behind_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
