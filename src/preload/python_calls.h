/* Python's calls between the kernel's: every function of Python and of C that bytecode calls, as
 * the interpreter tells of them. CPython 3.10 to 3.14, without Python.h: its functions are found by
 * dlsym(3), what they tell of is read by src/frames/.
 *
 * 3.10 and 3.11 have a profile function in each thread (PyEval_SetProfile); from 3.12 on there are
 * events (sys.monitoring), which cost a third. A program's own profile function wins: where it sets
 * one, that thread's calls are not recorded, and the recording's header says so. */
#ifndef ZOLAL_PRELOAD_PYTHON_CALLS_H
#define ZOLAL_PRELOAD_PYTHON_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/process.h"

/* An object of the interpreter: never looked into but by src/frames/ and python_names.c. */
typedef struct python_object python_object;

/* As soon as Python is initialised, ask it to tell. Whatever the program calls of the C library is
 * an occasion; the first that comes after its beginning is in the import of `site` or in the
 * opening of the program's file. Async-signal-safe while there is no Python. */
void python_calls_begin(void);

static inline void python_calls_tick(void)
{
    if (__builtin_expect(process_here.python_calls == PROCESS_CALLS_WANTED, 0))
        python_calls_begin();
}

/* A kernel call is about to be recorded: what is under way is written, and whether the thread still
 * tells is looked at. Async-signal-safe. */
void python_calls_before_call(void);

/* The thread or the program ends, or becomes another: write what is under way. */
void python_calls_end(void);

/* The recording is another: a forked child has a new one. */
void python_calls_forget(void);

/* What the interpreter tells: by the thread that it is about, which holds the GIL. `frame`: which
 * one; of a C function the caller's. */
void python_calls_enter(uint64_t frame, uint64_t code, bool is_resumed);
void python_calls_leave(uint64_t frame, bool is_suspended, bool raised);
void python_calls_enter_c(uint64_t frame, const python_object *function, const python_object *self);
void python_calls_leave_c(uint64_t frame, bool raised);

#endif
