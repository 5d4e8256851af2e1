#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/seccomp.h>
#include <string.h>

#include "exact/call.h"
#include "exact/filter.h"

enum { I386 = 0x40000003, ANSWERED_MOST = 1000 };

static struct sock_filter filter[FILTER_MOST];
static size_t filter_len;

/* What a program of BPF says of a call: bpf(4), as far as the filter goes. */
static uint32_t answer_to(uint32_t machine, uint32_t number)
{
    struct seccomp_data data = {.nr = (int)number, .arch = machine};
    uint32_t accumulator = 0;
    size_t at = 0;
    for (int steps = 0; steps < ANSWERED_MOST; steps++) {
        assert_true(at < filter_len);
        struct sock_filter now = filter[at++];
        switch (now.code) {
        case BPF_LD | BPF_W | BPF_ABS:
            memcpy(&accumulator, (char *)&data + now.k, sizeof(accumulator));
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            at += accumulator == now.k ? now.jt : now.jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            at += accumulator >= now.k ? now.jt : now.jf;
            break;
        case BPF_RET | BPF_K:
            return now.k;
        default:
            fail_msg("an instruction that is none: %x", now.code);
        }
    }
    fail_msg("it does not end");
    return 0;
}

static void test_calls_that_are_recorded_stop(void **state)
{
    uint32_t numbers[FILTER_NUMBERS_MOST];
    size_t count = call_numbers(numbers, FILTER_NUMBERS_MOST);
    (void)state;
    filter_len = filter_build(filter, numbers, count);
    assert_true(count > 40 && filter_len > count);
    for (uint32_t number = 0; number < ANSWERED_MOST; number++) {
        bool is_wanted = false;
        for (size_t i = 0; i < count; i++)
            is_wanted |= numbers[i] == number;
        assert_int_equal(answer_to(FILTER_MACHINE, number),
                         is_wanted ? SECCOMP_RET_TRACE : SECCOMP_RET_ALLOW);
        assert_true(is_wanted || !call_kind_of(number));
    }
}

static void test_other_machines(void **state)
{
    uint32_t numbers[] = {1, 2};
    (void)state;
    filter_len = filter_build(filter, numbers, 2);
    assert_int_equal(answer_to(I386, 1), SECCOMP_RET_ALLOW);
    assert_int_equal(answer_to(I386, 102), SECCOMP_RET_TRACE);
    assert_int_equal(answer_to(I386, 359), SECCOMP_RET_TRACE);
    assert_int_equal(answer_to(FILTER_MACHINE, 102), SECCOMP_RET_ALLOW);
#if defined(__x86_64__)
    assert_int_equal(answer_to(FILTER_MACHINE, FILTER_X32), SECCOMP_RET_TRACE);
    assert_int_equal(answer_to(FILTER_MACHINE, FILTER_X32 | 500), SECCOMP_RET_TRACE);
#endif
}

static void test_how_many_numbers(void **state)
{
    uint32_t numbers[FILTER_NUMBERS_MOST + 1];
    (void)state;
    for (uint32_t i = 0; i <= FILTER_NUMBERS_MOST; i++)
        numbers[i] = i;
    assert_int_equal(filter_build(filter, numbers, FILTER_NUMBERS_MOST + 1), 0);
    filter_len = filter_build(filter, numbers, FILTER_NUMBERS_MOST);
    assert_true(filter_len > 0 && filter_len <= FILTER_MOST);
    assert_int_equal(answer_to(FILTER_MACHINE, 0), SECCOMP_RET_TRACE);
    assert_int_equal(answer_to(FILTER_MACHINE, FILTER_NUMBERS_MOST - 1), SECCOMP_RET_TRACE);
    assert_int_equal(answer_to(FILTER_MACHINE, FILTER_NUMBERS_MOST), SECCOMP_RET_ALLOW);
    filter_len = filter_build(filter, numbers, 0);
    assert_int_equal(answer_to(FILTER_MACHINE, 0), SECCOMP_RET_ALLOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_that_are_recorded_stop),
        cmocka_unit_test(test_other_machines),
        cmocka_unit_test(test_how_many_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
