/* Who turns the loop of a worker with several threads: leader and followers, with a late promotion.
 *
 * One thread leads: it turns the loop and runs the application in place. While it is in such a call
 * nobody waits for events; if the call blocks, the lead is given to another thread, and the one
 * that was delayed finishes its request on its own. One more thread, the keeper, runs no
 * application code: it starts the others, looks at the leader's CPU clock while a call runs, takes
 * signals, and leads itself when all the others are in calls.
 *
 * All that is shared is guarded by the worker's lock, which `lock` and `unlock` below take and
 * release (Python: the GIL). Every function here is called with it held; what may block releases it
 * meanwhile. The keeper alone reads two words without it, to find out whether the lock is worth
 * taking: they are atomic, and the call's number is read again under the lock. */
#ifndef ZOLAL_SERVER_LEAD_H
#define ZOLAL_SERVER_LEAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "server/lead_system.h"

/* A thread that may lead. `node`: of lead.idle while it has nothing to do. */
struct lead_thread {
    struct list node;
    struct lead_gate gate;
    lead_cpu_clock cpu_clock;
};

/* What the lead is asked to turn. `context` is passed to each. */
struct lead_ops {
    void *(*unlock)(void *context); /* returns what `lock` is to be given by the same thread */
    void (*lock)(void *context, void *token);
    /* The leader: wait for events, serve them; it may have lost the lead when this returns. */
    void (*turn)(void *context, struct lead_thread *thread);
    /* Run one request that waits for a thread. Returns whether there was one. */
    bool (*work)(void *context, struct lead_thread *thread);
    /* The lead is about to change hands while a call runs: what that call and the loop share is
     * made its own. Returns false when that cannot be done now. */
    bool (*part)(void *context);
    /* The leader's call goes on and on, without blocking: see to what waits for its end. Called
     * once for such a call. */
    void (*late)(void *context);
    /* Start a thread that calls lead_follow. May release the lock meanwhile. Returns whether that
     * went well; else it is not asked again. */
    bool (*spawn)(void *context);
    /* The keeper may have waited: see whether a signal has come meanwhile. */
    void (*check)(void *context);
    void *context;
};

/* What the keeper saw at its last look, and when it looks again; nobody else reads it. `looks`: how
 * often before it saw the same; `alert`: for so many looks it looks more often. */
struct lead_sight {
    uint32_t call;
    unsigned looks;
    unsigned alert;
    uint64_t cpu_ns;
    uint64_t wait_ns; /* between this look and the next */
    uint64_t next_ns; /* the next look's time */
};

/* `call`, `clock`: also read without the lock, by the keeper. */
struct lead {
    struct lead_ops ops;
    struct lead_thread *leader;
    _Atomic lead_cpu_clock clock; /* the leader's */
    _Atomic uint32_t call;        /* odd: the leader is in a call; another number for each */
    struct lead_sight sight;
    bool watched; /* the keeper looks at the leader from time to time */
    bool ended;
    unsigned most;    /* threads that there may be */
    unsigned threads; /* that there are: started, and not back from lead_follow */
    struct list idle; /* those of them that have nothing to do, the last one first */
    struct lead_thread keeper;
};

/* How often the keeper looks at the leader, how often where calls have blocked of late, and how
 * long after a look at which one may have begun to. A call that uses less than a quarter of that
 * time on its CPU blocks. */
#define LEAD_TICK_NS  2000000
#define LEAD_ALERT_NS 1000000
#define LEAD_AGAIN_NS 500000

/* Nobody leads yet but the keeper, whose thread this is. `most`: threads to start. Returns 0 or
 * -errno. */
int lead_init(struct lead *lead, const struct lead_ops *ops, unsigned most);

/* Only when lead.threads is 0. */
void lead_release(struct lead *lead);

/* An application thread's life: returns when lead_end was called. Returns 0 or -errno: it cannot
 * take part. */
int lead_follow(struct lead *lead);

/* The keeper's: returns when lead_end was called. */
void lead_keep(struct lead *lead);

/* The keeper, after that: wait for the threads that there still are, at most `timeout_ns`. Returns
 * how many are left. */
unsigned lead_join(struct lead *lead, uint64_t timeout_ns);

/* Let every thread return. From now on the keeper has the lead: another that is in a call or waits
 * for events serves no more of them, and what they were about may go. */
void lead_end(struct lead *lead);

/* Around a call of the application by `thread`. lead_call_end returns whether it leads (still). */
void lead_call_begin(struct lead *lead, struct lead_thread *thread);
bool lead_call_end(struct lead *lead, struct lead_thread *thread);

bool lead_leads(const struct lead *lead, const struct lead_thread *thread);

/* Does the keeper lead, so that no application code may run in a turn? */
bool lead_is_kept(const struct lead *lead);

/* Is there a thread with nothing to do? Then the keeper should not go on leading. */
bool lead_has_idle(const struct lead *lead);

/* There is work for a thread: wake an idle one. Returns false when there is none. */
bool lead_call_in(struct lead *lead);

/* Have the keeper call ops.check soon. */
void lead_call_keeper(struct lead *lead);

/* The leader is going to wait or to block: another thread leads from now on. Nothing happens when
 * `thread` does not lead. */
void lead_pass(struct lead *lead, struct lead_thread *thread);

/* Wait until lead_gate_open; it may also return without one. */
void lead_wait(struct lead *lead, struct lead_gate *gate);

#endif
