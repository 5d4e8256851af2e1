/* The tracer: follows threads from stop to stop, and records the calls that they make. */
#ifndef ZOLAL_EXACT_TRACER_H
#define ZOLAL_EXACT_TRACER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "exact/process.h"

/* What the processes that begin it all share: who has failed at what (errno), and how the program
 * has ended. */
struct tracer_page {
    _Atomic int seize_code;  /* it could not be traced */
    _Atomic int filter_code; /* no filter could be had: then it stops at all calls */
    _Atomic int exec_code;   /* it could not be run */
    _Atomic int status;      /* of wait(2) */
    _Atomic int has_ended;   /* status is there */
};

struct tracer {
    struct tracer_page *page;
    struct processes all;
    bool
        is_filtered; /* threads stop at the calls that are recorded, by their filter; else at all */
    bool has_all;    /* all of them are recorded */
    volatile sig_atomic_t
        *has_to_stop; /* set by a signal handler: let go of all, and end; or NULL */
    bool is_leaving;  /* that is under way */
};

/* Become the tracer of process `pid`, which has one thread and is to become the program; or of all
 * threads of one that runs. 0 or -errno. */
int tracer_seize(struct tracer *tracer, pid_t pid);
int tracer_seize_all(struct tracer *tracer, pid_t pid);

/* Trace until there is nobody left. `first`: the process whose end the page is to tell. */
void tracer_run(struct tracer *tracer, pid_t first);

#endif
