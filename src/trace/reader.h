/* Reading a recording, live or after its process is gone, without disturbing the writer. */
#ifndef ZOLAL_TRACE_READER_H
#define ZOLAL_TRACE_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "trace/recording.h"

/* One event with what belongs to it, as a reader hands it out. */
struct reader_event {
    struct trace_event event; /* kind is never TRACE_ARGS; TRACE_LOST is made here; a
                                 TRACE_PYTHON_WHOLE is one call, t0..t1, its place in `name` */
    unsigned char args[144];  /* of up to three ARGS slots, joined */
    size_t args_len;
    uint32_t thread; /* gettid(2) of the writer */
};

struct reader;

/* Open the recording at `path`, which begins at byte `offset` of the file, read-only. Returns 0 and
 * sets `*reader`, owned by the caller; -errno with `err` filled: no such file, not a recording
 * (EINVAL), of another version (EPROTO), cut short (EINVAL). A hostile file may make the events
 * wrong, never the reader unsafe. */
int reader_open(struct reader **reader, const char *path, uint64_t offset, struct error *err);

void reader_close(struct reader *reader);

const struct recording_header *reader_header(const struct reader *reader);

/* The next event that this reader has not handed out. Events of one thread come in their order;
 * between threads the one that began first comes first, as far as it is known. Returns 1 and fills
 * `event`; 0: nothing new now (ended and drained, or the writer is idle); a TRACE_LOST event stands
 * where the writer was faster than the reader. */
int reader_next(struct reader *reader, struct reader_event *event);

/* The call that the thread which holds chunk `number` has noted (trace_under_way): it is under way
 * unless an event of the thread has its t0. Returns 1 and fills `event`, a TRACE_CALL without an
 * end; 0: none was noted; -ERANGE: no such chunk was taken. */
int reader_under_way(struct reader *reader, uint32_t number, struct reader_event *event);

/* The text of a name, an empty slice when unknown. Valid until the next call of it. */
struct slice reader_name(struct reader *reader, uint32_t name);

/* The frames of a place, at most TRACE_FRAMES_MAX; 0 when unknown. Returns how many. */
size_t reader_place(struct reader *reader, uint32_t place, struct trace_frame *frames);

/* Write a recording to `fd` that has what this one has and no holes, where it can be read again.
 * Returns how many bytes that were, or -errno. */
int64_t reader_copy(struct reader *reader, int fd);

/* Ticks as CLOCK_MONOTONIC nanoseconds. */
uint64_t reader_monotonic_ns(const struct reader *reader, uint64_t ticks);

#endif
