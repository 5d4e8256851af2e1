#include "preload/call.h"

#include <errno.h>

#include "preload/descriptors.h"
#include "trace/first_line.h"
#include "preload/stacks.h"
#include "trace/recorder.h"

/* The lines of Python that make a call. */
static uint32_t place_of_call(void)
{
    uint32_t place = stacks_here();
    python_calls_before_call();
    return place;
}

struct call call_note(enum trace_operation op, int fd, uint64_t argument)
{
    int code = errno;
    process_attach(process_here.recording);
    struct call call = {.place = place_of_call(), .forks = process_here.forks + 1};
    call.t0 = clock_ticks();
    trace_under_way(op, fd, argument, call.place, call.t0);
    errno = code;
    return call;
}

static void record(const struct call *call, const struct call_end *end, int code, uint64_t now)
{
    struct trace_outside outside = {
        .op = end->op,
        .fd = end->fd,
        .argument = end->argument,
        .result = end->result < 0 ? -code : end->result,
        .t0 = call->t0,
        .t1 = now,
        .place = call->forks == process_here.forks + 1 ? call->place : place_of_call(),
    };
    struct slice moved = slice_of(end->moved, end->result > 0 ? end->moved_len : 0);
    char line[FIRST_LINE_SIZE];
    size_t len = 0;
    if (moved.len > 0 && descriptor_kind(end->fd) == DESCRIPTOR_SOCKET) {
        outside.flags = first_line_is_tls(moved) ? TRACE_ENCRYPTED : 0;
        len = first_line(moved, line);
    }
    trace_call_outside(&outside, end->args, end->args_len);
    if (len > 0)
        trace_first_line(end->fd, end->way, slice_of(line, len));
}

ssize_t call_end(const struct call *call, const struct call_end *end)
{
    if (call->t0 == 0)
        return end->result;
    int code = errno;
    uint64_t now = clock_ticks();
    struct recording *recording = process_recording();
    if (recording) {
        process_attach(recording);
        record(call, end, code, now);
    }
    errno = code;
    return end->result;
}
