/* The inside of a recording; only trace/ looks here. */
#ifndef ZOLAL_TRACE_RECORDING_STATE_H
#define ZOLAL_TRACE_RECORDING_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "trace/recorder.h"
#include "trace/recording.h"

#define RECORDING_CHUNK_SLOTS (RECORDING_CHUNK_SIZE / sizeof(struct trace_event) - 1)

/* One that grows is mapped by and by, so many chunks at a time: a program may have little room for
 * addresses (setrlimit(2), RLIMIT_AS). */
#define RECORDING_SEGMENT_CHUNKS 64
#define RECORDING_SEGMENT_SIZE   (RECORDING_SEGMENT_CHUNKS * RECORDING_CHUNK_SIZE)
#define RECORDING_SIZE_MOST      (UINT32_MAX / 2) /* offsets are 32 bits wide */
#define RECORDING_SEGMENTS_MOST  (RECORDING_SIZE_MOST / RECORDING_SEGMENT_SIZE + 1)

struct recording {
    struct recording_header *header; /* the mapping's first bytes */
    size_t size;
    size_t front_mapped; /* bytes that are mapped from the header on */
    /* The first chunk of each segment; NULL: it is not mapped (growth.h). */
    _Atomic(char *) segments[RECORDING_SEGMENTS_MOST];
    _Atomic unsigned users; /* the owner and each recorder: the last one unmaps */
    /* What may be written to (growth.h). */
    _Atomic uint8_t *filled;      /* of each chunk: may it be? NULL: all, it does not grow */
    _Atomic uint32_t names_ready; /* bytes */
    _Atomic int64_t *budget;      /* bytes that are left for it and others, or NULL */
    size_t mapped;                /* this struct is mapped, with what follows it; 0: allocated */
    char path[256];               /* "" for anonymous memory */
};

static_assert(sizeof(struct recording_chunk) == sizeof(struct trace_event),
              "a chunk begins with one slot");
static_assert(sizeof(struct recording_header) <= RECORDING_HEADER_SIZE, "the header fits its page");

static inline struct recording_chunk *recording_chunk_at(const struct recording *recording,
                                                         uint64_t number)
{
    /* Relaxed: a number that a thread knows is of a segment that it has mapped, or knows from one
     * that has; what is in the chunk is ordered by chunk_take. */
    char *first = atomic_load_explicit(&recording->segments[number / RECORDING_SEGMENT_CHUNKS],
                                       memory_order_relaxed);
    return (struct recording_chunk *)(first +
                                      number % RECORDING_SEGMENT_CHUNKS * RECORDING_CHUNK_SIZE);
}

/* The recorder's position was `at`, where no room was left: give its chunk back and take the next
 * that no thread holds. False: all are held. True: try again. */
bool recorder_next_chunk(struct recorder *recorder, uint64_t at);

/* A recorder comes, or a user goes. */
void recording_use(struct recording *recording);
void recording_leave(struct recording *recording);

/* Give the recorder's chunk back, if it has one. */
void recorder_give_chunk(struct recorder *recorder);

/* Slots that are the recorder's, to be written one after another. */
struct writing {
    struct trace_event *slot; /* the next */
    uint64_t seq;             /* of it */
};

/* Those from position `at` on. */
static inline struct writing writing_at(const struct recording *recording, uint64_t at)
{
    struct recording_chunk *chunk = recording_chunk_at(recording, (at >> 32) - 1);
    /* Relaxed: the chunk is ours. */
    uint64_t generation = atomic_load_explicit(&chunk->generation, memory_order_relaxed);
    uint32_t index = (uint32_t)at;
    return (struct writing){(struct trace_event *)(chunk + 1) + index,
                            ((generation - 1) * RECORDING_CHUNK_SLOTS + index) * 2 + 2};
}

/* Begin to write the next slot. */
static inline struct trace_event *writing_open(const struct writing *writing)
{
    struct trace_event *slot = writing->slot;
    /* Odd: a reader that copies the slot from now on throws its copy away. The fence keeps the
     * writes that follow behind this store; partner: the acquire fence before the reader's second
     * look. */
    __atomic_store_n(&slot->seq, writing->seq | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    return slot;
}

/* It is whole. Release: its bytes are seen before this; partner: the reader's first look. */
static inline void writing_commit(struct writing *writing)
{
    __atomic_store_n(&writing->slot->seq, writing->seq, __ATOMIC_RELEASE);
    writing->slot++;
    writing->seq += 2;
}

#endif
