#include "frames/walk.h"

#include "frames/memory.h"

#define INLINE static inline __attribute__((always_inline))

/* _frameowner: who has the frame. From OWNED_BY_C on there is no Python code in it: 3.12 and later
 * put such a one where C calls Python. */
enum { OWNED_BY_GENERATOR = 1, OWNED_BY_C = 3 };

/* Bits that 3.14 keeps in a reference; no object's address has them. */
#define TAG_BITS UINT64_C(7)

/* What one frame says. `is_shown`: it is Python code that has begun. */
struct seen {
    struct frames_key key;
    uint64_t previous;
    bool is_shown;
};

/* How much of a frame is read. */
INLINE size_t frame_len(const struct frames_layout *layout)
{
    size_t end = layout->frame.instruction + 8;
    return layout->frame.owner >= end ? layout->frame.owner + 1 : end;
}

/* Where the frame stands in its code, in bytes; negative before the beginning. */
INLINE int64_t frame_instruction(const struct frames_layout *layout, const unsigned char *frame,
                                 uint64_t code)
{
    if (layout->version == 0x030A)
        return 2 * (int64_t)(int32_t)memory_int(frame, layout->frame.instruction);
    uint64_t pointer = memory_word(frame, layout->frame.instruction);
    return (int64_t)(pointer - code - layout->code.instructions);
}

/* A frame that is not a generator's has not begun before its code's first traceable instruction
 * (_PyFrame_IsIncomplete): it is still making its cells, and Python itself does not show it. */
INLINE bool has_begun(const struct frames_layout *layout, const unsigned char *frame,
                      const unsigned char *code, int64_t instruction)
{
    if (layout->version == 0x030A)
        return true;
    return frame[layout->frame.owner] == OWNED_BY_GENERATOR ||
           instruction >= 2 * (int64_t)memory_int(code, layout->code.first_traceable);
}

INLINE bool see_frame(const struct frames *frames, bool is_own, uint64_t address, struct seen *seen)
{
    unsigned char frame_bytes[FRAMES_STRUCT_MAX], code_bytes[FRAMES_STRUCT_MAX];
    const struct frames_layout *layout = &frames->layout;
    const unsigned char *frame =
        memory_view(frames, is_own, address, frame_bytes, frame_len(layout));
    if (!frame)
        return false;
    seen->previous = memory_word(frame, layout->frame.previous);
    seen->key.code = memory_word(frame, layout->frame.code) & ~TAG_BITS;
    seen->is_shown = seen->key.code != 0 &&
                     (layout->version == 0x030A || frame[layout->frame.owner] < OWNED_BY_C);
    if (!seen->is_shown)
        return true;
    const unsigned char *code =
        memory_view(frames, is_own, seen->key.code, code_bytes, layout->code.size);
    if (!code)
        return false;
    int64_t instruction = frame_instruction(layout, frame, seen->key.code);
    seen->is_shown = memory_word(code, OBJECT_TYPE) == frames->code_type &&
                     has_begun(layout, frame, code, instruction);
    seen->key.instruction = instruction > 0 ? (uint64_t)instruction : 0;
    return true;
}

/* May the thread's frames be looked at? While the interpreter ends those of other threads are
 * freed; and with more than one interpreter the state of a thread (the first that it had) does not
 * say which of them it is in. */
INLINE enum frames_end may_walk(const struct frames *frames, bool is_own, uint64_t thread)
{
    unsigned char bytes[FRAMES_STRUCT_MAX];
    uint32_t first = frames->layout.runtime.finalizing; /* of the three words */
    const unsigned char *runtime =
        memory_view(frames, is_own, frames->runtime + first, bytes,
                    frames->layout.runtime.interpreters_main + 8 - first);
    if (!runtime)
        return FRAMES_UNREADABLE;
    uint64_t finalizing = memory_word(runtime, 0);
    if (finalizing != 0 && finalizing != thread)
        return FRAMES_ENDING;
    return memory_word(runtime, frames->layout.runtime.interpreters_head - first) ==
                   memory_word(runtime, frames->layout.runtime.interpreters_main - first)
               ? FRAMES_ALL
               : FRAMES_SUBINTERPRETER;
}

/* Put the address of the thread's innermost frame, or 0, into `*frame`. */
INLINE bool first_frame(const struct frames *frames, bool is_own, uint64_t thread, uint64_t *frame)
{
    unsigned char bytes[8];
    const unsigned char *word =
        memory_view(frames, is_own, thread + frames->layout.thread.frame, bytes, 8);
    if (!word)
        return false;
    *frame = memory_word(word, 0);
    if ((frames->layout.version != 0x030B && frames->layout.version != 0x030C) || *frame == 0)
        return true;
    word = memory_view(frames, is_own, *frame + frames->layout.cframe_current, bytes, 8);
    if (!word)
        return false;
    *frame = memory_word(word, 0);
    return true;
}

INLINE enum frames_end walk(const struct frames *frames, bool is_own, uint64_t thread,
                            struct frames_key *keys, size_t max, size_t *count)
{
    struct seen seen;
    uint64_t frame;
    size_t shown = 0;
    /* Between two frames of Python lies at most one that C called it through, and few have not
     * begun: more of them are a circle. */
    size_t hidden_max = max + 64;
    enum frames_end end = may_walk(frames, is_own, thread);
    if (end != FRAMES_ALL)
        return end;
    if (!first_frame(frames, is_own, thread, &frame))
        return FRAMES_UNREADABLE;
    for (; frame != 0; frame = seen.previous) {
        if (!see_frame(frames, is_own, frame, &seen))
            return FRAMES_UNREADABLE;
        if (!seen.is_shown) {
            if (hidden_max-- == 0)
                return FRAMES_UNREADABLE;
            continue;
        }
        if (shown == max) {
            *count = shown;
            return FRAMES_MORE;
        }
        keys[shown++] = seen.key;
    }
    *count = shown;
    return shown > 0 ? FRAMES_ALL : FRAMES_IDLE;
}

enum frames_end frames_walk(const struct frames *frames, struct frames_key *keys, size_t max,
                            size_t *count)
{
    *count = 0;
    uint64_t thread = (uintptr_t)frames->thread_state();
    return thread ? walk(frames, true, thread, keys, max, count) : FRAMES_NO_THREAD;
}

enum frames_end walk_remote(const struct frames *frames, uint64_t thread, struct frames_key *keys,
                            size_t max, size_t *count)
{
    *count = 0;
    return walk(frames, false, thread, keys, max, count);
}

const char *frames_end_text(enum frames_end end)
{
    static const char *const texts[] = {
        [FRAMES_ALL] = "the whole stack",
        [FRAMES_MORE] = "a part of the stack",
        [FRAMES_NO_THREAD] = "the thread is not one of Python's",
        [FRAMES_IDLE] = "no Python code is running",
        [FRAMES_ENDING] = "the interpreter is ending",
        [FRAMES_SUBINTERPRETER] = "there are subinterpreters",
        [FRAMES_UNREADABLE] = "the frames cannot be read",
    };
    return texts[end];
}
