/* A thread's writer into a recording. Whoever makes a kernel call records it, here and only here:
 *
 *     uint64_t t0 = trace_start();
 *     ssize_t n = recv(fd, data, len, 0);
 *     int64_t result = n < 0 ? -errno : n;
 *     trace_call(TRACE_RECVFROM, fd, len, result, t0);
 *
 * All functions do nothing in a thread that has no recorder attached. None fails, none allocates
 * (except recorder_attach), none waits, none changes errno. */
#ifndef ZOLAL_TRACE_RECORDER_H
#define ZOLAL_TRACE_RECORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/slice.h"
#include "trace/event.h"
#include "trace/recording.h"

/* The state of this thread's writer; only trace/ touches its members. `connection` and `request`
 * stamp each slot. `last` is the latest time written: marks reuse it instead of reading the clock.
 * `position`: 1 + the number of the thread's chunk (0: it has none) in the upper half, and how many
 * slots of it are taken in the lower: one word, changed at once, since signal handlers record, too.
 */
struct recorder {
    uint64_t position;
    uint64_t last;
    uint64_t request;
    uint32_t connection;
    uint32_t thread; /* gettid(2) */
    uint32_t place;  /* of the calls */
    struct recording *recording;
    bool is_lent; /* the memory is not ours */
};

/* This thread's recorder, or NULL. initial-exec: one load, also in a shared object. */
extern _Thread_local struct recorder *recorder_here __attribute__((tls_model("initial-exec")));

/* Attach the calling thread to `recording`, which must be open. Returns 0 or -ENOMEM; -EBUSY if the
 * thread has one already. */
int recorder_attach(struct recording *recording);

/* The same with the recorder in `storage`, which stays until the thread's end or recorder_detach.
 * Allocates nothing, and fails never: what `storage` was before is forgotten. */
void recorder_attach_in(struct recorder *storage, struct recording *recording);

/* For a tracer, which writes what threads of other processes do: as recorder_attach_in, for thread
 * `thread` (gettid(2)). The calling thread writes with it while recorder_here points to it. */
void recorder_attach_for(struct recorder *storage, struct recording *recording, uint32_t thread);

/* The same for a thread that is not ours, until it ends by itself: its end detaches it
 * (pthread_key_create(3)). One that is attached to another recording changes over; nothing happens
 * when it is attached to this one. Returns 0, -ENOMEM or -EAGAIN (no key could be had). */
int recorder_attach_until_end(struct recording *recording);

/* Give the thread's chunk back and detach; nothing happens when there is none. */
void recorder_detach(void);

/* In a forked child, in the thread that forked: drop the recorder without touching the recording.
 */
void recorder_forget(void);

/* Is the thread attached to this one? */
static inline bool recorder_is_of(const struct recording *recording)
{
    return recorder_here && recorder_here->recording == recording;
}

/* Now, in ticks; 0 without a recorder. */
static inline uint64_t trace_start(void)
{
    return recorder_here ? clock_ticks() : 0;
}

/* The ticks at which the last recorded call ended; 0 without a recorder. */
static inline uint64_t trace_last(void)
{
    return recorder_here ? recorder_here->last : 0;
}

/* Record a kernel call that began at `t0` (trace_start) and ends now. `argument`: its length or
 * flags. `result`: what it returned, -errno when it failed. */
void trace_call(enum trace_operation op, int fd, uint64_t argument, int64_t result, uint64_t t0);

/* As trace_call, with up to 48 bytes of arguments in a second slot (cut beyond that). */
void trace_call_args(enum trace_operation op, int fd, uint64_t argument, int64_t result,
                     uint64_t t0, const void *args, size_t len);

/* As trace_call_args for what libc was called for: the call ended at `t1`, its Python lines are
 * `place`. `flags`: TRACE_ENCRYPTED or 0. */
struct trace_outside {
    enum trace_operation op;
    int fd;
    uint64_t argument;
    int64_t result;
    uint64_t t0, t1;
    uint32_t place;
    uint8_t flags;
};
/* `args`: at most 144 bytes. */
void trace_call_outside(const struct trace_outside *call, const void *args, size_t len);

/* Such a call is about to be made: noted until another is, for who reads what is left of a process
 * that was killed in it. `place`, `t0`: as they are recorded when it ends. A signal handler that
 * makes calls in between takes the note's place. */
void trace_under_way(enum trace_operation op, int fd, uint64_t argument, uint32_t place,
                     uint64_t t0);

/* The first line of what that call has moved; at most 144 bytes of it are kept. */
void trace_first_line(int fd, enum trace_way way, struct slice line);

/* The slots that follow in this thread belong to this connection and request; 0: to none. */
void trace_subject(uint32_t connection, uint64_t request);

/* The calls that follow in this thread are made for `place` (event.h; a number from trace_name), 0:
 * for none that is known. Returns the place before, for whoever ends this one. */
static inline uint32_t trace_place(uint32_t place)
{
    struct recorder *recorder = recorder_here;
    uint32_t before = recorder ? recorder->place : 0;
    if (recorder)
        recorder->place = place;
    return before;
}

/* Marks. Each is stamped with the subject. `method` and `target`: at most 96 bytes of both are
 * kept. */
void trace_request_begin(struct slice method, struct slice target);
void trace_request_end(int status, uint64_t bytes_sent);
void trace_state(unsigned from, unsigned to);

/* Python is entered or left: these read the clock. `name`: from trace_name; `line`: 1.. or 0. */
void trace_python_enter(enum trace_python what, uint32_t name, uint32_t line);
void trace_python_leave(enum trace_python what, bool raised);

/* A call that Python's interpreter tells of (event.h), at `ticks`. `name`, `line`: of ENTER and
 * RESUME. */
struct trace_python_call {
    enum trace_kind kind;
    enum trace_python op;
    uint64_t frame;
    uint64_t ticks;
    uint32_t name;
    uint32_t line;
    bool raised;
    uint8_t flags; /* TRACE_UNDER_WAY or 0 */
};
void trace_python_call(const struct trace_python_call *call);

/* Up to TRACE_WHOLES_MAX of them, in a slot. */
void trace_python_wholes(const struct trace_whole *calls, size_t count);

/* The number of a name ("function (file)"), written into the recording's names once for each call:
 * remember it. 0 without a recorder and when the names are full. Cut at 1,000 bytes. */
uint32_t trace_name(struct slice text);

#endif
