#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
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
    access_log_init(&log, pipes[1], NULL, NULL);
    access_log_note(&log, &request, &head, (struct slice){0}, &peer, 784887151);
    access_log_add(&log, &request, 200, 13, HTTP_ACCEPTED);
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
    access_log_init(&log, 1, NULL, NULL);
    access_log_add(&log, &request, 200, 13, HTTP_ACCEPTED);
    assert_int_equal(buffer_len(&log.lines), 0);
    access_log_release(&log);
}

/* What an embedder is told: one line an answer. `more`: tell of another one meanwhile. */
struct told {
    struct access_log *log;
    char text[40000];
    bool more;
};

static void note_and_add(struct access_log *log, const struct request_head *head,
                         struct slice input, int status, enum http_refusal refusal)
{
    struct access_log_request request = {0};
    struct address peer = loopback();
    access_log_note(log, &request, head, input, &peer, 784887151);
    access_log_add(log, &request, status, 13, refusal);
}

static void on_answer(void *context, const struct answer *answer)
{
    struct told *told = context;
    size_t len = strlen(told->text);
    snprintf(told->text + len, sizeof(told->text) - len, "%u %.*s %d %d %d|",
             address_port(&answer->peer), (int)answer->request_line.len, answer->request_line.data,
             answer->status, (int)answer->bytes, answer->refusal != HTTP_ACCEPTED);
    if (!told->more)
        return;
    told->more = false;
    note_and_add(told->log, NULL, SLICE("between"), 400, HTTP_BAD_REQUEST_LINE);
    access_log_flush(told->log);
}

static void test_an_embedder_is_told_of_each_answer_once(void **state)
{
    struct access_log log;
    struct told told = {.log = &log, .more = true};
    struct request_head head = {.method_text = SLICE("GET"), .target = SLICE("/a?b")};
    (void)state;
    access_log_init(&log, -1, on_answer, &told);
    assert_true(access_log_is_on(&log));
    note_and_add(&log, &head, SLICE("GET /a?b HTTP/1.0\r\n\r\n"), 200, HTTP_ACCEPTED);
    note_and_add(&log, NULL, SLICE("\x16\x03 hello\r\nmore"), 400, HTTP_BAD_REQUEST_LINE);
    assert_string_equal(told.text, ""); /* not before there is time for it */
    access_log_flush(&log);
    assert_string_equal(told.text, "1234 GET /a?b HTTP/1.0 200 13 0|"
                                   "1234 \x16\x03 hello 400 13 1|1234 between 400 13 1|");
    access_log_release(&log);
}

static void test_a_long_request_line_is_cut(void **state)
{
    static char line[20000];
    struct access_log log;
    struct told told = {.log = &log};
    (void)state;
    memset(line, 'a', sizeof(line));
    struct request_head head = {.method_text = slice_of(line, sizeof(line)),
                                .target = slice_of(line, sizeof(line))};
    access_log_init(&log, -1, on_answer, &told);
    note_and_add(&log, &head, (struct slice){0}, 200, HTTP_ACCEPTED);
    note_and_add(&log, NULL, slice_of(line, sizeof(line)), 414, HTTP_BAD_REQUEST_LINE);
    access_log_flush(&log);
    assert_int_equal(strlen(told.text), 4096 + 8192 + 8192 + strlen("1234   HTTP/1.0 200 13 0|") +
                                            strlen("1234  414 13 1|"));
    access_log_release(&log);
}

static void test_what_is_dropped_is_not_told(void **state)
{
    struct access_log log;
    struct told told = {.log = &log};
    struct access_log_request request = {0};
    struct address peer = loopback();
    (void)state;
    access_log_init(&log, -1, on_answer, &told);
    note_and_add(&log, NULL, SLICE("a"), 400, HTTP_BAD_REQUEST_LINE);
    access_log_note(&log, &request, NULL, SLICE("b"), &peer, 784887151);
    access_log_drop(&log);
    access_log_add(&log, &request, 400, 13, HTTP_BAD_REQUEST_LINE);
    access_log_release(&log);
    assert_string_equal(told.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line_is_apaches_combined_format),
        cmocka_unit_test(test_what_is_missing_is_a_dash),
        cmocka_unit_test(test_a_client_cannot_write_a_line),
        cmocka_unit_test(test_without_a_note_there_is_no_line),
        cmocka_unit_test(test_an_embedder_is_told_of_each_answer_once),
        cmocka_unit_test(test_a_long_request_line_is_cut),
        cmocka_unit_test(test_what_is_dropped_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
