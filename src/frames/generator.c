/* Is a frame a generator's (a coroutine's), and has it yielded? */
#include "frames/frames.h"
#include "frames/memory.h"

enum { OWNED_BY_GENERATOR = 1 };

/* PyFrameObject.f_frame, from 3.11 on. */
enum { OBJECT_FRAME = 24 };

/* 3.10: PyFrameObject.f_state. 3.11: PyGenObject.gi_frame_state, which lies before the frame. */
enum { STATE_3_10 = 108, STATE_BEFORE_3_11 = 5, STATE_SUSPENDED = -1 };

static const unsigned char *view(uint64_t address)
{
    return (const unsigned char *)(uintptr_t)address;
}

uint64_t frames_of_object(const struct frames *frames, const void *object)
{
    return frames->layout.version == 0x030A ? (uintptr_t)object : memory_word(object, OBJECT_FRAME);
}

bool frames_is_resumed(const struct frames *frames, uint64_t frame)
{
    const struct frames_layout *layout = &frames->layout;
    if (layout->version == 0x030A) /* f_lasti: -1 at first */
        return (int32_t)memory_int(view(frame), layout->frame.instruction) >= 0;
    if (layout->version != 0x030B || view(frame)[layout->frame.owner] != OWNED_BY_GENERATOR)
        return false;
    uint64_t code = memory_word(view(frame), layout->frame.code);
    uint64_t instruction =
        memory_word(view(frame), layout->frame.instruction) - code - layout->code.instructions;
    /* Its first traceable instruction is the one that begins it. */
    return (int64_t)instruction > 2 * (int64_t)memory_int(view(code), layout->code.first_traceable);
}

bool frames_is_suspended(const struct frames *frames, uint64_t frame)
{
    const struct frames_layout *layout = &frames->layout;
    if (layout->version == 0x030A)
        return (int8_t)view(frame)[STATE_3_10] == STATE_SUSPENDED;
    return layout->version == 0x030B && view(frame)[layout->frame.owner] == OWNED_BY_GENERATOR &&
           (int8_t)view(frame - STATE_BEFORE_3_11)[0] == STATE_SUSPENDED;
}
