/* Explores server/lead.c within each row of `all`. Argument: the name of a row, or `all` for the
 * long ones too. Exits 1 at the first thing that is wrong, 2 when a row has too many states. */
#include <stdio.h>
#include <string.h>

#include "explore.h"
#include "lead_model.h"

#define STATES_MAX UINT64_C(60000000)

static const struct lead_bounds all[] = {
    {.name = "calls-1", .threads = 1, .requests = 2, .kinds = CALL_ANY, .forever = 1},
    {.name = "calls-2", .threads = 2, .requests = 2, .kinds = CALL_ANY, .forever = 2},
    {.name = "part",
     .threads = 2,
     .requests = 2,
     .kinds = CALL_ANY & ~CALL(QUICK),
     .forever = 1,
     .part_failures = 1},
    {.name = "spawn",
     .threads = 2,
     .requests = 1,
     .kinds = CALL_ANY,
     .forever = 1,
     .spawn_fails = true,
     .start_failures = 1,
     .end = true},
    {.name = "signal", .threads = 2, .requests = 1, .kinds = CALL_ANY, .forever = 1, .signals = 1},
    {.name = "stop", .threads = 2, .requests = 1, .kinds = CALL_ANY, .forever = 1, .stop = true},
    {.name = "end", .threads = 2, .requests = 1, .kinds = CALL_ANY, .forever = 1, .end = true},
    {.name = "calls-3", .threads = 3, .requests = 2, .kinds = CALL_ANY, .forever = 1, .slow = true},
    {.name = "stop-2",
     .threads = 2,
     .requests = 2,
     .kinds = CALL_ANY,
     .forever = 1,
     .stop = true,
     .slow = true},
    {.name = "end-2",
     .threads = 2,
     .requests = 2,
     .kinds = CALL_ANY,
     .forever = 1,
     .end = true,
     .slow = true},
    {.name = "calls-1-3",
     .threads = 1,
     .requests = 3,
     .kinds = CALL_ANY,
     .forever = 1,
     .slow = true},
    {.name = "calls-1-4",
     .threads = 1,
     .requests = 4,
     .kinds = CALL_ANY,
     .forever = 1,
     .slow = true},
    {.name = "calls-2-3",
     .threads = 2,
     .requests = 3,
     .kinds = CALL_ANY,
     .forever = 1,
     .slow = true},
    {.name = "calls-2-4", /* with all kinds of them: more states than memory holds */
     .threads = 2,
     .requests = 4,
     .kinds = CALL(QUICK) | CALL(SLOW) | CALL(PARTED),
     .slow = true},
    {.name = "fine",
     .threads = 2,
     .requests = 1,
     .kinds = CALL_ANY,
     .forever = 1,
     .stop = true,
     .fine = true,
     .slow = true},
};

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct explore_result result = {0};
        if (*name && strcmp(name, "all") != 0 && strcmp(name, all[i].name) != 0)
            continue;
        if (all[i].slow && !*name)
            continue;
        lead_model_set(&all[i]);
        int good = explore(STATES_MAX, &result);
        printf("%s: %llu states, %llu moves, %u deep: %s\n", all[i].name,
               (unsigned long long)result.states, (unsigned long long)result.moves, result.longest,
               good > 0   ? "good"
               : good < 0 ? "too many states"
                          : "WRONG");
        fflush(stdout);
        if (good <= 0)
            return good < 0 ? 2 : 1;
    }
    if (!*name && lead_model_unseen()) {
        printf("never happened: %s\n", lead_model_unseen());
        return 1;
    }
    return 0;
}
