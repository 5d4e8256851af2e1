#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/buffer.h"
#include "base/memory.h"

static int allocation_fails;

void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return allocation_fails ? NULL : __real_reallocarray(old, count, size);
}

static void assert_holds(const struct buffer *buffer, const char *text)
{
    assert_true(slice_equal(buffer_slice(buffer), slice_of_text(text)));
}

static void test_first_in_first_out(void **state)
{
    struct buffer buffer;
    (void)state;
    buffer_init(&buffer, 1000);
    assert_null(buffer.data);
    assert_int_equal(buffer_append(&buffer, SLICE("abc")), 0);
    assert_int_equal(buffer_append(&buffer, SLICE("")), 0);
    assert_int_equal(buffer_append(&buffer, SLICE("def")), 0);
    assert_holds(&buffer, "abcdef");
    buffer_consume(&buffer, 2);
    assert_holds(&buffer, "cdef");
    buffer_consume(&buffer, 4);
    assert_int_equal(buffer_len(&buffer), 0);
    assert_int_equal(buffer.start, 0); /* an empty buffer begins anew */
    buffer_release(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.max, 1000);
}

static void test_the_maximum_holds(void **state)
{
    struct buffer buffer;
    (void)state;
    buffer_init(&buffer, 10);
    assert_int_equal(buffer_append(&buffer, SLICE("0123456789")), 0);
    assert_true(buffer.capacity <= 10);
    assert_int_equal(buffer_append(&buffer, SLICE("x")), -ENOBUFS);
    assert_int_equal(buffer_reserve(&buffer, SIZE_MAX), -ENOBUFS);
    assert_holds(&buffer, "0123456789");
    buffer_consume(&buffer, 4);
    assert_int_equal(buffer_append(&buffer, SLICE("abcd")), 0); /* what was consumed makes room */
    assert_holds(&buffer, "456789abcd");
    buffer_release(&buffer);
}

static void test_without_memory_nothing_changes(void **state)
{
    struct buffer buffer;
    (void)state;
    buffer_init(&buffer, 100000);
    assert_int_equal(buffer_append(&buffer, SLICE("abc")), 0);
    allocation_fails = 1;
    assert_int_equal(buffer_reserve(&buffer, 5000), -ENOMEM);
    allocation_fails = 0;
    assert_holds(&buffer, "abc");
    assert_int_equal(buffer_reserve(&buffer, 5000), 0);
    assert_true(buffer.capacity >= 5003);
    buffer_release(&buffer);
}

/* Any series of steps holds what a plain array would. */
static void test_like_an_array(void **state)
{
    struct buffer buffer;
    char model[4096];
    size_t start = 0, end = 0;
    uint32_t random = 1;
    (void)state;
    buffer_init(&buffer, 300);
    for (int i = 0; i < 20000; i++) {
        random = random * 1664525 + 1013904223;
        size_t len = (random >> 8) % 40;
        if (end + len > sizeof(model)) {
            memmove(model, model + start, end - start);
            end -= start;
            start = 0;
        }
        if (random >> 31) {
            for (size_t k = 0; k < len; k++)
                model[end + k] = (char)(random >> (k % 24));
            int result = buffer_append(&buffer, slice_of(model + end, len));
            assert_int_equal(result, end - start + len > 300 ? -ENOBUFS : 0);
            end += result == 0 ? len : 0;
        } else {
            len = len < end - start ? len : end - start;
            buffer_consume(&buffer, len);
            start += len;
        }
        assert_true(slice_equal(buffer_slice(&buffer), slice_of(model + start, end - start)));
    }
    buffer_release(&buffer);
}

static void test_products_that_overflow(void **state)
{
    (void)state;
    assert_null(memory_new_array(SIZE_MAX / 2, 3));
    void *memory = memory_new_array(2, 3);
    assert_non_null(memory);
    assert_null(memory_resize_array(memory, SIZE_MAX / 2, 3));
    memory_free(memory);
    memory_free(NULL);
}

static void test_new_memory_is_zero(void **state)
{
    (void)state;
    char *memory = memory_new(1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(memory[i], 0);
    memory_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_in_first_out),
        cmocka_unit_test(test_the_maximum_holds),
        cmocka_unit_test(test_without_memory_nothing_changes),
        cmocka_unit_test(test_like_an_array),
        cmocka_unit_test(test_products_that_overflow),
        cmocka_unit_test(test_new_memory_is_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
