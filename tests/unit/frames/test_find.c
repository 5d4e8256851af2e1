#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "frames/find.h"
#include "memory.h"

/* Two types, their names, and what _PyRuntime begins with. */
enum {
    CODE_TYPE = MEMORY_BASE,
    FRAME_TYPE = MEMORY_BASE + 0x100,
    NAMES = MEMORY_BASE + 0x200,
    RUNTIME = MEMORY_BASE + 0x300,
    END = RUNTIME + 0x400,
};

enum { VERSION_3_11 = 0x030B02F0, VERSION_3_13 = 0x030D00F0, VERSION_3_14 = 0x030E03F0 };

static struct frames frames;

static void put_type(uint64_t type, uint64_t name, const char *text, uint64_t size)
{
    memory_put_word(type + 24, name);
    memory_put_word(type + 32, size);
    memory_put(name, text, strlen(text) + 1);
}

static void make(const struct frames_layout *layout)
{
    memset(memory_bytes, 0, memory_len);
    put_type(CODE_TYPE, NAMES, "code", layout->code.size);
    put_type(FRAME_TYPE, NAMES + 16, "frame", layout->frame.size);
}

/* Write that word of _Py_DebugOffsets; the cookie is word 0. */
static void publish(unsigned word, uint64_t value)
{
    memory_put_word(RUNTIME + 8 * (uint64_t)word, value);
}

static void publish_3_13(void)
{
    const struct frames_layout *layout = &frames_layout_3_13;
    memory_put(RUNTIME, "xdebugpy", 8);
    publish(1, VERSION_3_13);
    publish(4, layout->runtime.finalizing + 8);
    publish(5, layout->runtime.interpreters_head + 8);
    publish(9, layout->interpreter.threads_head + 64);
    publish(21, layout->thread.next);
    publish(23, layout->thread.frame);
    publish(24, layout->thread.thread_id);
    publish(25, layout->thread.native_thread_id);
    publish(29, layout->frame.previous);
    publish(30, layout->frame.code);
    publish(31, layout->frame.instruction);
    publish(33, layout->frame.owner);
    publish(35, layout->code.file);
    publish(37, layout->code.name);
    publish(38, layout->code.linetable);
    publish(39, layout->code.first_line);
    publish(43, layout->code.instructions);
}

static int find(uint64_t version)
{
    struct find_symbols symbols = {version, RUNTIME, CODE_TYPE, FRAME_TYPE};
    frames = (struct frames){.pid = 1, .read = memory_read};
    return find_layout(&frames, &symbols);
}

static void test_a_version_that_is_known(void **state)
{
    make(&frames_layout_3_11);
    assert_int_equal(find(VERSION_3_11), 0);
    assert_string_equal(frames.version, "3.11.2");
    assert_memory_equal(&frames.layout, &frames_layout_3_11, sizeof(frames.layout));
}

static void test_what_is_not_known(void **state)
{
    make(&frames_layout_3_11);
    assert_int_equal(find(0x030900F0), -ENOSYS);
    assert_string_equal(frames.version, "3.9.0");
    assert_int_equal(find(0x030F00A1), -ENOSYS);
    assert_string_equal(frames.version, "3.15.0");
    assert_int_equal(find(0), -ENOSYS);
    assert_string_equal(frames.version, "older");
    assert_int_equal(find(UINT64_MAX), -ENOSYS);
    put_type(CODE_TYPE, NAMES, "code", frames_layout_3_11.code.size + 8); /* patched */
    assert_int_equal(find(VERSION_3_11), -ENOSYS);
    make(&frames_layout_3_11);
    put_type(FRAME_TYPE, NAMES + 16, "Frame", frames_layout_3_11.frame.size); /* another's */
    assert_int_equal(find(VERSION_3_11), -ENOSYS);
    make(&frames_layout_3_11);
    memory_put_word(FRAME_TYPE + 24, 8); /* no such address */
    assert_int_equal(find(VERSION_3_11), -ENOSYS);
}

static void test_what_is_published(void **state)
{
    make(&frames_layout_3_13);
    publish_3_13();
    assert_int_equal(find(VERSION_3_13), 0);
    assert_int_equal(frames.layout.runtime.finalizing, frames_layout_3_13.runtime.finalizing + 8);
    assert_int_equal(frames.layout.runtime.interpreters_main,
                     frames_layout_3_13.runtime.interpreters_main + 8);
    assert_int_equal(frames.layout.interpreter.threads_head,
                     frames_layout_3_13.interpreter.threads_head + 64);
    assert_int_equal(find(VERSION_3_13 + 0x100), -ENOSYS); /* not the version that it says */
    assert_int_equal(find(VERSION_3_14), -ENOSYS);
}

static void test_what_is_published_and_not_expected(void **state)
{
    static const struct {
        unsigned word;
        uint64_t value;
    } strange[] = {
        {0, 0},          {2, 1}, /* no cookie; free-threaded */
        {4, UINT64_MAX}, {5, UINT64_MAX}, {4, 0},         {9, 1U << 31},    {23, 80},
        {31, 64},        {33, 0},         {37, 1U << 20}, {43, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(strange) / sizeof(*strange); i++) {
        make(&frames_layout_3_13);
        publish_3_13();
        publish(strange[i].word, strange[i].value);
        assert_int_equal(find(VERSION_3_13), -ENOSYS);
    }
}

static int set_up(void **state)
{
    memory_len = END - MEMORY_BASE;
    memory_bytes = malloc(memory_len);
    return memory_bytes ? 0 : -1;
}

static int tear_down(void **state)
{
    free(memory_bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_version_that_is_known),
        cmocka_unit_test(test_what_is_not_known),
        cmocka_unit_test(test_what_is_published),
        cmocka_unit_test(test_what_is_published_and_not_expected),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
