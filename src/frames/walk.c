#include "frames/walk.h"

#include "frames/memory.h"

/* More frames than this are no stack. */
enum { STACK_MAX = 1 << 16 };

/* Finds that a chain goes in a circle: one frame in it is marked, the first, second, fourth,
 * eighth... */
struct circle {
    uint64_t marked;
    uint32_t steps;
};

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

/* Where a walk begins, and the frame that it must pass if what it sees is a stack; 0: its end. */
struct start {
    uint64_t frame;
    uint64_t must_pass;
};

/* Is the chain known to be no stack, now that it has come to `frame`? */
INLINE bool is_circle(struct circle *circle, uint64_t frame)
{
    if (frame == circle->marked || circle->steps == STACK_MAX)
        return true;
    if ((circle->steps & (circle->steps + 1)) == 0)
        circle->marked = frame;
    circle->steps++;
    return false;
}

/* Put `words` words at `address` into `into`. */
INLINE bool read_words(const struct frames *frames, bool is_own, uint64_t address, size_t words,
                       uint64_t *into)
{
    unsigned char bytes[16];
    const unsigned char *view = memory_view(frames, is_own, address, bytes, words * 8);
    for (size_t i = 0; view && i < words; i++)
        into[i] = memory_word(view, 8 * i);
    return view != NULL;
}

/* In 3.11 and 3.12 each call of the interpreter's loop has a _PyCFrame on the C stack, for its
 * frames down to the one that was the last before it. A new one can be seen before it has its
 * frame, by a signal handler: then what it points to is left over from another, and does not lead
 * there. */
INLINE bool find_start(const struct frames *frames, bool is_own, uint64_t thread,
                       struct start *start)
{
    uint64_t cframe, previous;
    uint32_t current = frames->layout.cframe_current;
    *start = (struct start){0, 0};
    if (!read_words(frames, is_own, thread + frames->layout.thread.frame, 1, &cframe))
        return false;
    if ((frames->layout.version != 0x030B && frames->layout.version != 0x030C) || cframe == 0) {
        start->frame = cframe;
        return true;
    }
    if (is_own)
        return read_words(frames, is_own, cframe + current, 1, &start->frame);
    return read_words(frames, is_own, cframe + current, 1, &start->frame) &&
           read_words(frames, is_own, cframe + current + 8, 1, &previous) &&
           (previous == 0 || read_words(frames, is_own, previous + current, 1, &start->must_pass));
}

INLINE enum frames_end walk_from(const struct frames *frames, bool is_own, struct start *start,
                                 struct frames_key *keys, size_t max, size_t *count)
{
    struct seen seen;
    struct circle circle = {0, 0};
    size_t shown = 0;
    uint64_t frame = start->frame;
    for (; frame != 0; frame = seen.previous) {
        start->must_pass = frame == start->must_pass ? 0 : start->must_pass;
        if ((!is_own && is_circle(&circle, frame)) || !see_frame(frames, is_own, frame, &seen))
            return FRAMES_UNREADABLE;
        if (!seen.is_shown)
            continue;
        if (shown == max)
            break;
        keys[shown++] = seen.key;
    }
    start->frame = frame;
    *count = shown;
    return frame != 0 ? FRAMES_MORE : shown > 0 ? FRAMES_ALL : FRAMES_IDLE;
}

/* Loads, where nothing can be wrong. */
static enum frames_end walk_own(const struct frames *frames, uint64_t thread,
                                struct frames_key *keys, size_t max, size_t *count)
{
    struct start start;
    enum frames_end end = may_walk(frames, true, thread);
    if (end != FRAMES_ALL)
        return end;
    find_start(frames, true, thread, &start);
    return walk_from(frames, true, &start, keys, max, count);
}

/* Does the rest of a stack, after the frames that were asked for, pass there? */
static bool passes(const struct frames *frames, struct start rest)
{
    struct circle circle = {0, 0};
    while (rest.frame != 0 && rest.must_pass != 0) {
        if (rest.frame == rest.must_pass)
            return true;
        if (is_circle(&circle, rest.frame) ||
            !read_words(frames, false, rest.frame + frames->layout.frame.previous, 1, &rest.frame))
            return false;
    }
    return rest.must_pass == 0;
}

enum frames_end walk_remote(const struct frames *frames, uint64_t thread, struct frames_key *keys,
                            size_t max, size_t *count)
{
    struct start start;
    *count = 0;
    enum frames_end end = may_walk(frames, false, thread);
    if (end != FRAMES_ALL)
        return end;
    if (!find_start(frames, false, thread, &start))
        return FRAMES_UNREADABLE;
    end = walk_from(frames, false, &start, keys, max, count);
    if (passes(frames, start))
        return end;
    start = (struct start){start.must_pass, 0};
    *count = 0;
    return walk_from(frames, false, &start, keys, max, count);
}

enum frames_end frames_walk(const struct frames *frames, struct frames_key *keys, size_t max,
                            size_t *count)
{
    *count = 0;
    uint64_t thread = (uintptr_t)frames->thread_state();
    if (thread == 0)
        return FRAMES_NO_THREAD;
    struct memory_guard guard;
    const struct frames *guarded = memory_guarded(&guard, frames);
    return guarded->read ? walk_remote(guarded, thread, keys, max, count)
                         : walk_own(guarded, thread, keys, max, count);
}

/* The frame itself, or the first around it that is not one of C. */
static uint64_t skip_c(const struct frames_layout *layout, uint64_t frame)
{
    while (frame != 0 && layout->version >= 0x030C &&
           ((const unsigned char *)(uintptr_t)frame)[layout->frame.owner] >= OWNED_BY_C)
        frame = memory_word((const void *)(uintptr_t)frame, layout->frame.previous);
    return frame;
}

uint64_t frames_top(const struct frames *frames, const void *thread)
{
    struct start start;
    bool is_read = find_start(frames, true, (uintptr_t)thread, &start);
    return is_read ? skip_c(&frames->layout, start.frame) : 0;
}

bool frames_is_ending(const struct frames *frames, const void *thread)
{
    return may_walk(frames, true, (uintptr_t)thread) == FRAMES_ENDING;
}

uint64_t frames_outer(const struct frames *frames, uint64_t frame)
{
    const struct frames_layout *layout = &frames->layout;
    return skip_c(layout, memory_word((const void *)(uintptr_t)frame, layout->frame.previous));
}

uint64_t frames_step(const struct frames *frames, uint64_t frame, uint64_t *outer)
{
    struct seen seen;
    bool is_seen = see_frame(frames, true, frame, &seen);
    *outer = is_seen ? seen.previous : 0;
    return is_seen && seen.is_shown ? seen.key.code : 0;
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
