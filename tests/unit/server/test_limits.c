#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "server/limits.h"

static void test_every_limit_can_be_set_by_its_name(void **state)
{
    struct limits limits = limits_default;
    (void)state;
#define X(name, value, meaning)                                   \
    assert_int_equal(limits.name, value);                         \
    assert_int_equal(limits_set(&limits, #name, (value) + 1), 0); \
    assert_int_equal(limits.name, (value) + 1);
    LIMITS(X)
#undef X
}

static void test_unknown_and_senseless_values_are_refused(void **state)
{
    struct limits limits = limits_default;
    (void)state;
    assert_int_equal(limits_set(&limits, "no_such", 1), -ENOENT);
    assert_int_equal(limits_set(&limits, "_ms", 1), -ENOENT);
    assert_int_equal(limits_set(&limits, "request_line", 0), -ERANGE);
    assert_int_equal(limits_set(&limits, "request_line", UINT64_MAX), -ERANGE);
    assert_int_equal(limits_set(&limits, "request_fields", 32769), -ERANGE);
    assert_int_equal(limits_set(&limits, "request_fields", 32768), 0);
    assert_int_equal(limits.request_line, limits_default.request_line);
}

static void test_patience_and_body_may_be_without_limit(void **state)
{
    struct limits limits = limits_default;
    (void)state;
    assert_int_equal(limits_set(&limits, "keep_alive_ms", 0), 0);
    assert_int_equal(limits_set(&limits, "request_body", 0), 0);
    assert_int_equal(limits.keep_alive_ms, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_limit_can_be_set_by_its_name),
        cmocka_unit_test(test_unknown_and_senseless_values_are_refused),
        cmocka_unit_test(test_patience_and_body_may_be_without_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
