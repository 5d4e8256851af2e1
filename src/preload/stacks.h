/* The Python lines of a call, as a place of the recording (trace/event.h). */
#ifndef ZOLAL_PRELOAD_STACKS_H
#define ZOLAL_PRELOAD_STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames/frames.h"
#include "trace/recording.h"

/* Make room for what is remembered. Once in a process. */
bool stacks_init(void);

/* The number of the place where the calling thread's Python code stands; 0: there is none, or it
 * cannot be told. For a thread with a recorder. Async-signal-safe but for the first time that an
 * interpreter is found. */
uint32_t stacks_here(void);

/* The interpreter of this process; NULL: none is known, or not yet. Searches, as stacks_here does.
 */
const struct frames *stacks_frames(void);

/* The number of a code object's "function (file)", of any other name, of the place that is this
 * frame alone; 0: there is none to be had. For a thread with a recorder. `key`: frames_code_key. */
uint32_t stacks_code(uint64_t code, uint64_t key);
uint32_t stacks_name(const char *name, size_t len);
uint32_t stacks_place(uint32_t name, uint32_t line);

/* The numbers are those of another recording: in a forked child, which has one thread and a new
 * one. */
void stacks_forget(void);

/* Write into a new recording's header which interpreter this process has. */
void stacks_describe(struct recording_header *header);

#endif
