/* CPython 3.10 and 3.11: a profile function in each thread. */
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "preload/next.h"
#include "preload/python_calls.h"
#include "preload/python_hooks.h"
#include "preload/python_names.h"

/* What a profile function is told of: Python's pystate.h, PyTrace_*. */
enum { CALL = 0, RETURN = 3, C_CALL = 4, C_EXCEPTION = 5, C_RETURN = 6 };

/* PyThreadState.c_profilefunc lies within so many bytes. */
enum { THREAD_SEARCHED = 256 };

typedef int profile_function(python_object *, python_object *frame, int what, python_object *arg);

static struct {
    const struct frames *frames;
    size_t function_at; /* in a PyThreadState: its profile function */
    int (*set)(void *thread, profile_function *, python_object *);
    void *(*running)(void); /* the thread that holds the GIL */
    void *(*main)(void);
    void *(*first)(void *interpreter);
    void *(*next)(void *thread);
    void (*clear_error)(void);
} self;

static int on_profile(python_object *unused, python_object *object, int what, python_object *arg)
{
    uint64_t frame = frames_of_object(self.frames, object), outer;
    (void)unused;
    switch (what) {
    case CALL:
        python_calls_enter(frame, frames_step(self.frames, frame, &outer),
                           frames_is_resumed(self.frames, frame));
        break;
    case RETURN:
        python_calls_leave(frame, arg && frames_is_suspended(self.frames, frame), !arg);
        break;
    case C_CALL:
        if (python_kind(arg) != PYTHON_NO_C_FUNCTION)
            python_calls_enter_c(frame, arg, NULL);
        break;
    case C_RETURN:
    case C_EXCEPTION:
        python_calls_leave_c(frame, what == C_EXCEPTION);
        break;
    }
    return 0;
}

static profile_function *function_of(const void *thread)
{
    profile_function *function;
    memcpy(&function, (const char *)thread + self.function_at, sizeof(function));
    return function;
}

/* Where a thread's state has it: where it is once it is set, and was not before. */
static bool find_function(void *thread)
{
    profile_function *ours = on_profile, *found;
    if (self.set(thread, on_profile, NULL) < 0)
        return false;
    for (size_t at = 0; at < THREAD_SEARCHED && self.function_at == 0; at += sizeof(found)) {
        memcpy(&found, (const char *)thread + at, sizeof(found));
        self.function_at = found == ours ? at : 0;
    }
    return self.function_at != 0;
}

static bool find_functions(const struct frames *frames)
{
    *(void **)&self.set = dlsym(RTLD_DEFAULT, "_PyEval_SetProfile");
    *(void **)&self.running = dlsym(RTLD_DEFAULT, "_PyThreadState_UncheckedGet");
    *(void **)&self.main = dlsym(RTLD_DEFAULT, "PyInterpreterState_Main");
    *(void **)&self.first = dlsym(RTLD_DEFAULT, "PyInterpreterState_ThreadHead");
    *(void **)&self.next = dlsym(RTLD_DEFAULT, "PyThreadState_Next");
    *(void **)&self.clear_error = dlsym(RTLD_DEFAULT, "PyErr_Clear");
    self.frames = frames;
    return self.set && self.running && self.main && self.first && self.next && self.clear_error;
}

/* Threads that have none get ours. An audit hook may refuse. */
static bool set_where_none(void *thread)
{
    if (function_of(thread))
        return true;
    bool done = self.set(thread, on_profile, NULL) == 0;
    if (!done)
        self.clear_error();
    return done;
}

bool python_profile_begin(const struct frames *frames)
{
    if (!self.frames && !find_functions(frames))
        return false;
    if (self.function_at == 0 && !find_function(self.running())) {
        self.clear_error();
        return false;
    }
    bool done = true;
    for (void *thread = self.first(self.main()); thread; thread = self.next(thread))
        done &= set_where_none(thread);
    return done;
}

enum python_profile python_profile_here(void)
{
    const void *thread = self.frames->thread_state();
    profile_function *function = thread ? function_of(thread) : on_profile;
    return function == on_profile ? PYTHON_PROFILE_OURS
           : function             ? PYTHON_PROFILE_THEIRS
                                  : PYTHON_PROFILE_NONE;
}

/* A thread that Python begins has its state before it is there: the newest of all. Its first call
 * is told of, too. */
PRELOAD int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                           void *(*routine)(void *), void *argument)
{
    if (process_here.python_calls == PROCESS_CALLS_BY_PROFILE &&
        self.running() == self.frames->thread_state() && self.running())
        set_where_none(self.first(self.main()));
    return NEXT(pthread_create)(thread, attributes, routine, argument);
}
