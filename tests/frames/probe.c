/* A library that the tests load into a Python with ctypes: what frames/frames.h has, with plain
 * arguments, for this process and one other. */
#include "frames/frames.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))

enum { FRAMES_MAX = 512 };

static struct frames own, remote;
static uint64_t remote_thread;

static const struct frames *frames_of(int is_remote)
{
    return is_remote ? &remote : &own;
}

EXPORT int probe_find(void)
{
    return frames_find(&own);
}

EXPORT int probe_find_remote(int pid)
{
    remote_thread = 0;
    return frames_find_remote(&remote, pid);
}

EXPORT const char *probe_version(int is_remote)
{
    return frames_of(is_remote)->version;
}

EXPORT int probe_walk(struct frames_key *keys, size_t max, size_t *count)
{
    return (int)frames_walk(&own, keys, max, count);
}

EXPORT int probe_walk_remote(int tid, struct frames_key *keys, size_t max, size_t *count)
{
    return (int)frames_walk_remote(&remote, tid, &remote_thread, keys, max, count);
}

EXPORT int probe_code(int is_remote, uint64_t code, struct frames_code *out)
{
    return frames_code(frames_of(is_remote), code, out);
}

EXPORT unsigned probe_line(int is_remote, uint64_t code, uint64_t instruction)
{
    return frames_line(frames_of(is_remote), code, instruction);
}

EXPORT uint64_t probe_key(int is_remote, uint64_t code)
{
    return frames_code_key(frames_of(is_remote), code);
}

static void *walk_alone(void *end)
{
    struct frames_key key;
    size_t count;
    *(int *)end = (int)frames_walk(&own, &key, 1, &count);
    return NULL;
}

/* How a walk ends in a thread that Python knows nothing of; -1: there was none. */
EXPORT int probe_walk_in_thread(void)
{
    pthread_t thread;
    int end = -1;
    if (pthread_create(&thread, NULL, walk_alone, &end) == 0)
        pthread_join(thread, NULL);
    return end;
}

/* The library as a profiler in a signal handler, which comes between any two instructions. */
static volatile uint64_t counts_of[5]; /* signals, frames, those without code, what is unreadable,
                                        and stacks without their bottom */
static _Thread_local uint64_t bottom;

static void look_at(const struct frames_key *key)
{
    char name[64], file[64];
    struct frames_code code = {.name = {name, sizeof(name), 0, false},
                               .file = {file, sizeof(file), 0, false}};
    counts_of[1]++;
    if (frames_code(&own, key->code, &code) < 0 || code.name.len == 0)
        counts_of[2]++;
    frames_line(&own, key->code, key->instruction);
    uint64_t code_key;
    frames_code_keys(&own, key, 1, &code_key);
}

static void on_signal(int number)
{
    struct frames_key keys[FRAMES_MAX];
    size_t count;
    enum frames_end end = frames_walk(&own, keys, FRAMES_MAX, &count);
    for (size_t i = 0; i < count; i++)
        look_at(&keys[i]);
    if (bottom == 0 && count > 0)
        bottom = keys[count - 1].code;
    if (end == FRAMES_UNREADABLE)
        counts_of[3]++;
    if (end == FRAMES_ALL && keys[count - 1].code != bottom)
        counts_of[4]++;
    counts_of[0]++;
}

EXPORT void probe_on_signal(int number)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(number, &action, NULL);
}

EXPORT void probe_signal_counts(uint64_t counts[5])
{
    for (size_t i = 0; i < 5; i++)
        counts[i] = counts_of[i];
}

/* What follows is timed by bench/frames.py: nanoseconds for each of so many turns. */
static struct frames_key timed[FRAMES_MAX];

static void turn_walk(size_t max, int tid)
{
    size_t count;
    frames_walk(&own, timed, max, &count);
}

static void turn_remote(size_t max, int tid)
{
    size_t count;
    frames_walk_remote(&remote, tid, &remote_thread, timed, max, &count);
}

static void turn_keys(size_t max, int tid)
{
    uint64_t code_keys[FRAMES_MAX];
    frames_code_keys(&own, timed, max, code_keys);
}

static void turn_names(size_t max, int tid)
{
    for (size_t i = 0; i < max; i++)
        look_at(&timed[i]);
}

static double time_turns(unsigned turns, void (*turn)(size_t, int), size_t max, int tid)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (unsigned i = 0; i < turns; i++)
        turn(max, tid);
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) /
           turns;
}

EXPORT double probe_walks(unsigned turns, int max)
{
    return time_turns(turns, turn_walk, (size_t)max, 0);
}

EXPORT double probe_walks_remote(unsigned turns, int tid, int max)
{
    return time_turns(turns, turn_remote, (size_t)max, tid);
}

/* Of the frames of here. */
EXPORT double probe_keys(unsigned turns, int max)
{
    turn_walk((size_t)max, 0);
    return time_turns(turns, turn_keys, (size_t)max, 0);
}

EXPORT double probe_names(unsigned turns, int max)
{
    turn_walk((size_t)max, 0);
    return time_turns(turns, turn_names, (size_t)max, 0);
}

/* Walk without the GIL, for a thread that the end of Python finds in C. */
EXPORT void probe_spin(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++)
        turn_walk(20, 0);
}
