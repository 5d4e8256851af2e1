#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload/environment.h"
#include "preload/process.h"

/* What environment.c asks process.c for. */
static const char *library = "/proc/self/exe";

const char *process_setting(void)
{
    return "/folder:1000";
}

const char *process_library(void)
{
    return library;
}

pid_t process_recorded(void)
{
    return 77;
}

static bool mmap_fails;
void *__real_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t offset);

void *__wrap_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t offset)
{
    return mmap_fails ? MAP_FAILED : __real_mmap64(addr, len, protection, flags, fd, offset);
}

static void check(char *const *from, const char *const *expected)
{
    struct environment *made = environment_make(from);
    assert_non_null(made);
    char *const *entries = environment_entries(made);
    for (; *expected; expected++, entries++) {
        assert_non_null(*entries);
        assert_string_equal(*entries, *expected);
    }
    assert_null(*entries);
    environment_free(made);
}

#define OURS "ZOLAL_TRACE=/folder:1000", "ZOLAL_TRACE_PARENT=77", NULL

static void test_ours_come_last(void **state)
{
    const char *from[] = {"A=1", "LD_PRELOADED=x", "ZOLAL_TRACER=y", "B", NULL};
    const char *expected[] = {
        "A=1", "LD_PRELOADED=x", "ZOLAL_TRACER=y", "B", "LD_PRELOAD=/proc/self/exe", OURS};
    (void)state;
    check((char *const *)(uintptr_t)from, expected);
    const char *alone[] = {"LD_PRELOAD=/proc/self/exe", OURS};
    check(NULL, alone);
}

static void test_the_program_s_libraries_stay(void **state)
{
    const char *from[] = {"LD_PRELOAD=a.so:b.so", "ZOLAL_TRACE=old", "ZOLAL_TRACE_PARENT=1", "A=1",
                          NULL};
    const char *expected[] = {"A=1", "LD_PRELOAD=/proc/self/exe:a.so:b.so", OURS};
    (void)state;
    check((char *const *)(uintptr_t)from, expected);
}

static void test_hidden_again(void **state)
{
    (void)state;
    setenv(PROCESS_VARIABLE, "x", 1);
    setenv(PROCESS_PARENT_VARIABLE, "x", 1);
    setenv("LD_PRELOAD", "/proc/self/exe:a.so", 1);
    environment_hide();
    assert_null(getenv(PROCESS_VARIABLE));
    assert_null(getenv(PROCESS_PARENT_VARIABLE));
    assert_string_equal(getenv("LD_PRELOAD"), "a.so");
    environment_hide(); /* another's is none of ours */
    assert_string_equal(getenv("LD_PRELOAD"), "a.so");
    setenv("LD_PRELOAD", "/proc/self/exe", 1);
    environment_hide();
    assert_null(getenv("LD_PRELOAD"));
}

static void test_what_cannot_be_made(void **state)
{
    (void)state;
    mmap_fails = true;
    assert_null(environment_make(environ));
    mmap_fails = false;
    library = "/nowhere/library.so";
    assert_null(environment_make(environ));
    library = "/proc/self/exe";
    environment_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours_come_last),
        cmocka_unit_test(test_the_program_s_libraries_stay),
        cmocka_unit_test(test_hidden_again),
        cmocka_unit_test(test_what_cannot_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
