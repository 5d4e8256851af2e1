/* Who writes in which chunk. A signal handler may come in between at any place here, record, and
 * take a chunk for its thread; it may also leave for good (longjmp(3)). */
#include <string.h>

#include "trace/growth.h"
#include "trace/recording_state.h"

/* A recorder without a chunk: no room. */
#define NOWHERE ((uint64_t)RECORDING_CHUNK_SLOTS)

static uint64_t position(uint32_t number, uint64_t slots)
{
    return ((uint64_t)number + 1) << 32 | slots;
}

/* Note a chunk that has room. Where there is no place another one is forgotten: its turn comes when
 * it is the oldest. Relaxed: hints; whoever takes a chunk sees what is in it. */
static void spare_add(struct recording_header *header, uint32_t number)
{
    for (size_t i = 0; i < RECORDING_SPARES; i++) {
        uint32_t none = 0;
        if (atomic_load_explicit(&header->spares[i], memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(&header->spares[i], &none, number + 1,
                                                    memory_order_relaxed, memory_order_relaxed))
            return;
    }
    atomic_store_explicit(&header->spares[number % RECORDING_SPARES], number + 1,
                          memory_order_relaxed);
}

/* Make the chunk nobody's: `used` of its slots are taken. */
static void chunk_give(struct recording *recording, uint32_t number, uint32_t used)
{
    struct recording_chunk *chunk = recording_chunk_at(recording, number);
    chunk->used = used < RECORDING_CHUNK_SLOTS ? used : RECORDING_CHUNK_SLOTS;
    /* Release: our slots come before the next holder's; partner: chunk_take. */
    atomic_store_explicit(&chunk->thread, 0, memory_order_release);
    if (used < RECORDING_CHUNK_SLOTS)
        spare_add(recording->header, number);
}

void recorder_give_chunk(struct recorder *recorder)
{
    uint64_t at = __atomic_exchange_n(&recorder->position, NOWHERE, __ATOMIC_RELAXED);
    if (at >> 32 != 0)
        chunk_give(recorder->recording, (uint32_t)(at >> 32) - 1, (uint32_t)at);
}

/* Make the chunk ours, if nobody has it. */
static bool chunk_take(struct recording_chunk *chunk, uint32_t thread)
{
    uint32_t nobody = 0;
    /* Acquire: partner of the release in chunk_give. */
    if (!atomic_compare_exchange_strong_explicit(&chunk->thread, &nobody, thread,
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    chunk->under_way.t0 = 0; /* the last holder's */
    return true;
}

/* Begin a chunk anew that is ours now. Sequence numbers go on where its last holder's full
 * generation would have ended, so that no slot ever repeats one. */
static void chunk_begin(struct recording_chunk *chunk, uint64_t order, uint32_t thread)
{
    uint64_t generation =
        atomic_load_explicit(&chunk->generation, memory_order_relaxed); /* ours alone now */
    chunk->first_thread = thread;
    /* Release: a reader that sees the new order sees the new thread; partner: reader_look. */
    atomic_store_explicit(&chunk->order, order, memory_order_release);
    atomic_store_explicit(&chunk->generation, generation + 1, memory_order_release);
}

/* A slot that tells nobody anything (TRACE_EMPTY), or whose the slots behind it are (TRACE_THREAD).
 */
static void write_plain(struct writing *writing, const struct recorder *recorder,
                        enum trace_kind kind)
{
    struct trace_event *slot = writing_open(writing);
    slot->t0 = slot->t1 = recorder->last;
    slot->result = 0;
    slot->request = 0;
    slot->argument = recorder->thread;
    slot->name = 0;
    slot->fd = -1;
    slot->op = 0;
    slot->kind = (uint8_t)kind;
    slot->flags = 0;
    slot->connection = 0;
    writing_commit(writing);
}

/* Go on in chunk `number`, if nobody has it and it has room for more than a signature. Returns the
 * position, or NOWHERE. */
static uint64_t spare_take(const struct recorder *recorder, uint32_t number)
{
    struct recording_chunk *chunk = recording_chunk_at(recorder->recording, number);
    if (!chunk_take(chunk, recorder->thread))
        return NOWHERE;
    if (chunk->used + 2 > RECORDING_CHUNK_SLOTS) {
        /* It was used up since. Release: as in chunk_give. */
        atomic_store_explicit(&chunk->thread, 0, memory_order_release);
        return NOWHERE;
    }
    uint64_t at = position(number, chunk->used);
    struct writing writing = writing_at(recorder->recording, at);
    write_plain(&writing, recorder, TRACE_THREAD);
    return at + 1;
}

/* One that was given back with room. */
static uint64_t take_spare(const struct recorder *recorder)
{
    struct recording_header *header = recorder->recording->header;
    uint64_t taken = NOWHERE;
    for (size_t i = 0; i < RECORDING_SPARES && taken == NOWHERE; i++) {
        /* Relaxed: as in spare_add. */
        uint32_t spare = atomic_load_explicit(&header->spares[i], memory_order_relaxed);
        if (spare != 0 &&
            atomic_compare_exchange_strong_explicit(&header->spares[i], &spare, 0,
                                                    memory_order_relaxed, memory_order_relaxed))
            taken = spare_take(recorder, spare - 1);
    }
    return taken;
}

/* The oldest chunk that nobody holds, or one that was never used. */
static uint64_t take_oldest(const struct recorder *recorder)
{
    struct recording *recording = recorder->recording;
    struct recording_header *header = recording->header;
    for (uint32_t tries = 0; tries < header->chunks; tries++) {
        /* Relaxed: the number is all that is wanted, chunk_take orders the rest. */
        uint64_t order = atomic_fetch_add_explicit(&header->next_chunk, 1, memory_order_relaxed);
        uint32_t number = (uint32_t)(order % header->chunks);
        if (!growth_has_chunk(recording, number))
            continue;
        struct recording_chunk *chunk = recording_chunk_at(recording, number);
        if (chunk_take(chunk, recorder->thread)) {
            chunk_begin(chunk, order + 1, recorder->thread);
            return position(number, 0);
        }
    }
    return NOWHERE;
}

/* Nobody reads on behind a slot that is not written. */
static void fill_rest(const struct recorder *recorder, uint64_t at)
{
    if (at >> 32 == 0)
        return;
    struct writing writing = writing_at(recorder->recording, at);
    for (uint32_t slot = (uint32_t)at; slot < RECORDING_CHUNK_SLOTS; slot++)
        write_plain(&writing, recorder, TRACE_EMPTY);
}

bool recorder_next_chunk(struct recorder *recorder, uint64_t at)
{
    fill_rest(recorder, at);
    /* What stands there now is beyond `at`, or a signal handler's. */
    uint64_t now = __atomic_load_n(&recorder->position, __ATOMIC_RELAXED);
    if (now >> 32 != at >> 32)
        return true;
    recorder_give_chunk(recorder);
    uint64_t taken = at >> 32 == 0 ? take_spare(recorder) : NOWHERE;
    if (taken == NOWHERE)
        taken = take_oldest(recorder);
    if (taken == NOWHERE)
        return false;
    now = __atomic_load_n(&recorder->position, __ATOMIC_RELAXED);
    if (now >> 32 == 0)
        __atomic_store_n(&recorder->position, taken, __ATOMIC_RELAXED);
    else /* a signal handler has taken one */
        chunk_give(recorder->recording, (uint32_t)(taken >> 32) - 1, (uint32_t)taken);
    return true;
}
