#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slice.h"

static void test_equal(void **state)
{
    (void)state;
    assert_true(slice_equal(SLICE("ab"), slice_of_text("ab")));
    assert_false(slice_equal(SLICE("ab"), SLICE("abc")));
    assert_false(slice_equal(SLICE("ab"), SLICE("aB")));
    assert_true(slice_equal((struct slice){0}, SLICE("")));
}

static void test_only_letters_have_cases(void **state)
{
    (void)state;
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            char x = (char)a, y = (char)b;
            bool letters = a != b && (a ^ b) == 0x20 && ((a | 0x20) >= 'a' && (a | 0x20) <= 'z');
            assert_int_equal(slice_equal_ignoring_case(slice_of(&x, 1), slice_of(&y, 1)),
                             a == b || letters);
        }
    }
    assert_false(slice_equal_ignoring_case(SLICE("a"), SLICE("ab")));
    assert_true(slice_equal_ignoring_case(SLICE("hOST"), SLICE("Host")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_only_letters_have_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
