/* A program that is traced from its beginning, or one that runs already; either way by a process of
 * our own, the tracer, which has nothing else to do and stays until the last that it traces has
 * ended. The program is the caller's child, not the tracer's: it is waited for, and dies, as any
 * other. */
#ifndef ZOLAL_EXACT_LAUNCH_H
#define ZOLAL_EXACT_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* What is wanted. */
struct launch {
    const char *folder; /* where recordings go; the file `shared` lies there (trace/recording.h) */
    size_t size;        /* most bytes of one */
    bool has_all;       /* every call is recorded, not those on sockets alone */
    const char *path;   /* of the program, its arguments and environment, and its signal mask */
    char *const *argv, *const *envp;
    sigset_t mask;
};

/* How it went; mapped, and shared with the processes that are begun. */
struct tracer_page;

/* Begin. Returns the program's pid, and sets `*page`, to be given back by launch_end; or -errno,
 * `err` filled. The child has ended with exit code 127 where the page says why it has not become
 * the program. */
pid_t launch_program(const struct launch *launch, struct tracer_page **page, struct error *err);

/* Attach to process `pid`. Returns the tracer's pid, or -errno. It ends with the process, or when
 * it gets SIGTERM: send it until it has ended, since one may be lost. */
pid_t launch_attach(const struct launch *launch, pid_t pid, struct tracer_page **page,
                    struct error *err);

/* What has failed, by the page: "trace", "run"; NULL: nothing. `*code`: errno. */
const char *launch_failure(const struct tracer_page *page, int *code);

/* Has the process that was attached to ended? `*status`: of wait(2). */
bool launch_has_ended(const struct tracer_page *page, int *status);

void launch_end(struct tracer_page *page);

#endif
