#include "exact/tracer.h"

#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "exact/filter.h"

/* What a call returns that a signal has interrupted, on its way to a signal handler or to being
 * made again; programs never see them (linux/errno.h). */
enum { RESTART_FIRST = 512, RESTART_LAST = 516, RESTART_NOT = 515 };

/* The machine's instruction for a call is no longer: 2 bytes on x86-64, 4 on aarch64. */
enum { CALL_LENGTH_MOST = 4 };

static bool is_to_be_made_again(int64_t result)
{
    return result <= -RESTART_FIRST && result >= -RESTART_LAST && result != -RESTART_NOT;
}

/* ------------------------------------------------------------------------------- recording */

/* It has ended, at `t1`. */
static void record(struct tracer *tracer, struct thread *thread, const struct call *call,
                   int64_t result, uint64_t t1)
{
    struct call_told told;
    char line[FIRST_LINE_SIZE];
    if (!processes_write(&tracer->all, thread))
        return;
    call_tell(call, thread->tid, result, &told);
    const struct call_name *name =
        call->kind == &call_other ? call_name_of(call->entered.number) : NULL;
    if (name)
        told.outside.argument |= (uint64_t)processes_name(thread, name->name) << 32;
    told.outside.t1 = t1;
    told.outside.place = call->place;
    size_t len = call_first_line(call, &told, thread->tid, line);
    trace_call_outside(&told.outside, told.args, told.args_len);
    if (len > 0)
        trace_first_line(told.outside.fd, told.way, slice_of(line, len));
    if (call->kind->op == TRACE_IO_URING_ENTER || call->kind->op == TRACE_IO_URING_SETUP)
        processes_note(thread, "it uses io_uring: what it asks for in its rings are no calls, and "
                               "is not shown");
}

/* It begins now: that is what is left of it where its process is killed in it. */
static void note_under_way(struct tracer *tracer, struct thread *thread, struct call *call)
{
    struct call_told told;
    bool is_recorded = processes_write(&tracer->all, thread);
    call->place = is_recorded ? processes_place(&tracer->all, thread) : 0;
    call->t0 = clock_ticks();
    if (!is_recorded || call->kind == &call_other)
        return;
    call_tell(call, thread->tid, -EINTR, &told);
    trace_under_way(told.outside.op, told.outside.fd, told.outside.argument, call->place, call->t0);
}

/* --------------------------------------------------------------------- calls that are interrupted
 */

/* A signal has interrupted it: whether it is made again, or has failed, shows when the signal's
 * handler returns. Without one it is made again. */
static void keep_interrupted(struct thread *thread)
{
    if (thread->interrupted == INTERRUPTED_MOST) { /* handlers that never return: longjmp(3) */
        memmove(thread->interrupts, thread->interrupts + 1,
                (INTERRUPTED_MOST - 1) * sizeof(*thread->interrupts));
        thread->interrupted--;
    }
    thread->interrupts[thread->interrupted++] = (struct interrupted){thread->call, false};
}

static struct interrupted *latest_interrupted(struct thread *thread)
{
    return thread->interrupted > 0 ? &thread->interrupts[thread->interrupted - 1] : NULL;
}

/* Is it the latest of the interrupted calls, which the kernel makes again? */
static bool is_made_again(const struct interrupted *latest, const struct tracee_call *call)
{
    const struct tracee_call *before = &latest->call.entered;
    return !latest->is_in_handler && call->instruction == before->instruction &&
           call->stack == before->stack &&
           (call->number == before->number || call->number == SYS_restart_syscall);
}

/* A handler has returned, to the place that `returned` says: behind the call that was interrupted,
 * or to it; elsewhere where it was not this call's. */
static void leave_handler(struct tracer *tracer, struct thread *thread,
                          const struct tracee_call *returned, uint64_t now)
{
    struct interrupted *latest = latest_interrupted(thread);
    thread->is_returning = false;
    if (!latest || returned->stack != latest->call.entered.stack)
        return;
    if (returned->instruction == latest->call.entered.instruction) {
        thread->interrupted--;
        record(tracer, thread, &latest->call, -EINTR, now);
    } else if (latest->call.entered.instruction - returned->instruction <= CALL_LENGTH_MOST) {
        latest->is_in_handler = false;
    }
}

/* ----------------------------------------------------------------------------------- calls */

static void note_foreign(struct tracer *tracer, struct thread *thread)
{
    if (processes_write(&tracer->all, thread))
        processes_note(thread, "it makes calls of a 32-bit program, which are not recorded");
}

static bool is_foreign(const struct tracee_call *call)
{
    return call->machine != FILTER_MACHINE || call->number >= FILTER_X32;
}

/* What is not recorded, but says something. */
static void take_aside(struct tracer *tracer, struct thread *thread, const struct tracee_call *call)
{
    if (call->number == SYS_rt_sigreturn)
        thread->is_returning = thread->interrupted > 0;
    else if (call->number == SYS_ptrace && processes_write(&tracer->all, thread))
        processes_note(thread, "it calls ptrace: who is traced cannot be traced by another");
}

static bool never_returns(uint64_t number)
{
    return number == SYS_exit || number == SYS_exit_group;
}

/* How it is recorded; NULL: it is not. */
static const struct call_kind *kind_of(const struct tracer *tracer, uint64_t number)
{
    const struct call_kind *kind = call_kind_of(number);
    bool is_kernels = number == SYS_rt_sigreturn || number == SYS_restart_syscall;
    return kind || !tracer->has_all || is_kernels ? kind : &call_other;
}

static void enter_call(struct tracer *tracer, struct thread *thread,
                       const struct tracee_call *entered)
{
    struct call *call = &thread->call;
    struct interrupted *latest = latest_interrupted(thread);
    if (latest && is_made_again(latest, entered)) {
        thread->interrupted--;
        *call = latest->call;
        thread->is_in_call = true;
        return;
    }
    call->kind = kind_of(tracer, entered->number);
    if (!call->kind || call->kind == &call_other)
        take_aside(tracer, thread, entered);
    if (!call->kind)
        return;
    call->entered = *entered;
    if (!tracer->has_all && !call_is_watched(call, thread->tid))
        return;
    thread->is_in_call = true;
    call_begin(call, thread->tid);
    note_under_way(tracer, thread, call);
    if (never_returns(entered->number)) {
        thread->is_in_call = false;
        record(tracer, thread, call, 0, call->t0);
    }
}

static void leave_call(struct tracer *tracer, struct thread *thread, const struct tracee_call *left,
                       uint64_t now)
{
    if (thread->is_returning)
        leave_handler(tracer, thread, left, now);
    if (!thread->is_in_call)
        return;
    thread->is_in_call = false;
    if (is_to_be_made_again(left->result))
        keep_interrupted(thread);
    else
        record(tracer, thread, &thread->call, left->result, now);
}

static void at_call(struct tracer *tracer, struct thread *thread)
{
    struct tracee_call call;
    uint64_t now = clock_ticks();
    if (tracee_look(thread->tid, &call) < 0 || thread->process->is_ours_yet)
        return;
    if (call.stage == TRACEE_LEAVES) {
        leave_call(tracer, thread, &call, now);
    } else if (call.stage == TRACEE_ENTERS) {
        thread->is_in_call = false;
        if (is_foreign(&call))
            note_foreign(tracer, thread);
        else
            enter_call(tracer, thread, &call);
    }
}

/* ----------------------------------------------------------------------------------- stops */

static void go_on(struct tracer *tracer, pid_t tid, struct thread *thread, enum tracee_way way,
                  int signal)
{
    if (tracer->is_leaving) {
        way = TRACEE_DETACHED;
    } else if (way == TRACEE_FREE) {
        bool stops = thread && (!tracer->is_filtered || thread->is_in_call || thread->is_returning);
        way = stops ? TRACEE_TO_CALL : TRACEE_FREE;
    }
    /* One that has been killed meanwhile says so next. */
    tracee_go(tid, way, signal);
    if (way == TRACEE_DETACHED && thread)
        processes_remove(&tracer->all, thread);
}

/* A signal is about to be delivered: the call that it has interrupted may be in a handler's shade
 * from now on. */
static void at_signal(struct thread *thread, int signal)
{
    struct interrupted *latest = latest_interrupted(thread);
    if (!latest || latest->is_in_handler)
        return;
    int64_t caught = tracee_status(thread->tid, "SigCgt", 16);
    latest->is_in_handler = caught != -1 && (uint64_t)caught >> (signal - 1) & 1;
}

static void at_exec(struct tracer *tracer, struct thread *thread)
{
    if (tracer->page->filter_code != 0)
        tracer->is_filtered = false;
    unsigned long former = (unsigned long)thread->tid;
    struct tracee_call call;
    tracee_message(thread->tid, &former);
    processes_exec(&tracer->all, thread, (pid_t)former);
    if (tracee_look(thread->tid, &call) == 0 && call.machine != FILTER_MACHINE)
        note_foreign(tracer, thread);
}

static void at_stop(struct tracer *tracer, pid_t tid, int status)
{
    struct thread *thread = processes_find(&tracer->all, tid);
    int signal = WSTOPSIG(status), event = status >> 16;
    enum tracee_way way = TRACEE_FREE;
    if (!thread)
        thread = processes_add(&tracer->all, tid);
    if (event == PTRACE_EVENT_STOP && signal != SIGTRAP)
        way = TRACEE_STOPPED;
    else if (thread && (event == PTRACE_EVENT_SECCOMP || signal == (SIGTRAP | 0x80)))
        at_call(tracer, thread);
    else if (thread && event == PTRACE_EVENT_EXEC)
        at_exec(tracer, thread);
    else if (thread && event == 0)
        at_signal(thread, signal);
    bool is_delivered = event == 0 && signal != (SIGTRAP | 0x80);
    go_on(tracer, tid, thread, way, is_delivered ? signal : 0);
}

/* Let go of all: who runs is to stop for it. */
static void leave(struct tracer *tracer)
{
    size_t buckets = sizeof(tracer->all.threads) / sizeof(*tracer->all.threads);
    tracer->is_leaving = true;
    for (size_t i = 0; i < buckets; i++)
        for (const struct thread *thread = tracer->all.threads[i]; thread; thread = thread->next)
            tracee_interrupt(thread->tid);
}

/* `first`: the process whose end is to be told; its last thread's is. */
static void at_end(struct tracer *tracer, pid_t tid, int status, pid_t first)
{
    struct thread *thread = processes_find(&tracer->all, tid);
    if (!thread)
        return;
    if (thread->process->pid == first && thread->process->threads == 1) {
        tracer->page->status = status;
        tracer->page->has_ended = 1;
    }
    processes_remove(&tracer->all, thread);
}

void tracer_run(struct tracer *tracer, pid_t first)
{
    int status;
    pid_t tid;
    while ((tid = tracee_wait(&status)) != -ECHILD) {
        if (tracer->has_to_stop && *tracer->has_to_stop && !tracer->is_leaving)
            leave(tracer);
        if (tid < 0)
            continue;
        if (WIFSTOPPED(status))
            at_stop(tracer, tid, status);
        else
            at_end(tracer, tid, status, first);
    }
    processes_end(&tracer->all);
}

/* -------------------------------------------------------------------------------- beginning */

int tracer_seize(struct tracer *tracer, pid_t pid)
{
    int result = tracee_seize(pid, tracer->is_filtered);
    if (result < 0)
        return result;
    struct thread *thread = processes_add(&tracer->all, pid);
    if (!thread)
        return -ENOMEM;
    thread->process->is_ours_yet = true;
    return 0;
}

struct seizing {
    struct tracer *tracer;
    size_t found; /* threads that were not traced yet */
    int result;   /* why one could not be: it may have ended (the first one, before the others) */
};

static void seize_one(void *context, pid_t tid)
{
    struct seizing *seizing = context;
    if (processes_find(&seizing->tracer->all, tid))
        return;
    struct thread *thread = NULL;
    int result = tracee_seize(tid, false);
    if (result == 0) {
        thread = processes_add(&seizing->tracer->all, tid);
        result = thread ? 0 : -ENOMEM;
    }
    if (thread) {
        seizing->found++;
        processes_write(&seizing->tracer->all, thread); /* it is shown, whether it calls or not */
        tracee_interrupt(tid);
    } else {
        seizing->result = result;
    }
}

int tracer_seize_all(struct tracer *tracer, pid_t pid)
{
    struct seizing seizing = {.tracer = tracer, .result = -ESRCH};
    size_t all = 0;
    do {
        seizing.found = 0;
        int result = tracee_threads(pid, seize_one, &seizing);
        if (result < 0 && all == 0)
            return result;
        all += seizing.found;
    } while (seizing.found > 0); /* one that we had not yet may have begun another */
    return all > 0 ? 0 : seizing.result;
}
