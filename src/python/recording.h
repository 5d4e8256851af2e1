/* The process's recording, as Python starts and ends it. */
#ifndef ZOLAL_PYTHON_RECORDING_H
#define ZOLAL_PYTHON_RECORDING_H

#include <stdbool.h>

#include "python/state.h"
#include "trace/recorder.h"

/* Add recording_start and recording_stop to the module. Returns 0, or -1 with an exception set. */
int recording_add(PyObject *module);

/* Have the calling thread's kernel calls recorded, if there is a recording: for the first line of
 * whatever Python calls on a thread that is not ours. It is detached at the thread's end. Costs a
 * load or two. */
static inline void recording_join(struct module_state *state)
{
    if (state->recording && !recorder_is_of(state->recording))
        recorder_attach_until_end(state->recording);
}

/* The same, and what they are recorded for: the lines of Python that run, if those are wanted.
 * Returns what trace_place() does. */
static inline uint32_t recording_begin(struct module_state *state)
{
    recording_join(state);
    return trace_place(state->places.folders && recorder_here ? places_here(state) : 0);
}

static inline void recording_leave(const uint32_t *before)
{
    trace_place(*before);
}

/* Have the kernel calls from here to the end of this block recorded, with their place. */
#define RECORDED(state)                                                          \
    uint32_t recorded_before __attribute__((cleanup(recording_leave), unused)) = \
        recording_begin(state)

/* In a forked child: forget what its parent records. */
void recording_after_fork(struct module_state *state);

/* End the recording of a module that goes away. */
void recording_end(PyObject *module);

#endif
