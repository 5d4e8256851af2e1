#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"

static void test_the_line_has_the_cause(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(error_set(&err, EACCES, "bind", "127.0.0.1:80"), -EACCES);
    assert_int_equal(err.code, EACCES);
    assert_string_equal(err.text, "cannot bind 127.0.0.1:80: Permission denied");
    error_set(&err, ENOMEM, "sleep", NULL);
    assert_string_equal(err.text, "cannot sleep: Cannot allocate memory");
}

static void test_without_a_place_the_number_is_returned(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, EPERM, "do", "it"), -EPERM);
    assert_int_equal(error_format(NULL, EPERM, "x"), -EPERM);
}

static void test_no_number_is_still_an_error(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(error_set(&err, 0, "do", "it"), -EIO);
    assert_int_equal(err.code, EIO);
    assert_int_equal(error_format(&err, 0, "x"), -EIO);
}

static void test_a_long_line_is_cut(void **state)
{
    struct error err = {0};
    char object[1000];
    (void)state;
    memset(object, 'x', sizeof(object) - 1);
    object[sizeof(object) - 1] = '\0';
    error_set(&err, EPERM, "open", object);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_line_has_the_cause),
        cmocka_unit_test(test_without_a_place_the_number_is_returned),
        cmocka_unit_test(test_no_number_is_still_an_error),
        cmocka_unit_test(test_a_long_line_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
