/* What a recording has of Python's code: names, and the stacks that are made of them, each written
 * once and known by its number from then on (trace/event.h). One for each recording. All but
 * numbers_init are async-signal-safe, any number of threads may ask at once, and all write by the
 * recorder of the calling thread. */
#ifndef ZOLAL_STACKS_NUMBERS_H
#define ZOLAL_STACKS_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames/frames.h"
#include "trace/recording.h"

/* What is remembered; its members are numbers.c's. */
struct numbers {
    struct numbers_memo *memos; /* NULL: nothing is */
};

/* Make room for what is remembered: a megabyte, of which is taken what is used. */
bool numbers_init(struct numbers *numbers);

/* The recording is another one. */
void numbers_forget(struct numbers *numbers);

/* Give the room back; nothing happens when there is none. */
void numbers_end(struct numbers *numbers);

/* The number of a name, of a code object's "function (file)" (`key`: frames_code_key), of the place
 * that is one frame alone; 0: there is none to be had. */
uint32_t numbers_name(struct numbers *numbers, const char *name, size_t len);
uint32_t numbers_code(struct numbers *numbers, const struct frames *frames, uint64_t code,
                      uint64_t key);
uint32_t numbers_line(struct numbers *numbers, uint32_t name, uint32_t line);

/* The number of the stack that a walk has found. `is_cut`: there were more frames. */
uint32_t numbers_stack(struct numbers *numbers, const struct frames *frames,
                       const struct frames_key *keys, size_t count, bool is_cut);

/* Write into a recording's header which interpreter its process has (`is_unknown`: where that keeps
 * its frames is not known), and why a walk gave none, where that is worth a note. */
void numbers_describe(struct recording_header *header, const struct frames *frames,
                      bool is_unknown);
void numbers_note(struct recording_header *header, enum frames_end end);

#endif
