/* Frames: which line of Python a thread is running, read from the interpreter's structs: without
 * Python.h, without the GIL, without allocation. Two memories can be read in the same way: this
 * process's, by plain loads, and another's, by a callback.
 *
 * Known are CPython 3.10 to 3.14 with a GIL, on 64-bit Linux (layout.h). A layout is checked
 * against the interpreter that is found; what is not known is said, and never guessed.
 *
 *     struct frames frames;
 *     struct frames_key keys[20];
 *     size_t count;
 *     if (frames_find(&frames) == 0 && frames_walk(&frames, keys, 20, &count) <= FRAMES_MORE)
 *         ... frames_line(&frames, keys[0].code, keys[0].instruction) ...
 *
 * `struct frames` is written by the two `frames_find`s and only read by all else: one serves all
 * threads. Every address and offset is a uint64_t, since it may be another process's. */
#ifndef ZOLAL_FRAMES_FRAMES_H
#define ZOLAL_FRAMES_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "frames/layout.h"

/* Copy `len` bytes at `address` of the memory that `frames` is about. Returns 0, or -errno when
 * they are not all there. */
typedef int frames_read(const struct frames *frames, uint64_t address, void *into, size_t len);

/* An interpreter that was found. Its fields are for src/frames/ alone, but for `version` and `pid`.
 */
struct frames {
    char version[16]; /* "3.11.2"; of another process's 3.10, "3.10.0", and of one before, "older";
                         "": there is no Python. NUL-terminated */
    pid_t pid;        /* whose memory; 0: this process's */

    struct frames_layout layout;
    uint64_t runtime;            /* where _PyRuntime is */
    uint64_t code_type;          /* PyCode_Type */
    uint64_t pthread_tid;        /* in another's glibc: where a pthread_t points to keeps its tid;
                                    0: not known */
    void *(*thread_state)(void); /* PyGILState_GetThisThreadState, in this process */
    void *(*running_state)(
        void);                  /* PyThreadState_GetUnchecked: this thread's when it has the GIL */
    frames_read *read;          /* NULL: plain loads */
    struct frames_pages *pages; /* of another's memory; NULL: each read is the kernel's */
};

/* Find the interpreter of this process, by dlsym(3) among the symbols that all of it sees. Returns
 * 0; -ENOENT: there is no Python (yet: it may be loaded later); -ENOSYS: there is one, `version`,
 * whose structs are not known. It need not be initialised: until it is, a walk gives
 * FRAMES_NO_THREAD. Asks once a symbol, some microseconds in all, so it may be called again. Not
 * from a signal handler. */
int frames_find(struct frames *frames);

/* Find the interpreter of another process, whose memory the caller may read (ptrace(2),
 * PTRACE_MODE_ATTACH_REALCREDS). Its symbols are looked up in the tables that it has in memory, so
 * a process in another container, or whose files are gone, is no different. Returns as frames_find
 * does, or -errno: -EPERM, -ESRCH. */
int frames_find_remote(struct frames *frames, pid_t pid);

/* A frame: where its code object is, and how many bytes into its code it stands (for an outer
 * frame: at its call). Two stacks are the same when their keys are, as long as the code lives. */
struct frames_key {
    uint64_t code;
    uint64_t instruction;
};

/* What a walk ended with. The first two gave frames; with the others there is none. */
enum frames_end {
    FRAMES_ALL,       /* the keys are the whole stack */
    FRAMES_MORE,      /* there were more frames than `max` */
    FRAMES_NO_THREAD, /* the thread has no Python state: not made by it, not yet, not any more */
    FRAMES_IDLE,      /* it has, but no Python code is running in it */
    FRAMES_ENDING,    /* the interpreter is ending, and not in this thread */
    FRAMES_SUBINTERPRETER, /* there are subinterpreters: in which one the thread is cannot be told
                            */
    FRAMES_UNREADABLE,     /* the memory could not be read, or made no sense */
};

/* Copies of pages of another process's memory: what lies together is read at once, and what a walk
 * has needed, the next is likely to need. Each page has one place. */
enum { FRAMES_PAGES = 64, FRAMES_PAGE_SIZE = 4096 };
struct frames_pages {
    pid_t of;                         /* whose memory they are */
    uint64_t addresses[FRAMES_PAGES]; /* 0: there is none */
    bool is_used[FRAMES_PAGES];       /* since they were read */
    unsigned char bytes[FRAMES_PAGES][FRAMES_PAGE_SIZE];
};

/* Read by such copies, which are true while the thread that is walked stands still: for the next
 * walk call it again. What was used of the same process, `of`, is read anew, by one system call. */
void frames_read_pages(struct frames *frames, struct frames_pages *pages, pid_t of);

/* The same in words: "no Python code is running"; static. */
const char *frames_end_text(enum frames_end end);

/* The calling thread's frames from the innermost on into `keys`, at most `max` of them; `*count`:
 * how many. Shown is what sys._getframe() shows: frames that have not begun, and what C calls
 * Python through, are left out; a coroutine's outer frame is what awaits it. The thread's code
 * objects stay where they are until it goes on.
 *
 * Async-signal-safe, with or without the GIL; errno stays. Without it, as at nearly every system
 * call that Python makes, 20 frames take some 35 nanoseconds. With it the thread may be in the
 * middle of something (a signal handler): the kernel is then asked whether what looks like a
 * pointer is one, by an rt_sigprocmask(2) that fails, for each page: about a microsecond. */
enum frames_end frames_walk(const struct frames *frames, struct frames_key *keys, size_t max,
                            size_t *count);

/* The same of thread `tid` of the process that frames_find_remote found, which should stand still:
 * of one that runs, any frames may come out. `thread`: 0 at first, then what was last put there for
 * this tid; it spares the search, and is checked. */
enum frames_end frames_walk_remote(const struct frames *frames, pid_t tid, uint64_t *thread,
                                   struct frames_key *keys, size_t max, size_t *count);

/* For who is called by the interpreter, with the GIL, about a frame of this process's. */

/* The frame of Python that `thread`, a PyThreadState, runs; 0: none. Some loads; needs no GIL for
 * the calling thread's own. */
uint64_t frames_top(const struct frames *frames, const void *thread);

/* The frame of a PyFrameObject. */
uint64_t frames_of_object(const struct frames *frames, const void *object);

/* Its code object; 0: it is none that a walk shows. `*outer`: the frame around it, 0: none. */
uint64_t frames_step(const struct frames *frames, uint64_t frame, uint64_t *outer);

/* Is the interpreter ending, by another thread than `thread`, whose state is freed then? */
bool frames_is_ending(const struct frames *frames, const void *thread);

/* The frame around it that is of Python, whether a walk shows it or not; 0: none. Two loads. */
uint64_t frames_outer(const struct frames *frames, uint64_t frame);

/* A profile function (PyEval_SetProfile) of 3.10 or 3.11 has been told of a call: is it a generator
 * or coroutine that goes on? Of a return: is it one that goes on later? From 3.12 on False: there
 * are events of their own. */
bool frames_is_resumed(const struct frames *frames, uint64_t frame);
bool frames_is_suspended(const struct frames *frames, uint64_t frame);

/* A place for text of the caller: `size` bytes at `data`, of which `len` are written: UTF-8,
 * without a NUL, cut between characters when it is too long. */
struct frames_text {
    char *data;
    size_t size;
    size_t len;
    bool is_cut;
};

/* What a code object is. The caller sets `name` and `file` (a size of 0 will do). */
struct frames_code {
    struct frames_text
        name; /* co_qualname; in 3.10 co_name. A lone surrogate is written as U+FFFD */
    struct frames_text file; /* co_filename */
    uint32_t first_line;     /* co_firstlineno */
    uint32_t flags;          /* co_flags: FRAMES_GENERATOR... */
};

/* Of co_flags: what kind of function it is (Python's inspect.CO_*). */
enum {
    FRAMES_GENERATOR = 0x20,
    FRAMES_COROUTINE = 0x80,
    FRAMES_ITERABLE_COROUTINE = 0x100,
    FRAMES_ASYNC_GENERATOR = 0x200,
};

/* Fill `out` from the code object at `code`, which came from a walk that the thread has not gone on
 * from. Returns 0, or -EFAULT: there is no (live) code object. Async-signal-safe, as are the next
 * two: each reads as the walk does. */
int frames_code(const struct frames *frames, uint64_t code, struct frames_code *out);

/* The line in co_filename of the instruction `instruction` bytes into the code; 0: it has none, or
 * cannot be had. Takes time in proportion to the code's length: worth keeping. */
uint32_t frames_line(const struct frames *frames, uint64_t code, uint64_t instruction);

/* Addresses of code objects are used again. What is kept about `code` is still true while this
 * gives the same number: from 3.12 on code objects are numbered by Python; before, it is a hash of
 * where the object's parts are and of how they end. 0: there is no code object. Of our own process:
 * `code` is what Python has just named to a hook of ours, an object that is alive; it is read as
 * such, whoever has the GIL. */
uint64_t frames_code_key(const struct frames *frames, uint64_t code);

/* The same of `count` frames of one walk, which are read as the walk does, into `code_keys`: 2
 * nanoseconds each, before 3.12 some 6. */
void frames_code_keys(const struct frames *frames, const struct frames_key *keys, size_t count,
                      uint64_t *code_keys);

#endif
