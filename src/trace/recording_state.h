/* The inside of a recording; only trace/ looks here. */
#ifndef ZOLAL_TRACE_RECORDING_STATE_H
#define ZOLAL_TRACE_RECORDING_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "trace/recorder.h"
#include "trace/recording.h"

#define RECORDING_CHUNK_SLOTS (RECORDING_CHUNK_SIZE / sizeof(struct trace_event) - 1)

struct recording {
    struct recording_header *header; /* the mapping's first bytes */
    size_t size;
    _Atomic unsigned users; /* the owner and each recorder: the last one unmaps */
    /* How far it may be written (growth.h), and a lock over that: all of it at once where it does
     * not grow. */
    _Atomic uint32_t usable;      /* chunks */
    _Atomic uint32_t names_ready; /* bytes */
    _Atomic uint32_t growing;
    _Atomic int64_t *budget; /* bytes that are left for it and others, or NULL */
    char path[256];          /* "" for anonymous memory */
};

static_assert(sizeof(struct recording_chunk) == sizeof(struct trace_event),
              "a chunk begins with one slot");
static_assert(sizeof(struct recording_header) <= RECORDING_HEADER_SIZE, "the header fits its page");

/* Give the recorder's chunk back and take the next that no thread holds. False: all are held; the
 * slot that was wanted is counted as dropped. */
bool recording_take_chunk(struct recorder *recorder);

/* A recorder comes, or a user goes. */
void recording_use(struct recording *recording);
void recording_leave(struct recording *recording);

struct recording_chunk *recording_chunk_at(const struct recording *recording, uint64_t number);

/* Give the recorder's chunk back, if it has one. */
void recording_give_chunk(struct recorder *recorder);

#endif
