#include "frames/published.h"

#include "frames/memory.h"

/* Which word of _Py_DebugOffsets is which field of the layout. */
struct published {
    uint8_t word_3_13, word_3_14;
    uint8_t field;
    bool may_differ; /* by the machine or the build: it is taken over */
};

#define FIELD(name) offsetof(struct frames_layout, name)

static const struct published published[] = {
    {4, 4, FIELD(runtime.finalizing), true},
    {5, 5, FIELD(runtime.interpreters_head), true},
    {9, 9, FIELD(interpreter.threads_head), true},
    {21, 24, FIELD(thread.next), false},
    {23, 26, FIELD(thread.frame), false},
    {24, 27, FIELD(thread.thread_id), false},
    {25, 28, FIELD(thread.native_thread_id), false},
    {29, 32, FIELD(frame.previous), false},
    {30, 33, FIELD(frame.code), false},
    {31, 34, FIELD(frame.instruction), false},
    {33, 36, FIELD(frame.owner), false},
    {35, 40, FIELD(code.file), false},
    {37, 42, FIELD(code.name), false},
    {38, 43, FIELD(code.linetable), false},
    {39, 44, FIELD(code.first_line), false},
    {43, 48, FIELD(code.instructions), false},
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
    for (size_t i = 0; i < sizeof(published) / sizeof(*published); i++) {
        const struct published *field = &published[i];
        uint64_t offset =
            words[frames->layout.version == 0x030D ? field->word_3_13 : field->word_3_14];
        uint32_t *known = (uint32_t *)((char *)&frames->layout + field->field);
        if (field->may_differ ? offset >= LARGE_STRUCT : offset != *known)
            return -ENOSYS;
        *known = (uint32_t)offset;
    }
    /* What lies between these three is read in one piece. */
    if (frames->layout.runtime.interpreters_head - frames->layout.runtime.finalizing > 128)
        return -ENOSYS;
    frames->layout.runtime.interpreters_main = frames->layout.runtime.interpreters_head + 8;
    return 0;
}
