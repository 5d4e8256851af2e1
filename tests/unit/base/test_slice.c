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

/* Alone, and at each place among neighbours of which one differs in its case alone. */
static void test_only_letters_have_cases(void **state)
{
    (void)state;
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            bool letters = a != b && (a ^ b) == 0x20 && ((a | 0x20) >= 'a' && (a | 0x20) <= 'z');
            char x = (char)a, y = (char)b;
            assert_int_equal(slice_equal_ignoring_case(slice_of(&x, 1), slice_of(&y, 1)),
                             a == b || letters);
            for (int i = 0; i < 9; i++) {
                char left[] = "\377\200Az[\177\340@Z", right[] = "\377\200aZ[\177\340@z";
                left[i] = (char)a;
                right[i] = (char)b;
                assert_int_equal(slice_equal_ignoring_case(slice_of(left, 9), slice_of(right, 9)),
                                 a == b || letters);
            }
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
