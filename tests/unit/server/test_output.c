#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/output.h"

/* The allocation to fail, counted from 1; 0: none. */
static int allocation_to_fail;

static int allocation_fails(void)
{
    return allocation_to_fail > 0 && --allocation_to_fail == 0;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_reallocarray(old, count, size);
}

static int released;

static void release(void *object)
{
    released += *(int *)object;
}

static int one = 1;

/* All that the stream got. */
static void assert_sent(struct memory_stream *memory, const char *text)
{
    struct slice sent = buffer_slice(&memory->out);
    assert_int_equal(sent.len, strlen(text));
    assert_memory_equal(sent.data, text, sent.len);
}

static void test_parts_leave_in_their_order(void **state)
{
    struct memory_stream memory;
    struct output *output = output_new();
    (void)state;
    released = 0;
    memory_stream_init(&memory, 1000);
    assert_int_equal(output_copy(output, SLICE("head ")), 0);
    assert_int_equal(output_copy(output, SLICE("more ")), 0);
    assert_int_equal(output_lend(output, SLICE("lent "), (struct lender){release, &one}), 0);
    assert_int_equal(output_copy(output, SLICE("tail")), 0);
    assert_int_equal(output->end - output->first, 3); /* the first two are one part */
    assert_int_equal(output->pending, 19);
    assert_int_equal(output_send(output, &memory.stream, false), 19);
    assert_sent(&memory, "head more lent tail");
    assert_int_equal(released, 1);
    assert_int_equal(output->pending, 0);
    output_free(output);
    memory_stream_release(&memory);
}

/* However little the stream takes at once, the bytes are the same. */
static void test_a_slow_stream_gets_the_same_bytes(void **state)
{
    (void)state;
    for (size_t step = 1; step < 20; step++) {
        struct memory_stream memory;
        struct output *output = output_new();
        released = 0;
        memory_stream_init(&memory, 1000);
        output_copy(output, SLICE("head "));
        output_lend(output, SLICE("lent "), (struct lender){release, &one});
        output_copy(output, SLICE("middle "));
        output_lend(output, SLICE("end"), (struct lender){release, &one});
        for (int i = 0; output->pending > 0 && i < 100; i++) {
            memory.send_limit = step;
            ssize_t sent = output_send(output, &memory.stream, false);
            assert_true(sent >= 0 && (size_t)sent <= step);
        }
        assert_sent(&memory, "head lent middle end");
        assert_int_equal(released, 2);
        output_free(output);
        memory_stream_release(&memory);
    }
}

static void test_a_file_leaves_between_the_others(void **state)
{
    char path[] = "/tmp/zolal-test-XXXXXX";
    int fd = mkstemp(path);
    struct memory_stream memory;
    struct output *output = output_new();
    (void)state;
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    memory_stream_init(&memory, 1000);
    output_copy(output, SLICE("<"));
    assert_int_equal(output_file(output, fd, 2, 5, (struct lender){release, &one}), 0);
    output_copy(output, SLICE(">"));
    assert_int_equal(output->pending, 7);
    assert_int_equal(output_send(output, &memory.stream, false), 7);
    assert_sent(&memory, "<23456>");
    output_free(output);
    memory_stream_release(&memory);
    close(fd);
}

static void test_a_file_that_ends_early_is_an_error(void **state)
{
    char path[] = "/tmp/zolal-test-XXXXXX";
    int fd = mkstemp(path);
    struct memory_stream memory;
    struct output *output = output_new();
    (void)state;
    unlink(path);
    assert_int_equal(write(fd, "0123", 4), 4);
    memory_stream_init(&memory, 1000);
    released = 0;
    output_file(output, fd, 0, 8, (struct lender){release, &one});
    assert_int_equal(output_send(output, &memory.stream, false), -EIO);
    assert_int_equal(released, 0);
    output_free(output);
    assert_int_equal(released, 1);
    memory_stream_release(&memory);
    close(fd);
}

static void test_the_streams_error_is_passed_on(void **state)
{
    struct memory_stream memory;
    struct output *output = output_new();
    (void)state;
    memory_stream_init(&memory, 1000);
    output_copy(output, SLICE("x"));
    memory.fail = ECONNRESET;
    assert_int_equal(output_send(output, &memory.stream, false), -ECONNRESET);
    memory.send_limit = 0;
    assert_int_equal(output_send(output, &memory.stream, false), 0);
    assert_int_equal(output->pending, 1);
    output_free(output);
    memory_stream_release(&memory);
}

static void test_many_parts_and_large_bytes(void **state)
{
    static char large[100000];
    struct memory_stream memory;
    struct output *output = output_new();
    (void)state;
    memset(large, 'x', sizeof(large));
    memory_stream_init(&memory, 1u << 20);
    released = 0;
    for (int i = 0; i < 300; i++)
        assert_int_equal(output_lend(output, SLICE("ab"), (struct lender){release, &one}), 0);
    assert_int_equal(output_copy(output, slice_of(large, sizeof(large))), 0);
    size_t pending = output->pending;
    assert_int_equal(pending, 600 + sizeof(large));
    assert_int_equal(output_send(output, &memory.stream, false), pending);
    assert_int_equal(released, 300);
    output_clear(output);
    assert_true(output->bytes.capacity < sizeof(large)); /* a spare does not keep much */
    output_free(output);
    memory_stream_release(&memory);
}

/* Each allocation of a run fails once: the call says so, nothing is lost and nothing leaks. */
static void test_failing_allocations(void **state)
{
    (void)state;
    for (int n = 1;; n++) {
        allocation_to_fail = n;
        struct output *output = output_new();
        bool failed = !output;
        released = 0;
        int lent = 0;
        for (int i = 0; output && i < 20; i++) {
            if (output_lend(output, SLICE("ab"), (struct lender){release, &one}) == 0)
                lent++;
            else
                failed = true;
            if (output_copy(output, slice_of("0123456789012345678901234567890", 31)) < 0)
                failed = true;
        }
        char *room = output ? output_reserve(output, 10000) : NULL;
        failed |= !room;
        if (output)
            output_free(output);
        assert_int_equal(released, lent);
        bool armed = allocation_to_fail > 0;
        allocation_to_fail = 0;
        if (armed) {
            assert_false(failed);
            assert_true(n > 4); /* some did fail before */
            return;
        }
        assert_true(failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_leave_in_their_order),
        cmocka_unit_test(test_a_slow_stream_gets_the_same_bytes),
        cmocka_unit_test(test_a_file_leaves_between_the_others),
        cmocka_unit_test(test_a_file_that_ends_early_is_an_error),
        cmocka_unit_test(test_the_streams_error_is_passed_on),
        cmocka_unit_test(test_many_parts_and_large_bytes),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
