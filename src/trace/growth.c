#include "trace/growth.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "trace/recording_state.h"

/* glibc before 2.34 does not name it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* What each recording may take, whatever is left of the budget: a process that comes late is seen,
 * too. */
enum { FREE_CHUNKS = 2 };

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

/* What was paid and is not needed. */
static void growth_give_back(struct recording *recording, int64_t len)
{
    if (recording->budget)
        atomic_fetch_add_explicit(recording->budget, len, memory_order_relaxed);
}

int growth_fill(void *memory, size_t len)
{
    if (madvise(memory, len, MADV_POPULATE_WRITE) == 0)
        return 0;
    return errno == EFAULT ? -ENOSPC : -errno; /* EFAULT: a write would be SIGBUS */
}

/* Relaxed: for people, and a fact that comes true once; who misses it tries in vain. */
static bool growth_has_ended(const struct recording *recording)
{
    return atomic_load_explicit(&recording->header->filled_up, memory_order_relaxed) != 0;
}

static void growth_end(struct recording *recording, int code)
{
    atomic_store_explicit(&recording->header->filled_up, (uint32_t)code, memory_order_relaxed);
}

/* Pay and fill; once that has failed it is not tried again. */
static bool growth_try(struct recording *recording, void *memory, size_t len, bool is_free)
{
    if (growth_has_ended(recording))
        return false;
    int result = -EDQUOT;
    if (is_free || growth_pay(recording, (int64_t)len)) {
        result = growth_fill(memory, len);
        if (result < 0 && !is_free)
            growth_give_back(recording, (int64_t)len);
    }
    if (result < 0)
        growth_end(recording, -result);
    return result == 0;
}

size_t growth_segment_size(const struct recording *recording, size_t front, uint32_t number)
{
    size_t left = recording->size - front - (size_t)number * RECORDING_SEGMENT_SIZE;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return left > RECORDING_SEGMENT_SIZE ? RECORDING_SEGMENT_SIZE + page : left;
}

/* Map segment `number`, whose first page the one before it has: an empty part of a shared mapping,
 * made larger, is another mapping of the same file from there on (mremap(2)). That needs no
 * descriptor, and works wherever the program has gone. */
static bool growth_map(struct recording *recording, uint32_t number)
{
    char *before = atomic_load_explicit(&recording->segments[number - 1], memory_order_relaxed);
    size_t size = growth_segment_size(recording, recording->header->chunks_offset, number);
    void *made = mremap(before + RECORDING_SEGMENT_SIZE, 0, size, MREMAP_MAYMOVE);
    char *none = NULL;
    if (made == MAP_FAILED) {
        growth_end(recording, errno);
        return false;
    }
    if (!atomic_compare_exchange_strong_explicit(&recording->segments[number], &none, made,
                                                 memory_order_relaxed, memory_order_relaxed))
        munmap(made, size); /* another has mapped it meanwhile */
    return true;
}

static bool growth_has_segment(struct recording *recording, uint32_t number)
{
    for (uint32_t i = 1; i <= number; i++)
        if (!atomic_load_explicit(&recording->segments[i], memory_order_relaxed) &&
            (growth_has_ended(recording) || !growth_map(recording, i)))
            return false;
    return true;
}

bool growth_has_chunk(struct recording *recording, uint32_t number)
{
    if (!recording->filled)
        return true;
    /* Relaxed: memory that may be written to is so for every thread. */
    if (atomic_load_explicit(&recording->filled[number], memory_order_relaxed))
        return true;
    bool is_free = number < FREE_CHUNKS;
    if (!growth_has_segment(recording, number / RECORDING_SEGMENT_CHUNKS) ||
        !growth_try(recording, recording_chunk_at(recording, number), RECORDING_CHUNK_SIZE,
                    is_free))
        return false;
    if (atomic_exchange_explicit(&recording->filled[number], 1, memory_order_relaxed) && !is_free)
        growth_give_back(recording, RECORDING_CHUNK_SIZE); /* another has filled it meanwhile */
    return true;
}

bool growth_has_names(struct recording *recording, uint32_t end)
{
    struct recording_header *header = recording->header;
    uint32_t ready = atomic_load_explicit(&recording->names_ready, memory_order_relaxed);
    while (ready < end) {
        uint32_t len = header->names_size - ready;
        len = len < RECORDING_CHUNK_SIZE ? len : RECORDING_CHUNK_SIZE;
        if (!growth_try(recording, (char *)header + header->names_offset + ready, len, false))
            return false;
        uint32_t before = ready;
        if (atomic_compare_exchange_strong_explicit(&recording->names_ready, &ready, ready + len,
                                                    memory_order_relaxed, memory_order_relaxed))
            ready = before + len;
        else
            growth_give_back(recording, len);
    }
    return true;
}
