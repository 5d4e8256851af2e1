/* Rounds of a threaded worker and its clients: race [--seconds N] [--seed N]. Prints what each
 * round came to; status 1 when anything was wrong. */
#include "race.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUND_MS  1200
#define SAID_MOST 20

const char *const order_paths[ORDER_COUNT] = {
#define X(name, path, weight, has_body) path,
    ORDERS(X)
#undef X
};

static char pattern_bytes[PATTERN_MOST + 26];

const char *pattern(uint64_t id, size_t at)
{
    return pattern_bytes + (id + at) % 26;
}

static void pattern_init(void)
{
    for (size_t i = 0; i < sizeof(pattern_bytes); i++)
        pattern_bytes[i] = (char)('a' + i % 26);
}

uint64_t chance(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t chance_below(uint64_t *state, uint64_t most)
{
    return chance(state) % most;
}

void sleep_us(uint64_t us)
{
    struct timespec time = {(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};
    nanosleep(&time, NULL);
}

uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void fail(struct race *race, const char *format, ...)
{
    va_list arguments;
    if (atomic_fetch_add(&race->failures, 1) >= SAID_MOST)
        return;
    char text[500];
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "race: %s\n", text);
}

static int descriptors_open(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

/* What clients know and what the handler has seen must agree. */
static void check_outcomes(struct race *race)
{
    for (uint64_t id = 1; id < IDS_MOST; id++) {
        if (race->outcomes[id] == OUTCOME_ANSWERED && race->called[id] != 1)
            fail(race, "request %llu was answered, and called %d times", (unsigned long long)id,
                 race->called[id]);
        if (race->outcomes[id] == OUTCOME_UNSERVED && race->called[id] != 0)
            fail(race, "request %llu was not to be served", (unsigned long long)id);
    }
}

/* What varies from round to round. */
static const struct round rounds[] = {
    {.threads = 4, .clients = 24, .graceful_ms = 3000},
    {.threads = 2, .clients = 1, .graceful_ms = 3000, .calm = true},
    {.threads = 8, .clients = 40, .graceful_ms = 100, .recorded = true},
    {.threads = 4, .clients = 4, .graceful_ms = 3000, .calm = true, .recorded = true},
    {.threads = 2, .clients = 24, .graceful_ms = 500, .queue = 2},
};

static bool run_round(unsigned number, uint64_t seed, unsigned for_ms)
{
    struct race race = {.round = rounds[number % (sizeof(rounds) / sizeof(*rounds))],
                        .seed = seed,
                        .next_id = 1,
                        .called = calloc(IDS_MOST, 1),
                        .outcomes = calloc(IDS_MOST, 1)};
    race.round.for_ms = for_ms;
    int descriptors = descriptors_open();
    site_run(&race);
    check_outcomes(&race);
    if (descriptors_open() != descriptors)
        fail(&race, "%d descriptors are left", descriptors_open() - descriptors);
    if (race.answered == 0)
        fail(&race, "nothing was answered");
    printf("%u threads, %u clients, seed %llu: %u answered, %u cut, %u turned away, %u left%s\n",
           race.round.threads, race.round.clients, (unsigned long long)seed, race.answered,
           race.cut, race.turned_away, race.left, race.failures ? ": FAILED" : "");
    fflush(stdout);
    free(race.called);
    free(race.outcomes);
    return race.failures == 0;
}

int main(int argc, char **argv)
{
    uint64_t seconds = 5, seed = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seconds") == 0)
            seconds = value;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = value;
    }
    pattern_init();
    uint64_t end_ms = now_ms() + seconds * 1000;
    uint64_t count = sizeof(rounds) / sizeof(*rounds);
    unsigned for_ms =
        seconds * 1000 / count < ROUND_MS ? (unsigned)(seconds * 1000 / count) : ROUND_MS;
    /* Each kind of round at least once. */
    for (unsigned number = 0; number < count || now_ms() < end_ms; number++)
        if (!run_round(number, seed + number, for_ms))
            return 1;
    return 0;
}
