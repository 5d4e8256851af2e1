#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "trace/first_line.h"

struct row {
    const char *bytes;
    size_t len; /* 0: up to the NUL */
    const char *line;
};

static void check(const struct row *row)
{
    char line[FIRST_LINE_SIZE + 1] = "";
    size_t len = row->len ? row->len : strlen(row->bytes);
    size_t found = first_line(slice_of(row->bytes, len), line);
    assert_true(found <= FIRST_LINE_SIZE);
    line[found] = '\0';
    assert_string_equal(line, row->line);
}

static void test_what_is_known(void **state)
{
    static const struct row rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n", 0, "GET / HTTP/1.1"},
        {"DELETE /a/b?c=d HTTP/1.0\n", 0, "DELETE /a/b?c=d HTTP/1.0"},
        {"OPTIONS * HTTP/1.1\r\n\r\n", 0, "OPTIONS * HTTP/1.1"},
        {"CONNECT host:443 HTTP/1.1\r\n", 0, "CONNECT host:443 HTTP/1.1"},
        {"HTTP/1.1 200 OK\r\nServer: a\r\n", 0, "HTTP/1.1 200 OK"},
        {"HTTP/1.0 404 Not Found", 0, "HTTP/1.0 404 Not Found"},
        {"*2\r\n$3\r\nGET\r\n$6\r\nsecret\r\n", 0, "redis GET"},
        {"*1\r\n$4\r\nPING\r\n", 0, "redis PING"},
        {"Q\0\0\0\x12SELECT 'secret'\0", 20, "postgresql SELECT"},
        {"Q\0\0\0\x0b  BEGIN\0", 13, "postgresql BEGIN"},
        {"P\0\0\0\x20name\0INSERT INTO a VALUES ($1)\0\0\0", 38, "postgresql INSERT"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        check(&rows[i]);
}

static void test_what_is_not(void **state)
{
    static const struct row rows[] = {
        {"GE", 0, ""},
        {"get / HTTP/1.1\r\n", 0, ""},
        {"GET  / HTTP/1.1\r\n", 0, ""},
        {"GET / HTTP/2.0\r\n", 0, ""},
        {"GET ", 0, ""},
        {"HELLO WORLD", 0, ""},
        {"HTTP/1.1", 0, ""},
        {"*2\r\n$3\r\nG", 0, ""},
        {"*2\r\n$3\r\nG T\r\n", 0, ""},
        {"*99999\r\n$3\r\nGET\r\n", 0, ""},
        {"*1\r\n$-1\r\n", 0, ""},
        {"*1\r\n$9999\r\nGET\r\n", 0, ""},
        {"Q\0\0\0\x04", 5, ""},
        {"Q\0\0\0\x08\0\0\0\0", 9, ""},
        {"Q\xff\xff\xff\xffSELECT 1", 13, ""},
        {"P\0\0\0\x20name", 9, ""},
        {"\x16\x03\x01\x02\x00\x01", 6, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        check(&rows[i]);
}

static void test_long_lines_are_cut(void **state)
{
    char bytes[4096], line[FIRST_LINE_SIZE];
    (void)state;
    int len = snprintf(bytes, sizeof(bytes), "GET /%03000d HTTP/1.1\r\n", 0);
    assert_int_equal(first_line(slice_of(bytes, (size_t)len), line), FIRST_LINE_SIZE);
    assert_int_equal(first_line(slice_of(bytes, 300), line), FIRST_LINE_SIZE);
    assert_memory_equal(line, bytes, FIRST_LINE_SIZE);
}

static void test_tls(void **state)
{
    (void)state;
    assert_true(first_line_is_tls(slice_of("\x16\x03\x01\x02\x00", 5)));
    assert_true(first_line_is_tls(slice_of("\x17\x03\x03\x00\x01x", 6)));
    assert_false(first_line_is_tls(slice_of("\x16\x03\x01\x02", 4)));
    assert_false(first_line_is_tls(slice_of("\x16\x04\x01\x02\x00", 5)));
    assert_false(first_line_is_tls(slice_of("GET / HTTP/1.1", 14)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_known),
        cmocka_unit_test(test_what_is_not),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
