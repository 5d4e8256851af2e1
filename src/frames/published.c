#include "frames/published.h"

#include "frames/memory.h"

/* Which word of _Py_DebugOffsets is which field of the layout. */
struct published {
    uint8_t word;
    uint8_t field;
    bool may_differ; /* by the machine or the build: it is taken over */
};

#define FIELD(name) offsetof(struct frames_layout, name)

static const struct published published_3_13[] = {
    {4, FIELD(runtime.finalizing), true},
    {5, FIELD(runtime.interpreters_head), true},
    {9, FIELD(interpreter.threads_head), true},
    {21, FIELD(thread.next), false},
    {22, FIELD(thread.interp), false},
    {23, FIELD(thread.frame), false},
    {24, FIELD(thread.thread_id), false},
    {25, FIELD(thread.native_thread_id), false},
    {29, FIELD(frame.previous), false},
    {30, FIELD(frame.code), false},
    {31, FIELD(frame.instruction), false},
    {33, FIELD(frame.owner), false},
    {35, FIELD(code.file), false},
    {37, FIELD(code.name), false},
    {38, FIELD(code.linetable), false},
    {39, FIELD(code.first_line), false},
    {43, FIELD(code.instructions), false},
};

/* The words that come first in all versions. */
enum { WORD_COOKIE, WORD_VERSION, WORD_FREE_THREADED, WORDS = 64 };

/* An offset in _PyRuntime or PyInterpreterState is below this. */
#define LARGE_STRUCT (1 << 20)

int published_apply(struct frames *frames, uint64_t version)
{
    uint64_t words[WORDS];
    int result = memory_copy(frames, frames->runtime, words, sizeof(words));
    if (result < 0)
        return result;
    if (memcmp(&words[WORD_COOKIE], "xdebugpy", 8) != 0 || words[WORD_VERSION] != version ||
        words[WORD_FREE_THREADED] != 0)
        return -ENOSYS;
    for (size_t i = 0; i < sizeof(published_3_13) / sizeof(*published_3_13); i++) {
        const struct published *field = &published_3_13[i];
        uint32_t *known = (uint32_t *)((char *)&frames->layout + field->field);
        if (words[field->word] != *known && !field->may_differ)
            return -ENOSYS;
        if (words[field->word] >= LARGE_STRUCT)
            return -ENOSYS;
        *known = (uint32_t)words[field->word];
    }
    frames->layout.runtime.interpreters_main = frames->layout.runtime.interpreters_head + 8;
    return 0;
}
