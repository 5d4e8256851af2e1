#include "preload/stacks.h"

#include <errno.h>

#include "frames/frames.h"
#include "preload/process.h"
#include "stacks/numbers.h"

enum { SEARCHES_MOST = 4096 }; /* between two of them, in calls */

/* One a process. `frames` is written by the one thread that searches. */
static struct {
    struct numbers numbers;
    struct frames frames;
    _Atomic uint32_t is_found; /* frames are known */
    _Atomic uint32_t searching;
    _Atomic uint32_t calls_to_go; /* until the next search */
    uint32_t pause;               /* calls between this search and the next */
    bool is_unknown;              /* there is one, of a version that is not known */
} self;

bool stacks_init(void)
{
    return numbers_init(&self.numbers);
}

void stacks_forget(void)
{
    numbers_forget(&self.numbers);
    /* A thread that was searching is not here. */
    atomic_store_explicit(&self.searching, 0, memory_order_relaxed);
}

uint32_t stacks_name(const char *name, size_t len)
{
    return numbers_name(&self.numbers, name, len);
}

uint32_t stacks_place(uint32_t name, uint32_t line)
{
    return numbers_line(&self.numbers, name, line);
}

uint32_t stacks_code(uint64_t code, uint64_t key)
{
    return numbers_code(&self.numbers, &self.frames, code, key);
}

void stacks_describe(struct recording_header *header)
{
    numbers_describe(header, &self.frames, self.is_unknown);
}

/* Search for an interpreter: at once, then ever more rarely, since a program may load one late. */
static bool search(void)
{
    /* Relaxed: a count that need not be exact. */
    if (atomic_load_explicit(&self.calls_to_go, memory_order_relaxed) > 0) {
        atomic_fetch_sub_explicit(&self.calls_to_go, 1, memory_order_relaxed);
        return false;
    }
    uint32_t nobody = 0;
    if (!atomic_compare_exchange_strong_explicit(&self.searching, &nobody, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    int result = frames_find(&self.frames);
    self.is_unknown = result == -ENOSYS;
    stacks_describe(recording_header_of(process_here.recording));
    self.pause = self.pause < SEARCHES_MOST ? self.pause * 2 + 1 : SEARCHES_MOST;
    atomic_store_explicit(&self.calls_to_go, self.is_unknown ? UINT32_MAX : self.pause,
                          memory_order_relaxed);
    /* Release: `frames` is written; partner: the acquire in stacks_here. */
    atomic_store_explicit(&self.is_found, result == 0, memory_order_release);
    atomic_store_explicit(&self.searching, 0, memory_order_release);
    return result == 0;
}

const struct frames *stacks_frames(void)
{
    /* Acquire: as in stacks_here. */
    bool is_known = atomic_load_explicit(&self.is_found, memory_order_acquire) || search();
    return is_known ? &self.frames : NULL;
}

uint32_t stacks_here(void)
{
    struct frames_key keys[TRACE_FRAMES_MAX];
    size_t count = 0;
    if (!atomic_load_explicit(&self.is_found, memory_order_acquire) && !search())
        return 0;
    enum frames_end end = frames_walk(&self.frames, keys, TRACE_FRAMES_MAX, &count);
    numbers_note(recording_header_of(process_here.recording), end);
    if (end > FRAMES_MORE || count == 0)
        return 0;
    return numbers_stack(&self.numbers, &self.frames, keys, count, end == FRAMES_MORE);
}
