/* This process as one that is traced: its recording, and what the programs that it starts are to
 * find in their environment. */
#ifndef ZOLAL_PRELOAD_PROCESS_H
#define ZOLAL_PRELOAD_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include <sys/types.h>

#include "base/error.h"
#include "preload/environment.h"
#include "trace/recorder.h"
#include "trace/recording.h"

/* The environment that `zolal trace` makes. Our constructor reads it and takes it away again, so
 * that the program sees the one that it would see without us; exec puts it back (environment.h).
 *   ZOLAL_TRACE=FOLDER[:SIZE][:calls]   where recordings go; the most bytes of one; Python's calls
 *                                       are recorded, too (python_calls.h)
 *   ZOLAL_TRACE_PARENT=PID              the nearest process above that has a recording; by us alone
 *   LD_PRELOAD=LIBRARY[:...]            this library's path, first */
#define PROCESS_VARIABLE        "ZOLAL_TRACE"
#define PROCESS_PARENT_VARIABLE "ZOLAL_TRACE_PARENT"

/* It lies in memory that is zero in a forked child (madvise(2), MADV_WIPEONFORK), however it was
 * forked: by that its first call knows that the recording is its parent's. */
struct process_page {
    uint32_t is_ours;   /* process_here.recording is this process's, or NULL for good */
    uint32_t beginning; /* a thread is at it */
};

/* Are Python's calls recorded? */
enum process_calls {
    PROCESS_CALLS_OFF,
    PROCESS_CALLS_WANTED,     /* as soon as there is an interpreter */
    PROCESS_CALLS_ON,         /* in all its threads */
    PROCESS_CALLS_BY_PROFILE, /* in those that have our profile function */
};

struct process {
    struct process_page *page;    /* NULL: not begun, or not traced */
    struct recording *recording;  /* NULL: none could be had */
    uint32_t forks;               /* how often it has become another */
    uintptr_t own_begin, own_end; /* code whose calls are recorded by itself: not by us */
    enum process_calls python_calls;
};
extern struct process process_here;

/* A thread as one that records. */
struct process_thread {
    struct recorder recorder;
    bool is_beginning; /* it is in process_begin: a signal handler that comes in between must not
                        * wait
                        */
    pid_t vforks;      /* the process in which it calls vfork(2); 0: it does not */
    struct environment *left; /* what its vfork(2) child has made for exec(3) */
};
extern _Thread_local struct process_thread process_thread
    __attribute__((tls_model("initial-exec")));

/* What process_recording does where it is not known at once: begin anew after a fork, or wait for
 * the thread that does. Async-signal-safe. */
struct recording *process_begin(void);

/* Is the caller the child that this thread has by vfork(2)? It has the parent's memory: it neither
 * records, nor is what it does to its descriptors true there. */
bool process_may_be_vforked(void);
static inline bool process_is_vforked(void)
{
    return __builtin_expect(process_thread.vforks != 0, 0) && process_may_be_vforked();
}

/* The recording of this process, or NULL. */
static inline struct recording *process_recording(void)
{
    struct process_page *page = process_here.page;
    if (process_is_vforked())
        return NULL;
    /* Acquire: what was begun is seen; partner: process_begin. */
    if (__builtin_expect(page && __atomic_load_n(&page->is_ours, __ATOMIC_ACQUIRE), 1))
        return process_here.recording;
    return process_begin();
}

/* Attach the calling thread's recorder, if it is not. Async-signal-safe. */
void process_attach(struct recording *recording);

/* FOLDER[:SIZE][:calls] as it was found, and this library's path; "" where nothing is traced. */
const char *process_setting(void);
const char *process_library(void);

/* The process whose recording this one is to stand under, once it is another program: itself, or
 * the nearest above that has one. Async-signal-safe. */
pid_t process_recorded(void);

/* For a program that records what its code from `begin` to `end` calls by itself: that is not
 * recorded by us any more. Returns the path of this process's recording, "" where there is none.
 * Found by dlsym(3): the one name that this library exports besides those that it wraps. */
const char *zolal_preload_join(uintptr_t begin, uintptr_t end);

#endif
