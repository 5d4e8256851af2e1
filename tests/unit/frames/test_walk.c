#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "frames/walk.h"
#include "memory.h"

/* Where the parts of the interpreter below lie. */
enum {
    RUNTIME = MEMORY_BASE,
    CODE_TYPE = RUNTIME + 0x400,
    THREAD = CODE_TYPE + 0x100,
    CFRAME = THREAD + 0x100,
    INTERPRETER = CFRAME + 0x40,
    FRAME_0 = INTERPRETER + 0x100, /* a frame each 0x100, then a code object each, then the texts */
    CODE_0 = FRAME_0 + 0x800,
    TEXTS = CODE_0 + 0x800,
    LINETABLE = TEXTS + 0x200,
    END = LINETABLE + 0x100,
};

static struct frames frames;

static uint64_t frame_at(unsigned number)
{
    return FRAME_0 + 0x100 * (uint64_t)number;
}

static uint64_t code_at(unsigned number)
{
    return CODE_0 + 0x100 * (uint64_t)number;
}

static void put_text(uint64_t address, const char *text)
{
    memory_put_word(address + 16, strlen(text));
    memory_put_int(address + 32, 1U << 2 | 1U << 5 | 1U << 6); /* kind 1, compact, ascii */
    memory_put(address + frames.layout.text.ascii_size, text, strlen(text));
}

static void put_code(unsigned number)
{
    uint64_t code = code_at(number);
    memory_put_int(code, 1);
    memory_put_word(code + 8, CODE_TYPE);
    memory_put_int(code + frames.layout.code.first_line, 10 * (number + 1));
    memory_put_int(code + frames.layout.code.first_traceable, 2);
    memory_put_word(code + frames.layout.code.name, TEXTS);
    memory_put_word(code + frames.layout.code.file, TEXTS + 0x100);
    memory_put_word(code + frames.layout.code.linetable, LINETABLE);
}

static void put_frame(unsigned number, uint64_t previous, unsigned char owner, uint32_t at)
{
    uint64_t frame = frame_at(number);
    memory_put_word(frame + frames.layout.frame.code, code_at(number));
    memory_put_word(frame + frames.layout.frame.previous, previous);
    memory_put_word(frame + frames.layout.frame.instruction,
                    code_at(number) + frames.layout.code.instructions + at);
    memory_put(frame + frames.layout.frame.owner, &owner, 1);
}

/* Three frames: 0 was called by 1, 1 by 2. Each instruction of two bytes is a line further on. */
static void make(const struct frames_layout *layout)
{
    static const unsigned char lines[] = {0x80 | 11 << 3, 0, 0, 0x80 | 11 << 3, 0, 0,
                                          0x80 | 11 << 3, 0, 0, 0x80 | 15 << 3};
    memset(memory_bytes, 0, memory_len);
    frames = (struct frames){.pid = 1,
                             .layout = *layout,
                             .runtime = RUNTIME,
                             .code_type = CODE_TYPE,
                             .read = memory_read};
    memory_put_word(RUNTIME + layout->runtime.interpreters_head, INTERPRETER);
    memory_put_word(RUNTIME + layout->runtime.interpreters_main, INTERPRETER);
    bool has_cframe = layout->version < 0x030D;
    memory_put_word(THREAD + layout->thread.frame, has_cframe ? (uint64_t)CFRAME : frame_at(0));
    memory_put_word(CFRAME + layout->cframe_current, frame_at(0));
    put_text(TEXTS, "function");
    put_text(TEXTS + 0x100, "file.py");
    memory_put_word(LINETABLE + 16, sizeof(lines));
    memory_put(LINETABLE + 32, lines, sizeof(lines));
    for (unsigned i = 0; i < 3; i++) {
        put_code(i);
        put_frame(i, i < 2 ? frame_at(i + 1) : 0, 0, 4);
    }
}

static enum frames_end walk_to(struct frames_key *keys, size_t max, size_t *count)
{
    return walk_remote(&frames, THREAD, keys, max, count);
}

static const struct frames_layout *const layouts[] = {&frames_layout_3_11, &frames_layout_3_12,
                                                      &frames_layout_3_13};

static void test_the_whole_stack(void **state)
{
    struct frames_key keys[8];
    size_t count;
    for (size_t i = 0; i < 3; i++) {
        make(layouts[i]);
        assert_int_equal(walk_to(keys, 8, &count), FRAMES_ALL);
        assert_int_equal(count, 3);
        for (unsigned k = 0; k < 3; k++) {
            assert_int_equal(keys[k].code, code_at(k));
            assert_int_equal(keys[k].instruction, 4);
            assert_int_equal(frames_line(&frames, keys[k].code, 4), 10 * (k + 1) + 3);
        }
        assert_int_equal(walk_to(keys, 3, &count), FRAMES_ALL);
        assert_int_equal(walk_to(keys, 2, &count), FRAMES_MORE);
        assert_int_equal(count, 2);
    }
}

static void test_frames_that_are_not_shown(void **state)
{
    struct frames_key keys[8];
    size_t count;
    make(&frames_layout_3_12);
    put_frame(0, frame_at(1), 0, 2); /* before its first traceable instruction */
    put_frame(1, frame_at(2), 3, 4); /* C's */
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_ALL);
    assert_int_equal(count, 1);
    assert_int_equal(keys[0].code, code_at(2));
    put_frame(0, frame_at(1), 1, 2); /* a generator's has always begun */
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_ALL);
    assert_int_equal(count, 2);
    memory_put_word(code_at(2) + 8, RUNTIME); /* something else than a code object */
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_ALL);
    assert_int_equal(count, 1);
    put_frame(0, 0, 3, 0);
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_IDLE);
    assert_int_equal(count, 0);
}

static void test_when_there_are_none_to_be_had(void **state)
{
    const struct frames_layout *layout = &frames_layout_3_11;
    struct frames_key keys[8];
    size_t count;
    make(layout);
    memory_put_word(CFRAME + layout->cframe_current, 0);
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_IDLE);
    make(layout);
    memory_put_word(RUNTIME + layout->runtime.finalizing, THREAD);
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_ALL);
    memory_put_word(RUNTIME + layout->runtime.finalizing, THREAD + 1);
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_ENDING);
    assert_int_equal(count, 0);
    make(layout);
    memory_put_word(RUNTIME + layout->runtime.interpreters_head, INTERPRETER + 8);
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_SUBINTERPRETER);
    assert_int_equal(count, 0);
}

static void test_what_cannot_be_a_stack(void **state)
{
    struct frames_key keys[8];
    size_t count;
    make(&frames_layout_3_12);
    put_frame(2, frame_at(0), 0, 4); /* a circle */
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_UNREADABLE);
    assert_int_equal(count, 0);
    for (unsigned i = 0; i < 3; i++)
        put_frame(i, frame_at((i + 1) % 3), 3, 4);
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_UNREADABLE);
    assert_int_equal(count, 0);
    make(&frames_layout_3_12);
    put_frame(1, 8, 0, 4); /* no such address */
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_UNREADABLE);
    assert_int_equal(count, 0);
    make(&frames_layout_3_12);
    memory_put_word(frame_at(1) + frames.layout.frame.code, UINT64_MAX);
    assert_int_equal(walk_to(keys, 8, &count), FRAMES_UNREADABLE);
}

/* A _PyCFrame that has not got its frame yet has anything: what counts is the one before it. */
static void test_a_call_that_has_just_begun(void **state)
{
    static const uint64_t left_over[] = {0, 8, UINT64_MAX, RUNTIME, CFRAME, FRAME_0 + 8, FRAME_0};
    struct frames_key keys[8];
    size_t count;
    for (size_t i = 0; i < sizeof(left_over) / sizeof(*left_over); i++) {
        const struct frames_layout *layout = i % 2 ? &frames_layout_3_11 : &frames_layout_3_12;
        make(layout);
        put_frame(0, frame_at(0), 0, 4);
        memory_put_word(CFRAME + layout->cframe_current, left_over[i]);
        memory_put_word(CFRAME + layout->cframe_current + 8, CFRAME + 0x18);
        memory_put_word(CFRAME + 0x18 + layout->cframe_current, frame_at(1));
        assert_int_equal(walk_to(keys, 8, &count), FRAMES_ALL);
        assert_int_equal(count, 2);
        assert_int_equal(keys[0].code, code_at(1));
        assert_int_equal(walk_to(keys, 1, &count), FRAMES_MORE);
        assert_int_equal(keys[0].code, code_at(1));
    }
}

static void test_a_code_object(void **state)
{
    char name[32], file[4];
    struct frames_code code = {.name = {name, sizeof(name), 0, false},
                               .file = {file, sizeof(file), 0, false}};
    make(&frames_layout_3_11);
    assert_int_equal(frames_code(&frames, code_at(1), &code), 0);
    assert_int_equal(code.name.len, 8);
    assert_memory_equal(name, "function", 8);
    assert_false(code.name.is_cut);
    assert_memory_equal(file, "file", 4);
    assert_true(code.file.is_cut);
    assert_int_equal(code.first_line, 20);
    memory_put_int(code_at(1), 0); /* being freed */
    assert_int_equal(frames_code(&frames, code_at(1), &code), -EFAULT);
    assert_int_equal(frames_code_key(&frames, code_at(1)), 0);
    assert_int_equal(frames_code(&frames, 8, &code), -EFAULT);
    assert_int_equal(frames_code_key(&frames, 8), 0);
    assert_int_equal(frames_line(&frames, 8, 0), 0);
}

static void test_keys(void **state)
{
    make(&frames_layout_3_11);
    uint64_t key = frames_code_key(&frames, code_at(0));
    assert_int_not_equal(key, 0);
    memory_put(TEXTS + 48 + 7, "N", 1); /* function -> functioN */
    assert_int_not_equal(frames_code_key(&frames, code_at(0)), key);
    make(&frames_layout_3_13);
    key = frames_code_key(&frames, code_at(0));
    memory_put_int(code_at(0) + frames.layout.code.version, 5);
    assert_int_not_equal(frames_code_key(&frames, code_at(0)), key);
}

/* All that may be asked of a memory in which anything may stand. */
static void ask_everything(void)
{
    struct frames_key keys[8];
    char name[40], file[40];
    struct frames_code code = {.name = {name, sizeof(name), 0, false},
                               .file = {file, sizeof(file), 0, false}};
    size_t count;
    enum frames_end end = walk_to(keys, 8, &count);
    assert_true(end <= FRAMES_UNREADABLE);
    assert_true(count <= (end <= FRAMES_MORE ? 8 : 0));
    for (size_t i = 0; i < count; i++) {
        frames_code(&frames, keys[i].code, &code);
        assert_true(code.name.len <= sizeof(name));
        assert_true(code.file.len <= sizeof(file));
        frames_line(&frames, keys[i].code, keys[i].instruction);
        frames_code_key(&frames, keys[i].code);
    }
}

static void test_a_memory_that_is_not_to_be_trusted(void **state)
{
    uint64_t seed = 1;
    for (unsigned turn = 0; turn < 20000; turn++) {
        make(layouts[turn % 3]);
        for (uint64_t i = chance(&seed, 12); i > 0; i--) {
            uint64_t at = MEMORY_BASE + (chance(&seed, memory_len - 8) & ~UINT64_C(7));
            if (chance(&seed, 2) == 0)
                memory_put_word(at, MEMORY_BASE + chance(&seed, memory_len));
            else
                memory_put_int(at + 4 * chance(&seed, 2), (uint32_t)chance(&seed, UINT32_MAX));
        }
        ask_everything();
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
        cmocka_unit_test(test_the_whole_stack),
        cmocka_unit_test(test_frames_that_are_not_shown),
        cmocka_unit_test(test_when_there_are_none_to_be_had),
        cmocka_unit_test(test_what_cannot_be_a_stack),
        cmocka_unit_test(test_a_call_that_has_just_begun),
        cmocka_unit_test(test_a_code_object),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_a_memory_that_is_not_to_be_trusted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
