/* The table of character classes against the grammars written out, and the helpers on it. */
#include "feed.h"

#include "http/token.h"

#define ALPHA      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGIT      "0123456789"
#define UNRESERVED ALPHA DIGIT "-._~"
#define SUB_DELIMS "!$&'()*+,;="
#define PCHAR      UNRESERVED SUB_DELIMS ":@%/"

static bool in(const char *set, int byte)
{
    return byte != 0 && strchr(set, byte) != NULL;
}

static void test_each_byte_has_its_classes(void **state)
{
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        assert_int_equal(http_is(HTTP_TCHAR, c), in(ALPHA DIGIT "!#$%&'*+-.^_`|~", byte));
        assert_int_equal(http_is(HTTP_FIELD_VCHAR, c), byte == 9 || (byte >= 32 && byte != 127));
        assert_int_equal(http_is(HTTP_PATH, c), in(PCHAR "|[]", byte));
        assert_int_equal(http_is(HTTP_QUERY, c), in(PCHAR "|[]?{}\\^`", byte));
        assert_int_equal(http_is(HTTP_HOST, c), in(UNRESERVED SUB_DELIMS, byte));
        assert_int_equal(http_is(HTTP_DIGIT, c), in(DIGIT, byte));
        assert_int_equal(http_is(HTTP_HEXDIG, c), in(DIGIT "abcdefABCDEF", byte));
        assert_int_equal(http_is(HTTP_WHITE, c), byte == ' ' || byte == '\t');
    }
}

static void test_hexadecimal_digits_have_their_values(void **state)
{
    static const char lower[] = "0123456789abcdef";
    static const char upper[] = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; byte++) {
        const char *low = byte ? strchr(lower, byte) : NULL;
        const char *up = byte ? strchr(upper, byte) : NULL;
        long value = low ? low - lower : up ? up - upper : -1;
        assert_int_equal(http_hex_value((char)byte), value);
    }
}

static void test_a_token_is_one_or_more_tchar(void **state)
{
    assert_true(http_is_token(SLICE("a")));
    assert_true(http_is_token(SLICE("X-Long-Field-Name-Of-More-Than-16-Bytes")));
    assert_false(http_is_token(SLICE("")));
    assert_false(http_is_token(slice_of(NULL, 0)));
    assert_false(http_is_token(SLICE("a b")));
    assert_false(http_is_token(SLICE("a:")));
    assert_false(http_is_token(SLICE("\x80")));
}

/* Each byte at each place of values of each length around a block. */
static void test_a_field_value_is_free_of_control_bytes(void **state)
{
    assert_true(http_is_field_value(slice_of(NULL, 0)));
    for (size_t len = 1; len <= 50; len++) {
        char *text = malloc(len);
        assert_non_null(text);
        for (size_t place = 0; place < len; place++) {
            for (int byte = 0; byte < 256; byte++) {
                memset(text, 'v', len);
                text[place] = (char)byte;
                bool allowed = byte == '\t' || (byte >= ' ' && byte != 0x7f);
                assert_int_equal(http_is_field_value(slice_of(text, len)), allowed);
            }
        }
        free(text);
    }
}

static void test_trim_takes_white_space_off_both_ends(void **state)
{
    assert_true(slice_equal(http_trim(SLICE(" \t a b\t ")), SLICE("a b")));
    assert_true(slice_equal(http_trim(SLICE("a")), SLICE("a")));
    assert_int_equal(http_trim(SLICE(" \t ")).len, 0);
    assert_int_equal(http_trim(slice_of(NULL, 0)).len, 0);
    assert_true(slice_equal(http_trim(SLICE("\va\f")), SLICE("\va\f")));
}

static void assert_list(const char *text, const char *const elements[])
{
    struct slice list = slice_of_text(text);
    struct slice element;
    for (; *elements; elements++) {
        assert_true(http_list_next(&list, &element));
        assert_true(slice_equal(element, slice_of_text(*elements)));
    }
    assert_false(http_list_next(&list, &element));
    assert_false(http_list_next(&list, &element));
}

static void test_a_list_is_read_element_by_element(void **state)
{
    assert_list("", (const char *const[]){NULL});
    assert_list(" ,, \t,", (const char *const[]){NULL});
    assert_list("a", (const char *const[]){"a", NULL});
    assert_list("a,b , c\t,,d e,", (const char *const[]){"a", "b", "c", "d e", NULL});
}

static void test_a_number_is_digits_and_fits(void **state)
{
    static const struct {
        const char *text;
        uint64_t number;
    } numbers[] = {{"0", 0},
                   {"7", 7},
                   {"0000000000000000000000000000010", 10},
                   {"9223372036854775806", INT64_MAX - 1},
                   {"9223372036854775807", INT64_MAX}};
    static const char *const others[] = {"",
                                         " ",
                                         "-1",
                                         "+1",
                                         "1 ",
                                         " 1",
                                         "0x1",
                                         "1_0",
                                         "1,1",
                                         "1.0",
                                         "\xd9\xa5",
                                         "9223372036854775808",
                                         "9223372036854775810",
                                         "18446744073709551616",
                                         "18446744073709551621",
                                         "10000000000000000000000000000000000000000"};
    uint64_t number;
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        assert_true(http_decimal_read(slice_of_text(numbers[i].text), &number));
        assert_int_equal(number, numbers[i].number);
    }
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_false(http_decimal_read(slice_of_text(others[i]), &number));
    for (int byte = 0; byte < 256; byte++) {
        char text[2] = {(char)byte, '1'};
        assert_int_equal(http_decimal_read(slice_of(text, 2), &number), in(DIGIT, byte));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_byte_has_its_classes),
        cmocka_unit_test(test_hexadecimal_digits_have_their_values),
        cmocka_unit_test(test_a_token_is_one_or_more_tchar),
        cmocka_unit_test(test_a_field_value_is_free_of_control_bytes),
        cmocka_unit_test(test_trim_takes_white_space_off_both_ends),
        cmocka_unit_test(test_a_list_is_read_element_by_element),
        cmocka_unit_test(test_a_number_is_digits_and_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
