/* Who writes in which chunk. */
#include <string.h>

#include "trace/growth.h"
#include "trace/recording_state.h"

struct recording_chunk *recording_chunk_at(const struct recording *recording, uint64_t i)
{
    char *base = (char *)recording->header + recording->header->chunks_offset;
    return (struct recording_chunk *)(base + i * RECORDING_CHUNK_SIZE);
}

static struct trace_event *chunk_slots(struct recording_chunk *chunk)
{
    return (struct trace_event *)(chunk + 1);
}

void recording_give_chunk(struct recorder *recorder)
{
    struct recording_chunk *chunk = recorder->chunk;
    if (!chunk)
        return;
    struct recording_header *header = recorder->recording->header;
    struct recording_chunk *first = recording_chunk_at(recorder->recording, 0);
    uint32_t number = (uint32_t)(((char *)chunk - (char *)first) / RECORDING_CHUNK_SIZE);
    bool has_room = recorder->next < recorder->end;
    chunk->used = (uint64_t)(recorder->next - chunk_slots(chunk));
    recorder->chunk = NULL;
    recorder->next = recorder->end = NULL;
    /* Release: our slots come before the next holder's; partner: chunk_take. */
    atomic_store_explicit(&chunk->thread, 0, memory_order_release);
    if (has_room)
        atomic_store_explicit(&header->spare, number + 1, memory_order_relaxed); /* a hint */
}

/* Make the chunk ours, if nobody has it. */
static bool chunk_take(struct recording_chunk *chunk, uint32_t thread)
{
    uint32_t nobody = 0;
    /* Acquire: partner of the release in recording_give_chunk. */
    return atomic_compare_exchange_strong_explicit(&chunk->thread, &nobody, thread,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Begin to write in a chunk that is ours now. Sequence numbers go on where its last holder's full
 * generation would have ended, so that no slot ever repeats one. */
static void recorder_enter_chunk(struct recorder *recorder, struct recording_chunk *chunk,
                                 uint64_t order, uint32_t thread)
{
    uint64_t generation =
        atomic_load_explicit(&chunk->generation, memory_order_relaxed); /* ours alone now */
    chunk->first_thread = thread;
    /* Release: a reader that sees the new order sees the new thread; partner: reader_look. */
    atomic_store_explicit(&chunk->order, order, memory_order_release);
    atomic_store_explicit(&chunk->generation, generation + 1, memory_order_release);
    recorder->chunk = chunk;
    recorder->next = chunk_slots(chunk);
    recorder->end = recorder->next + RECORDING_CHUNK_SLOTS;
    recorder->seq = generation * RECORDING_CHUNK_SLOTS * 2 + 2;
}

/* Say that the slots from here on are ours. */
static void recorder_sign(struct recorder *recorder)
{
    struct trace_event *slot = recorder->next++;
    /* As recorder_begin and recorder_commit do. */
    __atomic_store_n(&slot->seq, recorder->seq | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    slot->t0 = slot->t1 = recorder->last;
    slot->result = 0;
    slot->request = 0;
    slot->argument = recorder->thread;
    slot->name = 0;
    slot->fd = -1;
    slot->op = 0;
    slot->kind = TRACE_THREAD;
    slot->flags = 0;
    slot->connection = 0;
    __atomic_store_n(&slot->seq, recorder->seq, __ATOMIC_RELEASE);
    recorder->seq += 2;
}

/* Go on in the chunk that was given back last, if it has room for more than a signature. */
static bool recording_take_spare(struct recorder *recorder)
{
    struct recording_header *header = recorder->recording->header;
    /* Relaxed: a hint. Whoever takes the chunk sees what is in it. */
    uint32_t spare = atomic_exchange_explicit(&header->spare, 0, memory_order_relaxed);
    if (spare == 0)
        return false;
    struct recording_chunk *chunk = recording_chunk_at(recorder->recording, spare - 1);
    if (!chunk_take(chunk, recorder->thread))
        return false;
    if (chunk->used + 2 > RECORDING_CHUNK_SLOTS) {
        /* It was used up since. Release: as in recording_give_chunk. */
        atomic_store_explicit(&chunk->thread, 0, memory_order_release);
        return false;
    }
    uint64_t generation =
        atomic_load_explicit(&chunk->generation, memory_order_relaxed); /* ours alone now */
    recorder->chunk = chunk;
    recorder->next = chunk_slots(chunk) + chunk->used;
    recorder->end = chunk_slots(chunk) + RECORDING_CHUNK_SLOTS;
    recorder->seq = ((generation - 1) * RECORDING_CHUNK_SLOTS + chunk->used) * 2 + 2;
    recorder_sign(recorder);
    return true;
}

bool recording_take_chunk(struct recorder *recorder)
{
    struct recording *recording = recorder->recording;
    struct recording_header *header = recording->header;
    if (!recorder->chunk && recording_take_spare(recorder))
        return true;
    recording_give_chunk(recorder);
    uint64_t order;
    bool is_new = growth_is_open(recording) && growth_add_chunk(recording, &order);
    uint32_t usable = atomic_load_explicit(&recording->usable, memory_order_relaxed);
    for (uint32_t tries = 0; tries < usable; tries++) {
        /* Relaxed: the number is all that is wanted, chunk_take orders the rest. */
        if (!is_new)
            order = atomic_fetch_add_explicit(&header->next_chunk, 1, memory_order_relaxed);
        is_new = false;
        struct recording_chunk *chunk = recording_chunk_at(recording, order % usable);
        if (chunk_take(chunk, recorder->thread)) {
            recorder_enter_chunk(recorder, chunk, order + 1, recorder->thread);
            return true;
        }
    }
    atomic_fetch_add_explicit(&header->dropped, 1, memory_order_relaxed); /* a count for people */
    return false;
}
