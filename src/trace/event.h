/* The vocabulary of a recording: slots of 64 bytes. This layout is written to files: whatever
 * changes it raises TRACE_VERSION.
 *
 * A slot is one of
 *   - a call of the kernel (TRACE_CALL): what was called, when, on which descriptor, its result;
 *   - a mark (the other kinds): a request begins or ends, Python is entered or left, ...;
 *   - more bytes of the slot before it (TRACE_ARGS), read as `struct trace_args`. */
#ifndef ZOLAL_TRACE_EVENT_H
#define ZOLAL_TRACE_EVENT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_VERSION 4

/* Every kernel call that is recorded: zolal's own, and those of a program that is traced.
 * Enumerator, the name in section 2 of the manual (as strace(1) prints it). */
#define TRACE_OPERATIONS(X)                   \
    X(SOCKET, "socket")                       \
    X(BIND, "bind")                           \
    X(CONNECT, "connect")                     \
    X(LISTEN, "listen")                       \
    X(ACCEPT, "accept")                       \
    X(ACCEPT4, "accept4")                     \
    X(READ, "read")                           \
    X(WRITE, "write")                         \
    X(CLOSE, "close")                         \
    X(SHUTDOWN, "shutdown")                   \
    X(GETSOCKOPT, "getsockopt")               \
    X(SETSOCKOPT, "setsockopt")               \
    X(GETSOCKNAME, "getsockname")             \
    X(RECVFROM, "recvfrom")                   \
    X(SENDTO, "sendto")                       \
    X(SENDMSG, "sendmsg")                     \
    X(SENDFILE, "sendfile")                   \
    X(POLL, "poll")                           \
    X(EPOLL_CREATE1, "epoll_create1")         \
    X(EPOLL_CTL, "epoll_ctl")                 \
    X(EPOLL_WAIT, "epoll_wait")               \
    X(EVENTFD2, "eventfd2")                   \
    X(GETPEERNAME, "getpeername")             \
    X(SOCKETPAIR, "socketpair")               \
    X(RECVMSG, "recvmsg")                     \
    X(FCNTL, "fcntl")                         \
    X(IOCTL, "ioctl")                         \
    X(READV, "readv")                         \
    X(WRITEV, "writev")                       \
    X(RECVMMSG, "recvmmsg")                   \
    X(SENDMMSG, "sendmmsg")                   \
    X(PPOLL, "ppoll")                         \
    X(PSELECT6, "pselect6")                   \
    X(EPOLL_CREATE, "epoll_create")           \
    X(EPOLL_PWAIT, "epoll_pwait")             \
    X(EPOLL_PWAIT2, "epoll_pwait2")           \
    X(EVENTFD, "eventfd")                     \
    X(DUP, "dup")                             \
    X(DUP2, "dup2")                           \
    X(DUP3, "dup3")                           \
    X(SPLICE, "splice")                       \
    X(CLOSE_RANGE, "close_range")             \
    X(SELECT, "select")                       \
    X(IO_URING_SETUP, "io_uring_setup")       \
    X(IO_URING_ENTER, "io_uring_enter")       \
    X(IO_URING_REGISTER, "io_uring_register") \
    X(OTHER, "other")

enum trace_operation {
#define X(name, text) TRACE_##name,
    TRACE_OPERATIONS(X)
#undef X
        TRACE_OPERATION_COUNT
};

/* What a slot says; the comment tells which members it uses besides seq, t0, connection, request.
 */
enum trace_kind {
    TRACE_EMPTY = 0,     /* never written */
    TRACE_CALL,          /* op, fd, argument, result, t0..t1 */
    TRACE_ARGS,          /* `struct trace_args`: belongs to the slot before it */
    TRACE_REQUEST_BEGIN, /* ARGS follow: method, space, target (cut) */
    TRACE_REQUEST_END,   /* result: status (0: none was sent), argument: bytes sent */
    TRACE_STATE,         /* op: the state left, argument: the state entered (server/connection.h) */
    TRACE_PYTHON_ENTER,  /* op: enum trace_python, name: what is called, argument: its line */
    TRACE_PYTHON_LEAVE,  /* op: enum trace_python, result: 0, or -1 when an exception was raised */
    TRACE_THREAD,        /* argument: gettid(2) of who writes in this chunk from here on; readers
                          * keep it to themselves */
    TRACE_FIRST_LINE, /* of what the call before it has moved on fd; ARGS follow: the line, cut. op:
                       * enum trace_way */
    TRACE_PYTHON_YIELD,  /* as LEAVE of a generator or coroutine that goes on later: RESUME */
    TRACE_PYTHON_RESUME, /* as ENTER of one that has begun before */
    TRACE_PYTHON_SWITCH, /* the thread goes on with another stack (a greenlet's): ENTERs follow, of
                          * calls under way, from the outermost on. argument: 1: what was under way
                          * before may have ended unseen */
    TRACE_PYTHON_WHOLE,  /* `struct trace_args` with up to three `struct trace_whole` */
    TRACE_LOST           /* argument: slots that a reader missed; made by readers, never stored */
};

/* The calls between the server and the application, both ways (PEP 3333); others that Python code
 * tells of, named by itself; and of a task: the time it held its loop, the line that it was found
 * at when that was long, and the time that it waited. CALL and C_CALL are all that an interpreter
 * calls, too, functions of Python and those of C: then `request` is where the frame is that runs
 * (of C_CALL: the one that called): an ENTER or RESUME and its LEAVE or YIELD have it in common. */
#define TRACE_PYTHON_CALLS(X)           \
    X(APPLICATION, "application")       \
    X(NEXT, "next")                     \
    X(CLOSE, "close")                   \
    X(READ, "read")                     \
    X(WRITE, "write")                   \
    X(START_RESPONSE, "start_response") \
    X(CALL, "call")                     \
    X(C_CALL, "c_call")                 \
    X(STEP, "step")                     \
    X(BLOCKED, "blocked")               \
    X(WAIT, "wait")

enum trace_python {
#define X(name, text) TRACE_PYTHON_##name,
    TRACE_PYTHON_CALLS(X)
#undef X
        TRACE_PYTHON_COUNT
};

/* Which way a first line went. */
enum trace_way { TRACE_RECEIVED, TRACE_SENT };

/* The connection of slots that belong to a task of an event loop, whose number is their request. */
#define TRACE_TASKS UINT32_MAX

/* Times are ticks (base/clock.h). `seq` is 0 while a slot is empty, odd while it is being written,
 * and 2 * index + 2 when valid, `index` counting slots since the chunk was first used, so that a
 * reader can tell a new slot from an old one and a torn one from a whole one. */
struct trace_event {
    uint64_t seq;
    uint64_t t0;
    uint64_t t1;
    int64_t result; /* -errno on failure */
    uint64_t request;
    uint64_t argument;
    uint32_t name; /* of the recording's names; of a call: its place; 0: none */
    int32_t fd;
    uint16_t op;
    uint8_t kind;
    uint8_t flags; /* TRACE_MORE, TRACE_ENCRYPTED, TRACE_UNDER_WAY */
    uint32_t connection;
};

#define TRACE_MORE      1  /* an ARGS slot follows */
#define TRACE_ENCRYPTED 2  /* of a call: the bytes that it moved begin a TLS record */
#define TRACE_UNDER_WAY 4  /* of PYTHON_ENTER: it had begun before: it follows a SWITCH */
#define TRACE_RESUMED   8  /* of PYTHON_WHOLE, as a reader hands it out: it began by a RESUME */
#define TRACE_SUSPENDED 16 /* the same: it ended by a YIELD */

/* The argument of recvfrom, sendto, recvmsg, sendmsg and their like: a length or a count, and
 * flags. */
#define TRACE_LENGTH(length, flags) \
    ((uint64_t)(uint32_t)(flags) << 32 | ((length) < UINT32_MAX ? (uint32_t)(length) : UINT32_MAX))

/* A place stands among the names: the lines of Python that led to a call, each an array's element,
 * from the innermost on to the one that asked for it all. */
struct trace_frame {
    uint32_t name; /* "function (file)"; 0: none */
    uint32_t line; /* 1.. or 0 */
};

#define TRACE_FRAMES_MAX 120

/* Up to 48 more bytes. Calls write: accept, accept4, bind, connect, getsockname, getpeername, and
 * recvfrom and sendto where they have one: struct sockaddr, cut; setsockopt and getsockopt: int32
 * level, option, value; sendmsg and recvmsg: uint64 length of each part; epoll_ctl: int32
 * operation, fd, uint32 events; epoll_wait: pairs of int32 fd, uint32 events, the first six;
 * socket: int32 family, type, protocol; socketpair: the same and both int32 fd; sendfile: uint64
 * count, uint64 offset, int32 in_fd; poll, ppoll, select, pselect6: int32 timeout in ms, then int32
 * fd, int16 events, int16 revents of each, the first five; fcntl, ioctl: int32 value;
 * io_uring_enter, io_uring_register: two more numbers of 32 bits. A call of another kind (OTHER),
 * whose `argument` is its number, with the number of its name above it: six uint64, then in more
 * slots for each of its texts the position of the argument in a byte, the text (cut), a NUL. */
struct trace_args {
    uint64_t seq;
    unsigned char data[48];
    uint16_t len; /* bytes of data used */
    uint8_t kind; /* TRACE_ARGS */
    uint8_t flags;
    uint32_t connection;
};

/* A call of Python from its ENTER or RESUME to its LEAVE or YIELD, in which nothing was recorded
 * but others of these. They are written when they end, the inner before the outer; some slots
 * later, it may be. Those that end in more ticks than 32 bits have are written as two marks. */
struct trace_whole {
    uint64_t begin; /* ticks; above them TRACE_WHOLE_ */
    uint32_t ticks; /* until the end */
    uint32_t place; /* of one frame: the function and its first line; of a C function 0 */
};

#define TRACE_WHOLE_C         (UINT64_C(1) << 63)
#define TRACE_WHOLE_RAISED    (UINT64_C(1) << 62)
#define TRACE_WHOLE_RESUMED   (UINT64_C(1) << 61)
#define TRACE_WHOLE_SUSPENDED (UINT64_C(1) << 60)
#define TRACE_WHOLE_TICKS     (TRACE_WHOLE_SUSPENDED - 1)
#define TRACE_WHOLES_MAX      3

static_assert(sizeof(struct trace_whole[TRACE_WHOLES_MAX]) ==
                  sizeof(((struct trace_args *)0)->data),
              "they fill a slot");
static_assert(sizeof(struct trace_event) == 64, "a slot is a cache line");
static_assert(sizeof(struct trace_args) == 64, "a slot is a cache line");
static_assert(offsetof(struct trace_event, kind) == offsetof(struct trace_args, kind),
              "a reader finds the kind at one place");

#endif
