/* A memory that can be read by addresses, for tests: no process has it. */
#ifndef ZOLAL_TESTS_FRAMES_MEMORY_H
#define ZOLAL_TESTS_FRAMES_MEMORY_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frames/frames.h"

enum { MEMORY_BASE = 0x10000 };

static unsigned char *memory_bytes;
static size_t memory_len;

static int memory_read(const struct frames *frames, uint64_t address, void *into, size_t len)
{
    if (address < MEMORY_BASE || len > memory_len || address - MEMORY_BASE > memory_len - len)
        return -EFAULT;
    memcpy(into, memory_bytes + (address - MEMORY_BASE), len);
    return 0;
}

static inline void memory_put(uint64_t address, const void *from, size_t len)
{
    memcpy(memory_bytes + (address - MEMORY_BASE), from, len);
}

static inline void memory_put_word(uint64_t address, uint64_t word)
{
    memory_put(address, &word, sizeof(word));
}

static inline void memory_put_int(uint64_t address, uint32_t number)
{
    memory_put(address, &number, sizeof(number));
}

/* Numbers that look random and are the same each time. */
static inline uint64_t chance(uint64_t *state, uint64_t below)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407U;
    return (*state >> 33) % below;
}

#endif
