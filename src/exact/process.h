/* The processes and threads that are traced: their recordings, and which Python they run. */
#ifndef ZOLAL_EXACT_PROCESS_H
#define ZOLAL_EXACT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "exact/call.h"
#include "frames/frames.h"
#include "stacks/numbers.h"
#include "trace/recorder.h"
#include "trace/recording.h"

/* A process as the program that it is now. */
struct process {
    struct process *next;
    pid_t pid;
    uint32_t threads;            /* how many are known */
    uint32_t under;              /* the process under which its recording is to stand */
    struct recording *recording; /* NULL: none yet, or none could be had */
    bool has_tried;              /* to make one */
    bool is_ours_yet;            /* it is the child that is to become the program: not recorded */
    bool has_python;             /* frames are known */
    uint32_t pause, calls_to_go; /* between two searches for one, and until the next, in calls */
    struct frames frames;
    struct numbers numbers;
};

/* Calls that a signal has interrupted while handlers of signals run: more are forgotten. */
enum { INTERRUPTED_MOST = 4 };

struct thread {
    struct thread *next;
    pid_t tid;
    pid_t own_number; /* in its own namespace: what Python knows it by */
    struct process *process;
    struct recorder recorder;
    uint64_t python; /* where its PyThreadState is (frames_walk_remote) */
    bool is_in_call;
    bool is_returning; /* from a signal handler that has begun in an interrupted call */
    struct call call;
    size_t interrupted; /* how many of these; the last is the latest */
    struct interrupted {
        struct call call;
        bool is_in_handler; /* a signal handler has begun since, and has not returned */
    } interrupts[INTERRUPTED_MOST];
};

/* All of them, by their numbers. */
struct processes {
    const char *folder; /* where recordings go */
    size_t size;        /* most bytes of one */
    struct recording_shared *shared;
    struct thread *threads[256];
    struct process *processes;
    struct frames_pages pages; /* of the thread whose frames are walked */
};

struct thread *processes_find(const struct processes *all, pid_t tid);

/* A thread that was not known: of a process that is, or a new one's, which has what its parent has.
 * NULL: there is no memory, or it has gone. */
struct thread *processes_add(struct processes *all, pid_t tid);

/* It has ended. With its last thread a process goes, and its recording is whole. */
void processes_remove(struct processes *all, struct thread *thread);

/* Its process is another program from now on, of which `thread` is the only one; its number was
 * `former`. */
void processes_exec(struct processes *all, struct thread *thread, pid_t former);

/* Have the thread's recorder be ours for what is recorded next. False: there is no recording. */
bool processes_write(struct processes *all, struct thread *thread);

/* The number of a name in its recording; 0: there is none to be had. After processes_write. */
uint32_t processes_name(struct thread *thread, const char *name);

/* Where its Python code stands, as a number of its recording; 0: there is none. After
 * processes_write. */
uint32_t processes_place(struct processes *all, struct thread *thread);

/* Write what could not be recorded into the recording, where nothing is written yet. */
void processes_note(struct thread *thread, const char *text);

/* Forget all of them. */
void processes_end(struct processes *all);

#endif
