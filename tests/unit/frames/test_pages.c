/* Copies of pages, of this process's own memory: a thread may read that as a tracer does. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "frames/memory.h"

enum { PAGE = FRAMES_PAGE_SIZE };

static struct frames_pages pages;
static struct frames frames;
static unsigned char *memory; /* more pages than have a place */

static int make_memory(void **state)
{
    frames = (struct frames){.pid = getpid(), .read = memory_read_process};
    pages = (struct frames_pages){0};
    memory = mmap(NULL, (FRAMES_PAGES + 2) * PAGE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? -1 : 0;
}

static int free_memory(void **state)
{
    return munmap(memory, (FRAMES_PAGES + 2) * PAGE);
}

static int byte_at(size_t at)
{
    unsigned char byte;
    return memory_copy(&frames, (uintptr_t)memory + at, &byte, 1) == 0 ? byte : -1;
}

static void test_a_walk_sees_what_it_has_seen(void **state)
{
    memory[5] = 1;
    frames_read_pages(&frames, &pages, 1);
    assert_int_equal(byte_at(5), 1);
    memory[5] = 2;
    assert_int_equal(byte_at(5), 1);
    frames_read_pages(&frames, &pages, 1); /* the next sees what is there then */
    memory[5] = 3;
    assert_int_equal(byte_at(5), 2);
    frames_read_pages(&frames, &pages, 2); /* another's pages are not looked at in advance */
    memory[5] = 4;
    assert_int_equal(byte_at(5), 4);
}

static void test_pages_that_lie_side_by_side(void **state)
{
    unsigned char got[PAGE + 2];
    memory[PAGE - 1] = 7;
    memory[2 * PAGE] = 8;
    frames_read_pages(&frames, &pages, 1);
    assert_int_equal(memory_copy(&frames, (uintptr_t)memory + PAGE - 1, got, sizeof(got)), 0);
    assert_int_equal(got[0], 7);
    assert_int_equal(got[PAGE + 1], 8);
}

static void test_more_pages_than_have_a_place(void **state)
{
    for (int i = 0; i < FRAMES_PAGES + 2; i++)
        memory[i * PAGE] = (unsigned char)i;
    for (int round = 0; round < 3; round++) {
        frames_read_pages(&frames, &pages, 1);
        for (size_t i = 0; i < FRAMES_PAGES + 2; i++)
            assert_int_equal(byte_at(i * PAGE), i);
    }
}

static void test_pages_that_are_gone(void **state)
{
    frames_read_pages(&frames, &pages, 1);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(byte_at(i * PAGE), 0);
    assert_int_equal(mprotect(memory + PAGE, PAGE, PROT_NONE), 0);
    memory[0] = memory[2 * PAGE] = 9;
    frames_read_pages(&frames, &pages, 1);
    assert_int_equal(byte_at(0), 9);
    assert_int_equal(byte_at(PAGE), -1);
    assert_int_equal(byte_at(2 * PAGE), 9);
    assert_int_equal(memory_copy(&frames, 0, &(char){0}, 1), -EFAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_walk_sees_what_it_has_seen, make_memory,
                                        free_memory),
        cmocka_unit_test_setup_teardown(test_pages_that_lie_side_by_side, make_memory, free_memory),
        cmocka_unit_test_setup_teardown(test_more_pages_than_have_a_place, make_memory,
                                        free_memory),
        cmocka_unit_test_setup_teardown(test_pages_that_are_gone, make_memory, free_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
