/* What is explored of server/lead.c: one keeper, and a worker whose requests come at any time. */
#ifndef ZOLAL_EXPLORE_LEAD_MODEL_H
#define ZOLAL_EXPLORE_LEAD_MODEL_H

#include <stdbool.h>

/* What the application does with a request. */
enum call_kind {
    CALL_QUICK,   /* answers without letting the lock go */
    CALL_SLOW,    /* lets it go, and comes back at some time: it computes or it blocks */
    CALL_FOREVER, /* lets it go, and never comes back */
    CALL_PARTED,  /* as CALL_SLOW; it is known to block, so the lead is passed on first */
    CALL_WAITS,   /* waits for its client, as worker_wait does */
    CALL_KINDS
};

#define CALL(kind) (1u << CALL_##kind)
#define CALL_ANY   ((1u << CALL_KINDS) - 1)

struct lead_bounds {
    const char *name;
    unsigned threads;        /* besides the keeper, 1..3 */
    unsigned requests;       /* 0..4 */
    unsigned kinds;          /* of calls, a set of CALL() */
    unsigned forever;        /* how many calls may be CALL_FOREVER */
    unsigned part_failures;  /* how often ops.part may fail */
    unsigned start_failures; /* how often lead_follow may fail at its beginning */
    bool spawn_fails;        /* ops.spawn may fail, also the first time */
    unsigned signals;        /* that may end a wait of the keeper */
    bool stop;               /* worker_stop may be called */
    bool end;                /* lead_end may be called whenever the lock is free */
    bool fine;               /* also a scheduling point after each release and each wake-up */
    bool slow;               /* only with the argument `all` */
};

/* What the model takes from now on; it begins with explore(). */
void lead_model_set(const struct lead_bounds *bounds);

/* Something that should have happened in some state explored so far and has not, or NULL. */
const char *lead_model_unseen(void);

#endif
