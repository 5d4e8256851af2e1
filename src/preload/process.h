/* This process as one that is traced: its recording, and what the programs that it starts are to
 * find in their environment. */
#ifndef ZOLAL_PRELOAD_PROCESS_H
#define ZOLAL_PRELOAD_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "trace/recorder.h"
#include "trace/recording.h"

/* The environment that `zolal trace` makes. Our constructor reads it and takes it away again, so
 * that the program sees the one that it would see without us; exec puts it back (environment.h).
 *   ZOLAL_TRACE=FOLDER[:SIZE][:calls]   where recordings go; the most bytes of one; Python's calls
 *                                       are recorded, too (python_calls.h)
 *   LD_PRELOAD=LIBRARY[:...]            this library's path, first */
#define PROCESS_VARIABLE "ZOLAL_TRACE"

/* The file FOLDER/shared, mapped by all that are traced. */
struct process_shared {
    _Atomic int64_t budget;    /* bytes that recordings may still take */
    _Atomic uint32_t failures; /* processes that could have no recording */
    _Atomic uint32_t failure;  /* errno of the last of them */
};

/* `page` lies in memory that is zero in a forked child (madvise(2), MADV_WIPEONFORK), however it
 * was forked: by that its first call knows that the recording is its parent's. */
struct process_page {
    uint32_t is_ours;
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
    uintptr_t own_begin, own_end; /* code whose calls are recorded by itself: not by us */
    enum process_calls python_calls;
};
extern struct process process_here;

/* A thread as one that records. `inside`: where its stack was when it began to record, 0: it does
 * not. A signal handler may come in between. */
struct process_thread {
    struct recorder recorder;
    uintptr_t inside;
};
extern _Thread_local struct process_thread process_thread
    __attribute__((tls_model("initial-exec")));

/* What process_recording does where it is not known at once: begin, or begin anew after a fork. */
struct recording *process_begin(void);

/* The recording of this process, or NULL. */
static inline struct recording *process_recording(void)
{
    if (__builtin_expect(process_here.page && process_here.page->is_ours, 1))
        return process_here.recording;
    return process_begin();
}

/* The calling thread begins to record, with a recorder attached. False: it does already (it is in a
 * signal handler that came in between), or has none. Ended by process_leave. */
bool process_enter(struct recording *recording);

static inline void process_leave(void)
{
    process_thread.inside = 0;
}

/* FOLDER[:SIZE][:calls] as it was found, and this library's path; "" where nothing is traced. */
const char *process_setting(void);
const char *process_library(void);

/* For a program that records what its code from `begin` to `end` calls by itself: that is not
 * recorded by us any more. Returns the path of this process's recording, "" where there is none.
 * Found by dlsym(3): the one name that this library exports besides those that it wraps. */
const char *zolal_preload_join(uintptr_t begin, uintptr_t end);

#endif
