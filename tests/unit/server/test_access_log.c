#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "server/access_log.h"

static struct address loopback(void)
{
    struct address addr;
    assert_int_equal(address_parse(&addr, "127.0.0.1:1234", NULL), 0);
    return addr;
}

/* One line for a request with these fields, as it stands in the file. */
static const char *line_of(struct slice target, struct http_field *fields, size_t count)
{
    static char text[4096];
    int pipes[2];
    struct access_log log;
    struct access_log_request request = {0};
    struct address peer = loopback();
    struct request_head head = {.method_text = SLICE("GET"), .target = target, .minor = 1};
    head.fields = fields;
    head.field_count = count;
    assert_int_equal(pipe(pipes), 0);
    access_log_init(&log, pipes[1]);
    access_log_note(&log, &request, &head, &peer, 784887151);
    access_log_add(&log, &request, 200, 13);
    access_log_release(&log);
    ssize_t len = read(pipes[0], text, sizeof(text) - 1);
    assert_true(len >= 0);
    text[len] = '\0';
    close(pipes[0]);
    close(pipes[1]);
    return text;
}

static void test_a_line_is_apaches_combined_format(void **state)
{
    struct http_field fields[] = {{SLICE("Referer"), SLICE("http://a/")},
                                  {SLICE("User-Agent"), SLICE("curl/8")}};
    (void)state;
    assert_string_equal(line_of(SLICE("/a?b"), fields, 2),
                        "127.0.0.1 - - [15/Nov/1994:08:12:31 +0000] \"GET /a?b HTTP/1.1\" 200 13 "
                        "\"http://a/\" \"curl/8\"\n");
}

static void test_what_is_missing_is_a_dash(void **state)
{
    (void)state;
    assert_non_null(strstr(line_of(SLICE("/"), NULL, 0), "200 13 \"-\" \"-\"\n"));
}

static void test_a_client_cannot_write_a_line(void **state)
{
    struct http_field fields[] = {{SLICE("User-Agent"), SLICE("a\"b\\c\n\033[1m\xff")}};
    (void)state;
    assert_non_null(
        strstr(line_of(SLICE("/"), fields, 1), "\"a\\x22b\\x5cc\\x0a\\x1b[1m\\xff\"\n"));
}

static void test_without_a_note_there_is_no_line(void **state)
{
    struct access_log log;
    struct access_log_request request = {0};
    (void)state;
    access_log_init(&log, 1);
    access_log_add(&log, &request, 200, 13);
    assert_int_equal(buffer_len(&log.lines), 0);
    access_log_release(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_is_apaches_combined_format),
        cmocka_unit_test(test_what_is_missing_is_a_dash),
        cmocka_unit_test(test_a_client_cannot_write_a_line),
        cmocka_unit_test(test_without_a_note_there_is_no_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
