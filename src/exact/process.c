#include "exact/process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { BUCKETS = sizeof(((struct processes *)0)->threads) / sizeof(struct thread *) };
enum { SEARCHES_MOST = 4096 }; /* between two searches for Python, in calls */

struct thread *processes_find(const struct processes *all, pid_t tid)
{
    struct thread *thread = all->threads[(unsigned)tid % BUCKETS];
    while (thread && thread->tid != tid)
        thread = thread->next;
    return thread;
}

static struct process *find_process(const struct processes *all, pid_t pid)
{
    struct process *process = all->processes;
    while (process && process->pid != pid)
        process = process->next;
    return process;
}

/* A forked child has its parent's memory, and so its Python. */
static struct process *add_process(struct processes *all, pid_t pid)
{
    struct process *process = memory_new(sizeof(*process));
    if (!process)
        return NULL;
    pid_t parent_pid = (pid_t)tracee_status(pid, "PPid", 10);
    const struct process *parent = find_process(all, parent_pid);
    *process = (struct process){.next = all->processes, .pid = pid};
    process->under = parent_pid > 0 ? (uint32_t)parent_pid : 0;
    if (parent) {
        process->under = parent->recording ? (uint32_t)parent->pid : parent->under;
        process->has_python = parent->has_python;
        process->frames = parent->frames;
    }
    all->processes = process;
    return process;
}

struct thread *processes_add(struct processes *all, pid_t tid)
{
    pid_t pid = (pid_t)tracee_status(tid, "Tgid", 10);
    struct process *process = pid > 0 ? find_process(all, pid) : NULL;
    struct thread *thread = pid > 0 ? memory_new(sizeof(*thread)) : NULL;
    if (thread && !process)
        process = add_process(all, pid);
    if (!thread || !process) {
        memory_free(thread);
        return NULL;
    }
    struct thread **bucket = &all->threads[(unsigned)tid % BUCKETS];
    *thread = (struct thread){
        .next = *bucket, .tid = tid, .own_number = tracee_own_number(tid), .process = process};
    process->threads++;
    *bucket = thread;
    return thread;
}

/* ------------------------------------------------------------------------------- recordings */

/* The thread writes no more into the recording that its process has. */
static void stop_writing(struct thread *thread)
{
    if (!thread->recorder.recording)
        return;
    recorder_here = &thread->recorder;
    recorder_detach();
}

/* It has ended in a call, or is let go in one: what is noted of that (trace_under_way) stays, since
 * the chunk is not given back. */
static void keep_under_way(struct thread *thread)
{
    recorder_here = &thread->recorder;
    recorder_forget();
}

static void end_recording(struct process *process)
{
    if (process->recording)
        recording_close(process->recording, false);
    process->recording = NULL;
    process->has_tried = false;
    numbers_end(&process->numbers);
}

static void describe(struct process *process, bool is_unknown)
{
    numbers_describe(recording_header_of(process->recording), &process->frames, is_unknown);
}

static void begin_recording(struct processes *all, struct process *process)
{
    process->has_tried = true;
    process->recording = recording_create_in(all->folder, (uint32_t)process->pid, process->under,
                                             all->size, all->shared);
    if (!process->recording)
        return;
    struct recording_header *header = recording_header_of(process->recording);
    if (tracee_file(process->pid, "cmdline", header->program, sizeof(header->program)) < 0)
        header->program[0] = '\0';
    numbers_init(&process->numbers);
    describe(process, false);
}

bool processes_write(struct processes *all, struct thread *thread)
{
    struct process *process = thread->process;
    if (!process->has_tried)
        begin_recording(all, process);
    if (!process->recording)
        return false;
    if (!thread->recorder.recording)
        recorder_attach_for(&thread->recorder, process->recording, (uint32_t)thread->tid);
    recorder_here = &thread->recorder;
    return true;
}

static void note(struct process *process, const char *text)
{
    struct recording *recording = process->recording;
    struct recording_header *header = recording ? recording_header_of(recording) : NULL;
    if (header && header->note[0] == '\0')
        snprintf(header->note, sizeof(header->note), "%s", text);
}

void processes_note(struct thread *thread, const char *text)
{
    note(thread->process, text);
}

/* ----------------------------------------------------------------------------- coming and going */

static void unlink_process(struct processes *all, struct process *process)
{
    struct process **link = &all->processes;
    while (*link != process)
        link = &(*link)->next;
    *link = process->next;
}

void processes_remove(struct processes *all, struct thread *thread)
{
    struct process *process = thread->process;
    struct thread **link = &all->threads[(unsigned)thread->tid % BUCKETS];
    while (*link != thread)
        link = &(*link)->next;
    *link = thread->next;
    if (thread->is_in_call || thread->interrupted > 0)
        keep_under_way(thread);
    else
        stop_writing(thread);
    memory_free(thread);
    if (--process->threads > 0)
        return;
    end_recording(process);
    unlink_process(all, process);
    memory_free(process);
}

void processes_exec(struct processes *all, struct thread *thread, pid_t former)
{
    struct process *process = thread->process;
    struct thread *other = former == thread->tid ? NULL : processes_find(all, former);
    if (other && other->process == process) {
        /* It was another that has called exec: it goes on under the first one's number. */
        thread->is_in_call = other->is_in_call;
        thread->call = other->call;
        other->is_in_call = false;
        processes_remove(all, other);
    }
    thread->interrupted = 0;
    thread->is_returning = false;
    thread->python = 0;
    stop_writing(thread);
    if (process->recording)
        process->under = (uint32_t)process->pid;
    end_recording(process);
    process->frames = (struct frames){.pid = process->pid};
    process->has_python = process->is_ours_yet = false;
    process->pause = process->calls_to_go = 0;
    begin_recording(all, process);
}

void processes_end(struct processes *all)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (all->threads[i])
            processes_remove(all, all->threads[i]);
}

/* ------------------------------------------------------------------------------------ Python */

#define HIDES                                                                                      \
    "it does not let itself be looked into (PR_SET_DUMPABLE, prctl(2)): what its memory holds is " \
    "not shown"

static bool may_look(const struct process *process, pid_t tid)
{
    char byte;
    return tracee_read(tid, process->frames.runtime, &byte, 1) != -EPERM;
}

/* Search for an interpreter: at once, then ever more rarely, since a program may load one late. */
static bool search(struct process *process, pid_t tid)
{
    if (process->calls_to_go > 0) {
        process->calls_to_go--;
        return false;
    }
    int result = frames_find_remote(&process->frames, tid);
    process->has_python = result == 0;
    process->pause = process->pause < SEARCHES_MOST ? process->pause * 2 + 1 : SEARCHES_MOST;
    process->calls_to_go = result == -ENOSYS ? UINT32_MAX : process->pause;
    if (process->has_python || result == -ENOSYS)
        describe(process, result == -ENOSYS);
    if (result == -EPERM)
        note(process, HIDES);
    return process->has_python;
}

uint32_t processes_name(struct thread *thread, const char *name)
{
    struct numbers *numbers = &thread->process->numbers;
    return numbers->memos ? numbers_name(numbers, name, strlen(name)) : 0;
}

uint32_t processes_place(struct processes *all, struct thread *thread)
{
    struct process *process = thread->process;
    struct frames_key keys[TRACE_FRAMES_MAX];
    size_t count = 0;
    if (!process->has_python && !search(process, thread->tid))
        return 0;
    process->frames.pid = thread->tid; /* the first thread may have ended, and its memory with it */
    frames_read_pages(&process->frames, &all->pages, process->pid);
    enum frames_end end = frames_walk_remote(&process->frames, thread->own_number, &thread->python,
                                             keys, TRACE_FRAMES_MAX, &count);
    if (end > FRAMES_MORE && !may_look(process, thread->tid))
        note(process, HIDES);
    numbers_note(recording_header_of(process->recording), end);
    if (end > FRAMES_MORE || count == 0 || !process->numbers.memos)
        return 0;
    return numbers_stack(&process->numbers, &process->frames, keys, count, end == FRAMES_MORE);
}
