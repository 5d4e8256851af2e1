/* The date against the C library's. */
#include "feed.h"

#include <time.h>

#include "http/date.h"

static void assert_date(int64_t seconds)
{
    char expected[64];
    char written[HTTP_DATE_LEN + 1];
    time_t time = (time_t)seconds;
    struct tm parts;
    assert_non_null(gmtime_r(&time, &parts));
    assert_int_equal(strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", &parts),
                     HTTP_DATE_LEN);
    memset(written, '#', sizeof(written));
    http_date_write(written, seconds);
    assert_string_equal(written, expected);
}

static void test_the_example_of_the_rfc(void **state)
{
    char written[HTTP_DATE_LEN + 1];
    http_date_write(written, 784111777);
    assert_string_equal(written, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void test_every_day_until_9999(void **state)
{
    int64_t last = INT64_C(253402300799);
    for (int64_t day = 0; day <= last / 86400; day++)
        assert_date(day * 86400 + day % 86400);
    assert_date(last);
}

static void test_every_second_of_a_day(void **state)
{
    for (int64_t second = 0; second < 86400; second++)
        assert_date(INT64_C(1709164800) + second); /* 2024-02-29 */
}

static void test_what_cannot_be_said_is_clamped(void **state)
{
    char written[HTTP_DATE_LEN + 1];
    http_date_write(written, -1);
    assert_string_equal(written, "Thu, 01 Jan 1970 00:00:00 GMT");
    http_date_write(written, INT64_MIN);
    assert_string_equal(written, "Thu, 01 Jan 1970 00:00:00 GMT");
    http_date_write(written, INT64_C(253402300800));
    assert_string_equal(written, "Fri, 31 Dec 9999 23:59:59 GMT");
    http_date_write(written, INT64_MAX);
    assert_string_equal(written, "Fri, 31 Dec 9999 23:59:59 GMT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_example_of_the_rfc),
        cmocka_unit_test(test_every_day_until_9999),
        cmocka_unit_test(test_every_second_of_a_day),
        cmocka_unit_test(test_what_cannot_be_said_is_clamped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
