/* A call that the program has made of the C library, on its way into the recording:
 *
 *     struct call call = call_begin();
 *     int result = NEXT(listen)(fd, backlog);
 *     return (int)call_end(&call, &(struct call_end){TRACE_LISTEN, fd, result, .argument = ...});
 *
 * All keep errno. */
#ifndef ZOLAL_PRELOAD_CALL_H
#define ZOLAL_PRELOAD_CALL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"
#include "preload/next.h"
#include "preload/process.h"
#include "preload/python_calls.h"
#include "trace/event.h"

struct call {
    uint64_t t0; /* ticks; 0: it is not recorded */
    uint32_t place;
    uint32_t forks; /* process_here.forks + 1 when the place was looked up; 0: it was not yet */
};

/* What came of it. `moved`: `moved_len` bytes that it has sent or received, the first of them; 0:
 * nothing that is looked at. */
struct call_end {
    enum trace_operation op;
    int fd;
    ssize_t result; /* as the C library returns it, errno set */
    uint64_t argument;
    const void *args; /* as trace/event.h says */
    size_t args_len;
    const void *moved;
    size_t moved_len;
    enum trace_way way;
};

/* Is the caller of the function that calls this one whose calls are recorded by itself? */
#define CALL_IS_OURS()                                                 \
    ((uintptr_t)__builtin_return_address(0) - process_here.own_begin < \
     process_here.own_end - process_here.own_begin)

#define call_begin()      \
    (python_calls_tick(), \
     (struct call){.t0 = process_recording() && !CALL_IS_OURS() ? clock_ticks() : 0})

/* The same for a call that may wait, and so may be under way when the process is killed: the
 * recording has it from now on. */
#define call_begin_waiting(op, fd, argument)                                \
    (python_calls_tick(), process_recording() && !CALL_IS_OURS()            \
                              ? call_note((op), (fd), (uint64_t)(argument)) \
                              : (struct call){0})
struct call call_note(enum trace_operation op, int fd, uint64_t argument);

/* The same for read(2) and its like: a descriptor that is not watched is no call of ours. */
#define call_begin_on(fd) \
    (descriptor_is_watched(fd) ? call_begin() : (python_calls_tick(), (struct call){0}))
#define call_begin_waiting_on(op, fd, argument)                       \
    (descriptor_is_watched(fd) ? call_begin_waiting(op, fd, argument) \
                               : (python_calls_tick(), (struct call){0}))

/* Has it failed before the kernel has looked at what its arguments point to? Then neither may we.
 */
static inline bool call_has_not_looked(ssize_t result)
{
    return result < 0 && (errno == EFAULT || errno == EBADF || errno == ENOTSOCK);
}

/* Of `result` bytes that it has moved, how many lie in a place of `len` bytes. */
static inline size_t call_moved(ssize_t result, size_t len)
{
    return result < 0 ? 0 : (size_t)result < len ? (size_t)result : len;
}

/* Record it. Returns the result. */
ssize_t call_end(const struct call *call, const struct call_end *end);

#endif
