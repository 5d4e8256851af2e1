#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "base/clock.h"
#include "base/list.h"

static void test_ticks_follow_the_monotonic_clock(void **state)
{
    struct clock_calibration calibration;
    struct timespec nap = {.tv_nsec = 20000000};
    (void)state;
    clock_calibrate(&calibration);
    uint64_t ticks = clock_ticks(), ns = clock_monotonic_ns();
    nanosleep(&nap, NULL);
    uint64_t by_ticks = clock_ticks_to_ns(&calibration, clock_ticks() - ticks);
    uint64_t by_clock = clock_monotonic_ns() - ns;
    /* The two looks are not at one moment, and the thread may be put aside between them: only that
     * the rate is right to one in ten is held. */
    uint64_t most = by_clock + by_clock / 10 + 5000000;
    assert_true(by_ticks >= 20000000 - 2000000);
    assert_true(by_ticks <= most);
}

static void test_a_second_calibration_has_the_same_rate(void **state)
{
    struct clock_calibration one, two;
    (void)state;
    clock_calibrate(&one);
    clock_calibrate(&two);
    assert_int_equal(one.ns_per_tick_shift32, two.ns_per_tick_shift32);
    assert_true(two.ticks >= one.ticks && two.monotonic_ns >= one.monotonic_ns);
    assert_true(one.realtime_ns > UINT64_C(1600000000) * 1000000000);
}

struct item {
    int number;
    struct list node;
};

static void test_a_list_keeps_its_order(void **state)
{
    struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    struct list head;
    (void)state;
    list_init(&head);
    assert_true(list_is_empty(&head));
    assert_null(list_pop(&head));
    for (int i = 0; i < 3; i++) {
        list_init(&items[i].node);
        assert_false(list_is_linked(&items[i].node));
        list_append(&head, &items[i].node);
    }
    list_unlink(&items[1].node);
    assert_false(list_is_linked(&items[1].node));
    list_unlink(&items[1].node); /* once more does nothing */
    list_prepend(&head, &items[1].node);
    static const int order[] = {1, 0, 2};
    for (int i = 0; i < 3; i++)
        assert_int_equal(list_entry(list_pop(&head), struct item, node)->number, order[i]);
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks_follow_the_monotonic_clock),
        cmocka_unit_test(test_a_second_calibration_has_the_same_rate),
        cmocka_unit_test(test_a_list_keeps_its_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
