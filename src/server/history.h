/* Which requests block: what the last calls for a path came to, so that the lead changes hands
 * before such a call and not during it. A small table: paths that fall together are told apart by a
 * tag, and one that is not known is taken for what all of them do. */
#ifndef ZOLAL_SERVER_HISTORY_H
#define ZOLAL_SERVER_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define HISTORY_SLOTS 256

/* All zero at first: nothing is known, and nothing blocks. */
struct history {
    struct {
        uint16_t tag;
        uint8_t score;
    } slots[HISTORY_SLOTS];
    uint8_t all;
};

/* The key of a request's path. */
uint32_t history_key(struct slice path);

/* Is a call for `key` expected to block? */
bool history_blocks(const struct history *history, uint32_t key);

/* A call has ended: did it block? */
void history_note(struct history *history, uint32_t key, bool blocked);

#endif
