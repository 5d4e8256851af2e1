#include "trace/growth.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "trace/recording_state.h"

/* glibc before 2.34 does not name it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* What each recording may take, whatever is left of the budget: a process that comes late is seen,
 * too. */
enum { FREE_CHUNKS = 2, FREE_NAMES = RECORDING_CHUNK_SIZE };

/* A thread that has left a signal handler by longjmp(3) may never come back to unlock: then it
 * grows no more. */
enum { LOCK_TRIES = 10000 };

bool growth_is_open(const struct recording *recording)
{
    /* Relaxed: facts that come true once; who misses one asks again under the lock. */
    return atomic_load_explicit(&recording->usable, memory_order_relaxed) <
               recording->header->chunks &&
           atomic_load_explicit(&recording->header->filled_up, memory_order_relaxed) == 0;
}

static bool growth_lock(struct recording *recording)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        uint32_t open = 0;
        /* Acquire: what the last holder has filled is seen; partner: growth_unlock. */
        if (atomic_compare_exchange_strong_explicit(&recording->growing, &open, 1,
                                                    memory_order_acquire, memory_order_relaxed))
            return true;
        sched_yield();
    }
    atomic_store_explicit(&recording->header->filled_up, EDEADLK, memory_order_relaxed);
    return false;
}

static void growth_unlock(struct recording *recording)
{
    /* Release: partner of growth_lock. */
    atomic_store_explicit(&recording->growing, 0, memory_order_release);
}

/* Take from what all recordings share. */
static bool growth_pay(struct recording *recording, int64_t len)
{
    if (!recording->budget)
        return true;
    /* Relaxed: a number that orders nothing. */
    int64_t before = atomic_fetch_sub_explicit(recording->budget, len, memory_order_relaxed);
    if (before >= len)
        return true;
    atomic_fetch_add_explicit(recording->budget, len, memory_order_relaxed);
    return false;
}

int growth_fill(struct recording *recording, size_t at, size_t len)
{
    if (madvise((char *)recording->header + at, len, MADV_POPULATE_WRITE) == 0)
        return 0;
    return errno == EFAULT ? -ENOSPC : -errno; /* EFAULT: a write would be SIGBUS */
}

/* Fill; what fails once is not tried again. For the holder of the lock. */
static bool growth_fill_or_end(struct recording *recording, size_t at, size_t len, bool is_free)
{
    int result = -ENOSPC;
    if (is_free || growth_pay(recording, (int64_t)len))
        result = growth_fill(recording, at, len);
    if (result < 0)
        /* Relaxed: for people, and for growth_is_open. */
        atomic_store_explicit(&recording->header->filled_up, (uint32_t)-result,
                              memory_order_relaxed);
    return result == 0;
}

bool growth_add_chunk(struct recording *recording, uint64_t *order)
{
    struct recording_header *header = recording->header;
    if (!growth_lock(recording))
        return false;
    /* Relaxed: only the lock's holder changes it. */
    uint32_t number = atomic_load_explicit(&recording->usable, memory_order_relaxed);
    size_t at = header->chunks_offset + (size_t)number * RECORDING_CHUNK_SIZE;
    bool added = growth_is_open(recording) &&
                 growth_fill_or_end(recording, at, RECORDING_CHUNK_SIZE, number < FREE_CHUNKS);
    if (added) {
        /* Both go up by one here and only here as long as it grows: chunk N is the N-th taken. */
        atomic_store_explicit(&recording->usable, number + 1, memory_order_relaxed);
        *order = atomic_fetch_add_explicit(&header->next_chunk, 1, memory_order_relaxed);
    }
    growth_unlock(recording);
    return added;
}

bool growth_names_to(struct recording *recording, uint32_t end)
{
    struct recording_header *header = recording->header;
    /* Acquire: the bytes are filled; partner: the release below. */
    uint32_t ready = atomic_load_explicit(&recording->names_ready, memory_order_acquire);
    if (end <= ready)
        return true;
    if (!growth_lock(recording))
        return false;
    ready = atomic_load_explicit(&recording->names_ready, memory_order_relaxed);
    bool filled = true;
    while (filled && ready < end) {
        uint32_t len = header->names_size - ready;
        len = len < RECORDING_CHUNK_SIZE ? len : RECORDING_CHUNK_SIZE;
        filled =
            growth_fill_or_end(recording, header->names_offset + ready, len, ready < FREE_NAMES);
        ready += filled ? len : 0;
    }
    atomic_store_explicit(&recording->names_ready, ready, memory_order_release);
    growth_unlock(recording);
    return filled;
}
