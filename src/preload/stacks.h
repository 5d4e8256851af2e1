/* The Python lines of a call, as a place of the recording (trace/event.h). */
#ifndef ZOLAL_PRELOAD_STACKS_H
#define ZOLAL_PRELOAD_STACKS_H

#include <stdbool.h>
#include <stdint.h>

#include "trace/recording.h"

/* Make room for what is remembered. Once in a process. */
bool stacks_init(void);

/* The number of the place where the calling thread's Python code stands; 0: there is none, or it
 * cannot be told. For a thread with a recorder. Async-signal-safe but for the first time that an
 * interpreter is found. */
uint32_t stacks_here(void);

/* The numbers are those of another recording: a forked child has a new one. */
void stacks_forget(void);

/* Write into a new recording's header which interpreter this process has. */
void stacks_describe(struct recording_header *header);

#endif
