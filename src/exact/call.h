/* A call of the kernel, from the thread's registers and memory to a slot of the recording: what the
 * preloaded library writes of the same call (src/preload), so that all views are the same. */
#ifndef ZOLAL_EXACT_CALL_H
#define ZOLAL_EXACT_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/select.h>

#include "exact/tracee.h"
#include "trace/first_line.h"
#include "trace/recorder.h"

/* How the arguments of a call are told. */
enum call_shape {
    CALL_SOCKET,
    CALL_SOCKETPAIR,
    CALL_ADDRESS,       /* bind, connect */
    CALL_FOUND_ADDRESS, /* accept, getsockname, getpeername */
    CALL_NUMBER,        /* listen, shutdown, dup2: a descriptor and a number */
    CALL_OPTION,
    CALL_RECEIVE,
    CALL_SEND,
    CALL_MESSAGE,
    CALL_MESSAGES,
    CALL_BYTES, /* read, write */
    CALL_PARTS, /* readv, writev */
    CALL_SENDFILE,
    CALL_SPLICE,
    CALL_RANGE, /* close_range, dup3: a descriptor and two numbers */
    CALL_DESCRIPTOR,
    CALL_FCNTL,
    CALL_IOCTL,
    CALL_POLL,
    CALL_SELECT,
    CALL_MAKE, /* a descriptor, of a number */
    CALL_EVENTFD,
    CALL_EPOLL_CTL,
    CALL_EPOLL_WAIT,
    CALL_RING,  /* io_uring_enter, io_uring_register */
    CALL_OTHER, /* by its number and six words */
};

/* A call that is recorded. `is_on_any`: it is so on a socket, an epoll, an eventfd alone (the
 * second of two descriptors counts, too). */
struct call_kind {
    enum trace_operation op;
    enum call_shape shape;
    bool is_on_any;
    bool is_known; /* it is one */
};

/* That of all others. */
extern const struct call_kind call_other;

/* How the kernel calls a call; which of its arguments are texts, a bit each; whether the first is a
 * descriptor. NULL: it is newer than we. */
struct call_name {
    const char *name;
    uint8_t texts;
    bool has_descriptor;
};
const struct call_name *call_name_of(uint64_t number);

/* What is known of a number; NULL: it is no call that is recorded. */
const struct call_kind *call_kind_of(uint64_t number);

/* The numbers of all that are, and of those by which the kernel begins a call again and a signal
 * handler returns: at most `size`. Returns how many. */
size_t call_numbers(uint32_t *numbers, size_t size);

/* One that is under way. What the kernel will have overwritten at its end is kept. */
struct call {
    const struct call_kind *kind;
    struct tracee_call entered;
    uint64_t t0;    /* ticks */
    uint32_t place; /* of its lines of Python (processes_place), as of its beginning */
    union {
        uint32_t room;      /* for an address */
        int32_t timeout_ms; /* poll and its like */
        struct call_select {
            int32_t timeout_ms;
            fd_set sets[3];
        } select;
        struct call_texts {
            char bytes[96];
            size_t len;
        } texts;
    } before;
};

/* Is it on what is watched? Asks for its descriptors where its kind is_on_any; what cannot be told
 * is. */
bool call_is_watched(const struct call *call, pid_t tid);

/* The thread is about to make it: keep what will be overwritten. */
void call_begin(struct call *call, pid_t tid);

/* What is told of one that has ended. */
struct call_told {
    struct trace_outside outside; /* t0, t1, place: the caller's */
    unsigned char args[144];
    size_t args_len;
    uint64_t moved; /* where the bytes are that it has moved, and how many; 0: none */
    size_t moved_len;
    enum trace_way way;
};

/* Tell it. `result`: as the kernel returned it. */
void call_tell(const struct call *call, pid_t tid, int64_t result, struct call_told *told);

/* The first line of what it has moved, on a socket, and whether that is encrypted. Returns the
 * line's length. */
size_t call_first_line(const struct call *call, struct call_told *told, pid_t tid,
                       char line[FIRST_LINE_SIZE]);

#endif
