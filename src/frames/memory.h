/* Reading the interpreter's memory: ours by plain loads, another's by `frames->read`. */
#ifndef ZOLAL_FRAMES_MEMORY_H
#define ZOLAL_FRAMES_MEMORY_H

#include <errno.h>
#include <string.h>

#include "frames/frames.h"

/* A `frames_read`: of the process frames->pid, by process_vm_readv(2). Async-signal-safe. */
int memory_read_process(const struct frames *frames, uint64_t address, void *into, size_t len);

/* This process's memory where it may not be there: the kernel is asked, once for each page. */
enum { MEMORY_GUARD_PAGES = 32 };
struct memory_guard {
    struct frames frames; /* what is to be read with, as long as the guard lives: comes first */
    uint64_t pages[MEMORY_GUARD_PAGES]; /* those that can be read; each has one place */
};

/* What to read with: `frames`, or, where this thread has the GIL, `guard`, with no page known yet.
 * A thread without it has left Python's code for C's, and its frames stand still. One that has it
 * may be anywhere, and a signal handler between any two instructions: nothing is then sure to be a
 * pointer. What reads with the guard changes errno. Async-signal-safe. */
const struct frames *memory_guarded(struct memory_guard *guard, const struct frames *frames);

/* The `len` bytes at `address`, where they are if `is_own` (a constant: what is inlined is either
 * loads or calls), else copied into `buffer`. NULL: they cannot be read. */
static inline __attribute__((always_inline)) const unsigned char *memory_view(
    const struct frames *frames, bool is_own, uint64_t address, void *buffer, size_t len)
{
    if (is_own)
        return (const unsigned char *)(uintptr_t)address;
    return frames->read(frames, address, buffer, len) == 0 ? buffer : NULL;
}

/* Copy `len` bytes at `address`. Returns 0 or -errno. */
static inline int memory_copy(const struct frames *frames, uint64_t address, void *into, size_t len)
{
    if (address == 0)
        return -EFAULT;
    if (frames->read)
        return frames->read(frames, address, into, len);
    memcpy(into, (const void *)(uintptr_t)address, len);
    return 0;
}

/* Fields of a struct that is in view: a pointer or size_t, an int. */
static inline uint64_t memory_word(const unsigned char *view, size_t offset)
{
    uint64_t word;
    memcpy(&word, view + offset, sizeof(word));
    return word;
}

static inline uint32_t memory_int(const unsigned char *view, size_t offset)
{
    uint32_t number;
    memcpy(&number, view + offset, sizeof(number));
    return number;
}

/* PyObject.ob_type, PyVarObject.ob_size, PyBytesObject.ob_sval, PyTypeObject.tp_basicsize: the same
 * in all versions that are known. */
enum {
    OBJECT_REFERENCES = 0,
    OBJECT_TYPE = 8,
    OBJECT_SIZE = 16,
    BYTES_DATA = 32,
    TYPE_NAME = 24,
    TYPE_BASIC_SIZE = 32,
};

/* Copy the code object at `address`. false: there is none, or it is being freed: it has no
 * references then, and its parts are gone, but in 3.11 the frame that it ran in may still name it.
 */
static inline bool memory_copy_code(const struct frames *frames, uint64_t address,
                                    unsigned char bytes[FRAMES_STRUCT_MAX])
{
    return memory_copy(frames, address, bytes, OBJECT_SIZE) == 0 &&
           memory_word(bytes, OBJECT_TYPE) == frames->code_type &&
           memory_int(bytes, OBJECT_REFERENCES) != 0 &&
           memory_copy(frames, address, bytes, frames->layout.code.size) == 0;
}

#endif
