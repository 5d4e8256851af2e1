#include "stacks/numbers.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "trace/event.h"
#include "trace/recorder.h"

/* What was written is remembered by a number of 64 bits that is made of all that it depends on: two
 * that are not the same have one number once in 10^10 programs with 10^4 stacks each. */
struct numbers_memo {
    uint64_t key; /* 0: empty */
    uint32_t value;
    uint32_t is_set;
};

enum {
    MEMOS = 1 << 16,
    MEMOS_SIZE = MEMOS * sizeof(struct numbers_memo),
    PROBES = 32,
    NAME_SIZE = 400,
    FILE_SIZE = 560,
};

/* What the three kinds of numbers are salted with. */
#define OF_STACK UINT64_C(0x9e3779b97f4a7c15)
#define OF_CODE  UINT64_C(0xc2b2ae3d27d4eb4f)
#define OF_TEXT  UINT64_C(0x165667b19e3779f9)

static uint64_t mix(uint64_t hash, uint64_t value)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(hash ^ value) * UINT64_C(0x9fb21c651e98df25);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
    const char *bytes = data;
    uint64_t word = 0;
    for (; len >= sizeof(word); bytes += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        hash = mix(hash, word);
    }
    word = len + 1;
    memcpy(&word, bytes, len);
    return mix(hash ^ len, word);
}

bool numbers_init(struct numbers *numbers)
{
    void *memory =
        mmap(NULL, MEMOS_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    numbers->memos = memory == MAP_FAILED ? NULL : memory;
    return numbers->memos != NULL;
}

void numbers_forget(struct numbers *numbers)
{
    madvise(numbers->memos, MEMOS_SIZE, MADV_DONTNEED);
}

void numbers_end(struct numbers *numbers)
{
    if (numbers->memos)
        munmap(numbers->memos, MEMOS_SIZE);
    numbers->memos = NULL;
}

/* The value of `key`, or false. */
static bool memo_get(const struct numbers *numbers, uint64_t key, uint32_t *value)
{
    for (uint32_t i = 0; i < PROBES; i++) {
        struct numbers_memo *memo = &numbers->memos[(key + i) % MEMOS];
        uint64_t there = __atomic_load_n(&memo->key, __ATOMIC_RELAXED);
        if (there == 0)
            return false;
        /* Acquire: the value was written before; partner: memo_set. */
        if (there == key && __atomic_load_n(&memo->is_set, __ATOMIC_ACQUIRE)) {
            *value = memo->value;
            return true;
        }
    }
    return false;
}

/* Nothing where there is no room: it is written again then. */
static void memo_set(struct numbers *numbers, uint64_t key, uint32_t value)
{
    for (uint32_t i = 0; i < PROBES; i++) {
        struct numbers_memo *memo = &numbers->memos[(key + i) % MEMOS];
        uint64_t empty = 0;
        if (__atomic_compare_exchange_n(&memo->key, &empty, key, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            memo->value = value;
            /* Release: partner of memo_get. */
            __atomic_store_n(&memo->is_set, 1, __ATOMIC_RELEASE);
            return;
        }
        if (empty == key)
            return;
    }
}

/* A name of the recording, written once for one text. */
static uint32_t text_number(struct numbers *numbers, const void *data, size_t len, uint64_t salt)
{
    uint64_t key = hash_bytes(OF_TEXT ^ salt, data, len) | 1;
    uint32_t number;
    if (memo_get(numbers, key, &number))
        return number;
    number = trace_name(slice_of(data, len));
    if (number != 0)
        memo_set(numbers, key, number);
    return number;
}

uint32_t numbers_name(struct numbers *numbers, const char *name, size_t len)
{
    return text_number(numbers, name, len, 0);
}

uint32_t numbers_line(struct numbers *numbers, uint32_t name, uint32_t line)
{
    struct trace_frame frame = {name, line};
    return name == 0 ? 0 : text_number(numbers, &frame, sizeof(frame), OF_STACK);
}

/* "function (file)" */
uint32_t numbers_code(struct numbers *numbers, const struct frames *frames, uint64_t code,
                      uint64_t key)
{
    uint64_t known = mix(mix(OF_CODE, code), key) | 1;
    uint32_t number;
    if (memo_get(numbers, known, &number))
        return number;
    char text[NAME_SIZE + FILE_SIZE + 4], file[FILE_SIZE];
    struct frames_code read = {.name = {.data = text, .size = NAME_SIZE},
                               .file = {.data = file, .size = FILE_SIZE}};
    if (frames_code(frames, code, &read) < 0)
        return 0;
    size_t len = read.name.len;
    len += (size_t)snprintf(text + len, sizeof(text) - len, " (%.*s)", (int)read.file.len, file);
    number = text_number(numbers, text, len, 0);
    if (number != 0)
        memo_set(numbers, known, number);
    return number;
}

static uint32_t stack_write(struct numbers *numbers, const struct frames *from,
                            const struct frames_key *keys, const uint64_t *code_keys, size_t count,
                            bool is_cut)
{
    struct trace_frame frames[TRACE_FRAMES_MAX];
    for (size_t i = 0; i < count; i++) {
        frames[i].name = numbers_code(numbers, from, keys[i].code, code_keys[i]);
        frames[i].line = frames_line(from, keys[i].code, keys[i].instruction);
    }
    if (is_cut)
        frames[count - 1] = (struct trace_frame){0};
    return text_number(numbers, frames, count * sizeof(*frames), OF_STACK);
}

uint32_t numbers_stack(struct numbers *numbers, const struct frames *frames,
                       const struct frames_key *keys, size_t count, bool is_cut)
{
    uint64_t code_keys[TRACE_FRAMES_MAX];
    uint64_t known = OF_STACK;
    frames_code_keys(frames, keys, count, code_keys);
    for (size_t i = 0; i < count; i++)
        known = mix(known ^ code_keys[i], keys[i].code + keys[i].instruction * OF_CODE);
    known |= 1;
    uint32_t place;
    if (memo_get(numbers, known, &place))
        return place;
    place = stack_write(numbers, frames, keys, code_keys, count, is_cut);
    if (place != 0)
        memo_set(numbers, known, place);
    return place;
}

void numbers_describe(struct recording_header *header, const struct frames *frames, bool is_unknown)
{
    memcpy(header->python, frames->version, sizeof(frames->version));
    if (is_unknown)
        snprintf(
            header->note, sizeof(header->note),
            "Python %s: where it keeps its frames is not known, so kernel calls have no Python "
            "lines",
            frames->version);
}

void numbers_note(struct recording_header *header, enum frames_end end)
{
    if (end == FRAMES_SUBINTERPRETER && header->note[0] == '\0')
        snprintf(header->note, sizeof(header->note), "%s", frames_end_text(end));
}
