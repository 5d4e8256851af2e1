/* Field blocks that came before, byte for byte, and what the parser made of them: clients send the
 * same fields with each request, and comparing them is cheaper than parsing them. A table of a
 * fixed size; a block gets into it when it is seen for the second time, so that those which never
 * come again cost no more than a look. Only fields of HTTP/1.1 requests that were accepted are
 * remembered, and not those to a target in absolute form: what they mean depends on nothing else.
 */
#ifndef ZOLAL_HTTP_FIELD_MEMO_H
#define ZOLAL_HTTP_FIELD_MEMO_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define FIELD_MEMO_ENTRIES 32   /* a power of two */
#define FIELD_MEMO_MAX     4096 /* bytes of a block that is remembered */

struct request_head;
struct field_memo_entry;

/* All zero: nothing is remembered. `last`: the entry that was found last, the likeliest to come. */
struct field_memo {
    struct field_memo_entry *last;
    uint64_t seen[FIELD_MEMO_ENTRIES]; /* the fingerprint of what was last seen with this place */
    struct field_memo_entry *entries[FIELD_MEMO_ENTRIES];
    uint64_t written; /* how many blocks were remembered so far */
};

/* The place in the table, 0 .. FIELD_MEMO_ENTRIES - 1, of the block with this number
 * (request_head.block): nothing else has it while that is remembered. */
static inline size_t field_memo_place(uint64_t block)
{
    return block & (FIELD_MEMO_ENTRIES - 1);
}

/* Forget all. */
void field_memo_release(struct field_memo *memo);

/* Do `bytes` begin with a block that is remembered, its empty line included? Then everything in
 * `head` that the fields say is set, as parsing them would, `head->block` included. Returns the
 * length of the block, or 0. */
size_t field_memo_find(struct field_memo *memo, struct slice bytes, struct request_head *head);

/* `block` was parsed, its empty line included, and `head` is what came of it: remember it if it is
 * time to. `head->block` is set. Never fails: without memory nothing is remembered. */
void field_memo_keep(struct field_memo *memo, struct slice block, struct request_head *head);

#endif
