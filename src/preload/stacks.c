#include "preload/stacks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "frames/frames.h"
#include "preload/process.h"
#include "trace/recorder.h"

/* What was written is remembered by a number of 64 bits that is made of all that it depends on: two
 * that are not the same have one number once in 10^10 programs with 10^4 stacks each. */
struct memo {
    uint64_t key; /* 0: empty */
    uint32_t value;
    uint32_t is_set;
};

enum {
    MEMOS = 1 << 16,
    PROBES = 32,
    NAME_SIZE = 400,
    FILE_SIZE = 560,
    SEARCHES_MOST = 4096, /* between two of them, in calls */
};

/* What the three kinds of numbers are salted with. */
#define OF_STACK UINT64_C(0x9e3779b97f4a7c15)
#define OF_CODE  UINT64_C(0xc2b2ae3d27d4eb4f)
#define OF_TEXT  UINT64_C(0x165667b19e3779f9)

/* One a process. `found` is written by the one thread that searches. */
static struct {
    struct memo *memos;
    struct frames frames;
    _Atomic uint32_t is_found; /* frames are known */
    _Atomic uint32_t searching;
    _Atomic uint32_t calls_to_go; /* until the next search */
    uint32_t pause;               /* calls between this search and the next */
    bool is_unknown;              /* there is one, of a version that is not known */
} self;

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

bool stacks_init(void)
{
    size_t size = MEMOS * sizeof(struct memo);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    self.memos = memory == MAP_FAILED ? NULL : memory;
    return self.memos != NULL;
}

void stacks_forget(void)
{
    madvise(self.memos, MEMOS * sizeof(struct memo), MADV_DONTNEED);
    /* A thread that was searching is not here. */
    atomic_store_explicit(&self.searching, 0, memory_order_relaxed);
}

/* The value of `key`, or false. */
static bool memo_get(uint64_t key, uint32_t *value)
{
    for (uint32_t i = 0; i < PROBES; i++) {
        struct memo *memo = &self.memos[(key + i) % MEMOS];
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
static void memo_set(uint64_t key, uint32_t value)
{
    for (uint32_t i = 0; i < PROBES; i++) {
        struct memo *memo = &self.memos[(key + i) % MEMOS];
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
static uint32_t text_number(const void *data, size_t len, uint64_t salt)
{
    uint64_t key = hash_bytes(OF_TEXT ^ salt, data, len) | 1;
    uint32_t number;
    if (memo_get(key, &number))
        return number;
    number = trace_name(slice_of(data, len));
    if (number != 0)
        memo_set(key, number);
    return number;
}

uint32_t stacks_name(const char *name, size_t len)
{
    return text_number(name, len, 0);
}

uint32_t stacks_place(uint32_t name, uint32_t line)
{
    struct trace_frame frame = {name, line};
    return name == 0 ? 0 : text_number(&frame, sizeof(frame), OF_STACK);
}

/* "function (file)" */
uint32_t stacks_code(uint64_t code, uint64_t identity)
{
    uint64_t key = mix(mix(OF_CODE, code), identity) | 1;
    uint32_t number;
    if (memo_get(key, &number))
        return number;
    char text[NAME_SIZE + FILE_SIZE + 4], file[FILE_SIZE];
    struct frames_code read = {.name = {.data = text, .size = NAME_SIZE},
                               .file = {.data = file, .size = FILE_SIZE}};
    if (frames_code(&self.frames, code, &read) < 0)
        return 0;
    size_t len = read.name.len;
    len += (size_t)snprintf(text + len, sizeof(text) - len, " (%.*s)", (int)read.file.len, file);
    number = text_number(text, len, 0);
    if (number != 0)
        memo_set(key, number);
    return number;
}

static uint32_t stack_write(const struct frames_key *keys, size_t count, bool is_cut)
{
    struct trace_frame frames[TRACE_FRAMES_MAX];
    for (size_t i = 0; i < count; i++) {
        uint64_t code = keys[i].code;
        frames[i].name = stacks_code(code, frames_code_key(&self.frames, code));
        frames[i].line = frames_line(&self.frames, code, keys[i].instruction);
    }
    if (is_cut)
        frames[count - 1] = (struct trace_frame){0};
    return text_number(frames, count * sizeof(*frames), OF_STACK);
}

void stacks_describe(struct recording_header *header)
{
    memcpy(header->python, self.frames.version, sizeof(self.frames.version));
    if (self.is_unknown)
        snprintf(
            header->note, sizeof(header->note),
            "Python %s: where it keeps its frames is not known, so kernel calls have no Python "
            "lines",
            self.frames.version);
}

/* Search for an interpreter: at once, then ever more rarely, since a program may load one late. */
static bool search(void)
{
    /* Relaxed: a count that need not be exact. */
    if (atomic_load_explicit(&self.calls_to_go, memory_order_relaxed) > 0) {
        atomic_fetch_sub_explicit(&self.calls_to_go, 1, memory_order_relaxed);
        return false;
    }
    uint32_t nobody = 0;
    if (!atomic_compare_exchange_strong_explicit(&self.searching, &nobody, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    int result = frames_find(&self.frames);
    self.is_unknown = result == -ENOSYS;
    stacks_describe(recording_header_of(process_here.recording));
    self.pause = self.pause < SEARCHES_MOST ? self.pause * 2 + 1 : SEARCHES_MOST;
    atomic_store_explicit(&self.calls_to_go, self.is_unknown ? UINT32_MAX : self.pause,
                          memory_order_relaxed);
    /* Release: `frames` is written; partner: the acquire in stacks_here. */
    atomic_store_explicit(&self.is_found, result == 0, memory_order_release);
    atomic_store_explicit(&self.searching, 0, memory_order_release);
    return result == 0;
}

const struct frames *stacks_frames(void)
{
    /* Acquire: as in stacks_here. */
    bool is_known = atomic_load_explicit(&self.is_found, memory_order_acquire) || search();
    return is_known ? &self.frames : NULL;
}

static void note_subinterpreters(void)
{
    struct recording_header *header = recording_header_of(process_here.recording);
    if (header->note[0] == '\0')
        snprintf(header->note, sizeof(header->note), "%s", frames_end_text(FRAMES_SUBINTERPRETER));
}

uint32_t stacks_here(void)
{
    struct frames_key keys[TRACE_FRAMES_MAX];
    size_t count = 0;
    if (!atomic_load_explicit(&self.is_found, memory_order_acquire) && !search())
        return 0;
    enum frames_end end = frames_walk(&self.frames, keys, TRACE_FRAMES_MAX, &count);
    if (end == FRAMES_SUBINTERPRETER)
        note_subinterpreters();
    if (end > FRAMES_MORE || count == 0)
        return 0;
    uint64_t key = OF_STACK;
    for (size_t i = 0; i < count; i++)
        key = mix(key ^ frames_code_key(&self.frames, keys[i].code),
                  keys[i].code + keys[i].instruction * OF_CODE);
    key |= 1;
    uint32_t place;
    if (memo_get(key, &place))
        return place;
    place = stack_write(keys, count, end == FRAMES_MORE);
    if (place != 0)
        memo_set(key, place);
    return place;
}
