/* What an application may send, and how it is written. */
#include "feed.h"

#include "http/response_head.h"

static enum response_field_problem check(const char *name, const char *value)
{
    struct response_fields fields = {0};
    return response_field_check(&fields, slice_of_text(name), slice_of_text(value));
}

static void test_each_byte_of_a_name(void **state)
{
    for (int byte = 0; byte < 256; byte++) {
        char name[3] = {'X', (char)byte, 'Y'};
        struct response_fields fields = {0};
        bool tchar = byte > ' ' && byte < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", byte);
        assert_int_equal(response_field_check(&fields, slice_of(name, 3), SLICE("v")),
                         tchar ? RESPONSE_FIELD_OK : RESPONSE_FIELD_BAD_NAME);
    }
    assert_int_equal(check("", "v"), RESPONSE_FIELD_BAD_NAME);
}

static void test_each_byte_of_a_value(void **state)
{
    for (int byte = 0; byte < 256; byte++) {
        for (size_t place = 0; place < 20; place++) {
            char value[20];
            memset(value, 'v', sizeof(value));
            value[place] = (char)byte;
            struct response_fields fields = {0};
            bool control = (byte < ' ' && byte != '\t') || byte == 0x7f;
            assert_int_equal(
                response_field_check(&fields, SLICE("X-A"), slice_of(value, sizeof(value))),
                control ? RESPONSE_FIELD_BAD_VALUE : RESPONSE_FIELD_OK);
        }
    }
    assert_int_equal(check("X-A", ""), RESPONSE_FIELD_OK);
    assert_int_equal(check("X-A", "a\r\nSet-Cookie: x"), RESPONSE_FIELD_BAD_VALUE);
    assert_int_equal(check("X Bad", "a\r\n"), RESPONSE_FIELD_BAD_NAME);
}

static void test_hop_by_hop_fields_are_the_servers(void **state)
{
    static const char *const names[] = {
        "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
        "TE",         "Trailer",    "Trailers",           "Transfer-Encoding",
        "Upgrade",    "uPGRADE",    "connection"};
    static const char *const others[] = {
        "Connections",      "X-Connection",       "T",   "TEX", "Upgrad",
        "Proxy-Connection", "Proxy_Authenticate", "Via", "Date"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_int_equal(check(names[i], "close"), RESPONSE_FIELD_HOP_BY_HOP);
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_int_equal(check(others[i], "close"), RESPONSE_FIELD_OK);
}

static void test_content_length_is_one_number(void **state)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "-1",
                                      "+1",
                                      "1.0",
                                      "5, 5",
                                      "five",
                                      "1 2",
                                      "9223372036854775808",
                                      "99999999999999999999"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(check("Content-Length", bad[i]), RESPONSE_FIELD_BAD_LENGTH);
    struct response_fields fields = {0};
    struct slice name = SLICE("cOnTeNt-LeNgTh");
    assert_int_equal(response_field_check(&fields, name, SLICE(" 9223372036854775807 ")),
                     RESPONSE_FIELD_OK);
    assert_true(fields.has_content_length);
    assert_int_equal(fields.content_length, INT64_MAX);
    assert_int_equal(response_field_check(&fields, name, SLICE("5")), RESPONSE_FIELD_SECOND_LENGTH);
    assert_int_equal(fields.content_length, INT64_MAX);
    assert_int_equal(check("Content-Length", "0"), RESPONSE_FIELD_OK);
}

static void test_date_and_server_are_noted(void **state)
{
    struct response_fields fields = {0};
    assert_int_equal(response_field_check(&fields, SLICE("X-Date"), SLICE("")), RESPONSE_FIELD_OK);
    assert_false(fields.has_date || fields.has_server || fields.has_content_length);
    assert_int_equal(response_field_check(&fields, SLICE("DATE"), SLICE("")), RESPONSE_FIELD_OK);
    assert_true(fields.has_date && !fields.has_server);
    assert_int_equal(response_field_check(&fields, SLICE("server"), SLICE("")), RESPONSE_FIELD_OK);
    assert_true(fields.has_date && fields.has_server && !fields.has_content_length);
}

static void test_problems_have_different_words(void **state)
{
    for (int problem = RESPONSE_FIELD_OK; problem <= RESPONSE_FIELD_SECOND_LENGTH; problem++) {
        const char *text = response_field_problem_text((enum response_field_problem)problem);
        assert_true(strlen(text) > 0);
        for (int other = 0; other < problem; other++)
            assert_string_not_equal(
                text, response_field_problem_text((enum response_field_problem)other));
    }
}

static void test_statuses(void **state)
{
    for (int status = 0; status < 1000; status++)
        assert_int_equal(http_status_has_no_content(status),
                         status / 100 == 1 || status == 204 || status == 304);
    assert_string_equal(http_status_reason(200), "OK");
    assert_string_equal(http_status_reason(431), "Request Header Fields Too Large");
    assert_string_equal(http_status_reason(505), "HTTP Version Not Supported");
    assert_string_equal(http_status_reason(299), "Unknown");
    assert_string_equal(http_status_reason(0), "Unknown");
    for (int refusal = 1; refusal < HTTP_REFUSAL_COUNT; refusal++) {
        int status = http_refusal_row((enum http_refusal)refusal)->status;
        assert_string_not_equal(http_status_reason(status), "Unknown");
    }
}

static void test_status_lines(void **state)
{
    char out[HTTP_STATUS_LINE_SIZE + 9];
    memset(out, '#', sizeof(out));
    size_t len = status_line_write(out, 404, SLICE("Not Found"));
    assert_true(slice_equal(slice_of(out, len + 1), SLICE("HTTP/1.1 404 Not Found\r\n#")));
    len = status_line_write(out, 999, slice_of(NULL, 0));
    assert_true(slice_equal(slice_of(out, len), SLICE("HTTP/1.1 999 \r\n")));
    assert_true(len <= HTTP_STATUS_LINE_SIZE);
}

static void test_field_lines(void **state)
{
    char out[16];
    memset(out, '#', sizeof(out));
    size_t len = field_line_write(out, SLICE("X-A"), SLICE("b c"));
    assert_true(slice_equal(slice_of(out, len + 1), SLICE("X-A: b c\r\n#")));
    len = field_line_write(out, SLICE("X"), slice_of(NULL, 0));
    assert_true(slice_equal(slice_of(out, len), SLICE("X: \r\n")));
}

static void test_decimal_numbers(void **state)
{
    static const uint64_t numbers[] = {0,   1,     9,          10,        99,
                                       100, 65535, UINT32_MAX, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        char expected[32];
        char out[20];
        snprintf(expected, sizeof(expected), "%llu", (unsigned long long)numbers[i]);
        size_t len = http_decimal_write(out, numbers[i]);
        assert_true(slice_equal(slice_of(out, len), slice_of_text(expected)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_byte_of_a_name),
        cmocka_unit_test(test_each_byte_of_a_value),
        cmocka_unit_test(test_hop_by_hop_fields_are_the_servers),
        cmocka_unit_test(test_content_length_is_one_number),
        cmocka_unit_test(test_date_and_server_are_noted),
        cmocka_unit_test(test_problems_have_different_words),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_status_lines),
        cmocka_unit_test(test_field_lines),
        cmocka_unit_test(test_decimal_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
