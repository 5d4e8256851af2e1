#include "server/history.h"

/* A call that blocked counts for more than one that did not: a wrong guess costs a wake-up, a
 * missed one costs everybody the time until the keeper sees it. */
enum { SCORE_OF_A_BLOCK = 4, SCORE_EXPECTED = 4, SCORE_MOST = 8, KEY_BYTES = 64 };

/* FNV-1a. */
uint32_t history_key(struct slice path)
{
    uint32_t hash = 2166136261u;
    size_t len = path.len < KEY_BYTES ? path.len : KEY_BYTES;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)path.data[i]) * 16777619u;
    return hash;
}

static uint16_t tag_of(uint32_t key)
{
    return (uint16_t)(key >> 16) | 1; /* 0 is a slot that was never used */
}

bool history_blocks(const struct history *history, uint32_t key)
{
    bool known = history->slots[key % HISTORY_SLOTS].tag == tag_of(key);
    return (known ? history->slots[key % HISTORY_SLOTS].score : history->all) >= SCORE_EXPECTED;
}

static uint8_t score_after(uint8_t score, bool blocked)
{
    if (!blocked)
        return score > 0 ? score - 1 : 0;
    return score + SCORE_OF_A_BLOCK < SCORE_MOST ? score + SCORE_OF_A_BLOCK : SCORE_MOST;
}

void history_note(struct history *history, uint32_t key, bool blocked)
{
    uint32_t slot = key % HISTORY_SLOTS;
    if (history->slots[slot].tag != tag_of(key)) {
        history->slots[slot].tag = tag_of(key);
        history->slots[slot].score = 0;
    }
    history->slots[slot].score = score_after(history->slots[slot].score, blocked);
    history->all = score_after(history->all, blocked);
}
