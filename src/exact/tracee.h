/* The door to ptrace(2): one function a request, and what else a tracer asks the kernel about the
 * threads that it traces. All return -errno on failure; -ESRCH: the thread is not stopped, or has
 * been killed. */
#ifndef ZOLAL_EXACT_TRACEE_H
#define ZOLAL_EXACT_TRACEE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Become the tracer of thread `tid`, which goes on as it was, and of all that it starts
 * (PTRACE_SEIZE). `dies_with_us`: they are killed where we die. */
int tracee_seize(pid_t tid, bool dies_with_us);

/* Have it stop as soon as it can: PTRACE_EVENT_STOP. */
int tracee_interrupt(pid_t tid);

/* How a thread goes on that has stopped. */
enum tracee_way {
    TRACEE_FREE,     /* until something happens that we follow, or its filter says so */
    TRACEE_TO_CALL,  /* until it enters a call, or leaves the one that it is in */
    TRACEE_STOPPED,  /* not at all: a signal has stopped it; until SIGCONT */
    TRACEE_DETACHED, /* nobody traces it any more */
};
int tracee_go(pid_t tid, enum tracee_way way, int signal);

/* The message of a stop: of PTRACE_EVENT_EXEC the number that the thread had before. */
int tracee_message(pid_t tid, unsigned long *message);

/* What a stop is about (PTRACE_GET_SYSCALL_INFO, Linux 5.3). */
struct tracee_call {
    enum { TRACEE_NO_CALL, TRACEE_ENTERS, TRACEE_LEAVES } stage;
    uint32_t machine; /* AUDIT_ARCH_ of the call's numbers */
    uint64_t instruction, stack;
    uint64_t number; /* on entry, as args */
    uint64_t args[6];
    int64_t result; /* on leaving */
};
int tracee_look(pid_t tid, struct tracee_call *call);

/* The next thread that has stopped or ended, and its wait(2) status. -ECHILD: there is none left;
 * -EINTR. */
pid_t tracee_wait(int *status);

/* Copy `len` bytes at `address` of its memory: 0, or -errno when they are not all there. */
int tracee_read(pid_t tid, uint64_t address, void *into, size_t len);

/* Of text at `address` what fits, NUL-terminated: how long it is; `size` when it is longer. */
ssize_t tracee_read_text(pid_t tid, uint64_t address, char *into, size_t size);

/* What /proc/TID/NAME begins with, NUL-terminated (proc_pid_status(5)): how many bytes. */
ssize_t tracee_file(pid_t tid, const char *name, char *into, size_t size);

/* The number in the line of /proc/TID/status that begins with `name`, in base `base`; -1: there is
 * none. */
int64_t tracee_status(pid_t tid, const char *name, int base);

/* The number that it has itself: in a container another one (pid_namespaces(7)). */
pid_t tracee_own_number(pid_t tid);

/* What its descriptor `fd` is: "socket:[123]", "anon_inode:[eventpoll]", a path. */
int tracee_descriptor(pid_t tid, int fd, char *into, size_t size);

/* Call `each` for every thread of process `pid`. */
int tracee_threads(pid_t pid, void (*each)(void *context, pid_t tid), void *context);

#endif
