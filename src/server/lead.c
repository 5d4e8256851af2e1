#include "server/lead.h"

#include <errno.h>

/* Ticks of no call, or of one and the same, after which the keeper ends its look: it sleeps until
 * there is one, or sees to signals (a test has fewer). */
#ifndef LEAD_QUIET_TICKS
#define LEAD_QUIET_TICKS 50
#endif

/* What the keeper saw at its last tick. */
struct lead_sight {
    uint32_t call;
    uint64_t cpu_ns;
    unsigned quiet;
};

static int lead_thread_init(struct lead_thread *thread)
{
    list_init(&thread->node);
    int result = lead_cpu_clock_here(&thread->cpu_clock);
    return result < 0 ? result : lead_gate_init(&thread->gate);
}

/* Under the lock the two words that the keeper reads without it are like any others, so no order is
 * asked of them. */
static uint32_t lead_call(const struct lead *lead)
{
    return atomic_load_explicit(&lead->call, memory_order_relaxed);
}

static void lead_count_call(struct lead *lead)
{
    atomic_store_explicit(&lead->call, lead_call(lead) + 1, memory_order_relaxed);
}

static void lead_set_leader(struct lead *lead, struct lead_thread *thread)
{
    lead->leader = thread;
    atomic_store_explicit(&lead->clock, thread->cpu_clock, memory_order_relaxed);
}

int lead_init(struct lead *lead, const struct lead_ops *ops, unsigned most)
{
    *lead = (struct lead){.ops = *ops, .most = most};
    list_init(&lead->idle);
    int result = lead_thread_init(&lead->keeper);
    lead_set_leader(lead, &lead->keeper);
    return result;
}

void lead_release(struct lead *lead)
{
    lead_gate_release(&lead->keeper.gate);
}

bool lead_leads(const struct lead *lead, const struct lead_thread *thread)
{
    return lead->leader == thread;
}

bool lead_is_kept(const struct lead *lead)
{
    return lead_leads(lead, &lead->keeper);
}

bool lead_has_idle(const struct lead *lead)
{
    return !list_is_empty(&lead->idle);
}

static void lead_wake(struct lead_thread *thread)
{
    lead_gate_open(&thread->gate);
}

/* Wait without the lock. Returns as lead_gate_wait. */
static bool lead_rest(struct lead *lead, struct lead_gate *gate, uint64_t end_ns)
{
    void *token = lead->ops.unlock(lead->ops.context);
    bool in_time = lead_gate_wait(gate, end_ns);
    lead->ops.lock(lead->ops.context, token);
    return in_time;
}

void lead_wait(struct lead *lead, struct lead_gate *gate)
{
    lead_rest(lead, gate, LEAD_FOR_EVER);
}

/* Take an idle thread off the list, where it is not found twice. NULL: there is none. */
static struct lead_thread *lead_pick(struct lead *lead)
{
    struct list *node = list_pop(&lead->idle);
    return node ? list_entry(node, struct lead_thread, node) : NULL;
}

bool lead_call_in(struct lead *lead)
{
    struct lead_thread *thread = lead_pick(lead);
    if (!thread)
        return false;
    lead_wake(thread);
    return true;
}

/* Another thread than the leader leads from now on: an idle one, else the keeper. */
static void lead_change(struct lead *lead)
{
    struct lead_thread *next = lead_pick(lead);
    if (!next)
        next = &lead->keeper;
    lead_set_leader(lead, next);
    lead_wake(next);
}

/* The leader's call goes on, and is nobody's business any more. */
static void lead_leave_call(struct lead *lead)
{
    if (lead_call(lead) & 1)
        lead_count_call(lead);
}

void lead_call_keeper(struct lead *lead)
{
    lead_wake(&lead->keeper);
}

void lead_pass(struct lead *lead, struct lead_thread *thread)
{
    if (!lead_leads(lead, thread))
        return;
    lead_leave_call(lead);
    lead_change(lead);
}

void lead_call_begin(struct lead *lead, struct lead_thread *thread)
{
    if (!lead_leads(lead, thread))
        return;
    lead_count_call(lead);
    if (!lead->watched) {
        lead->watched = true;
        lead_wake(&lead->keeper);
    }
}

bool lead_call_end(struct lead *lead, struct lead_thread *thread)
{
    if (!lead_leads(lead, thread))
        return false;
    lead_leave_call(lead);
    return true;
}

/* ------------------------------------------------------------------------ an application thread */

/* Nothing to do: wait on the list until somebody picks this thread, or the end. */
static void lead_idle(struct lead *lead, struct lead_thread *thread)
{
    list_prepend(&lead->idle, &thread->node);
    while (list_is_linked(&thread->node) && !lead->ended)
        lead_wait(lead, &thread->gate);
    list_unlink(&thread->node);
}

int lead_follow(struct lead *lead)
{
    const struct lead_ops *ops = &lead->ops;
    struct lead_thread thread;
    int result = lead_thread_init(&thread);
    while (result == 0 && !lead->ended) {
        if (lead_leads(lead, &thread))
            ops->turn(ops->context, &thread);
        else if (!ops->work(ops->context, &thread))
            lead_idle(lead, &thread);
    }
    lead->threads--;
    lead_wake(&lead->keeper);
    if (result == 0)
        lead_gate_release(&thread.gate);
    return result;
}

/* ----------------------------------------------------------------------------------- the keeper */

/* What the leader looks like at a tick. */
enum lead_look { LEAD_FINE, LEAD_LATE, LEAD_BLOCKED };

/* Without the lock: has the leader been in one call since the last tick, and on its CPU or not? */
static enum lead_look lead_look_once(struct lead *lead, struct lead_sight *sight)
{
    uint32_t call = lead_call(lead);
    bool same = call == sight->call;
    sight->call = call;
    sight->quiet = same ? sight->quiet + 1 : 0;
    if (!(call & 1))
        return LEAD_FINE;
    uint64_t cpu_ns = lead_cpu_ns(atomic_load_explicit(&lead->clock, memory_order_relaxed));
    bool idle = cpu_ns - sight->cpu_ns < LEAD_TICK_NS / 4;
    sight->cpu_ns = cpu_ns;
    if (!same)
        return LEAD_FINE;
    if (idle)
        return LEAD_BLOCKED;
    return call == lead->late ? LEAD_FINE : LEAD_LATE;
}

/* The call seen blocks. It may have ended since, and another may have begun. */
static void lead_take(struct lead *lead, uint32_t call)
{
    if (lead_call(lead) != call || lead->ended)
        return;
    if (!lead->ops.part(lead->ops.context))
        return;
    lead_leave_call(lead);
    lead_change(lead);
}

/* The call seen computes. */
static void lead_tell_late(struct lead *lead, uint32_t call)
{
    lead->late = call;
    if (lead_call(lead) == call && !lead->ended)
        lead->ops.late(lead->ops.context);
}

/* Look at the leader from tick to tick until something is to be done that needs the lock, which is
 * not held here, or somebody wakes us. */
static enum lead_look lead_look(struct lead *lead, struct lead_sight *sight)
{
    enum lead_look look = LEAD_FINE;
    while (look == LEAD_FINE && sight->quiet < LEAD_QUIET_TICKS) {
        if (lead_gate_wait(&lead->keeper.gate, lead_now_ns() + LEAD_TICK_NS))
            break;
        look = lead_look_once(lead, sight);
    }
    return look;
}

static void lead_watch(struct lead *lead)
{
    struct lead_sight sight = {0};
    void *token = lead->ops.unlock(lead->ops.context);
    enum lead_look look = lead_look(lead, &sight);
    lead->ops.lock(lead->ops.context, token);
    if (look == LEAD_BLOCKED)
        lead_take(lead, sight.call);
    else if (look == LEAD_LATE)
        lead_tell_late(lead, sight.call);
    else if (!(lead_call(lead) & 1))
        lead->watched = false; /* the next call wakes us */
}

/* Have one more thread. It comes to the keeper as an idle one. */
static void lead_spawn(struct lead *lead)
{
    lead->threads++;
    if (lead->ops.spawn(lead->ops.context))
        return;
    lead->threads--;
    lead->most = lead->threads;
}

void lead_keep(struct lead *lead)
{
    const struct lead_ops *ops = &lead->ops;
    while (!lead->ended) {
        if (lead_is_kept(lead) && lead_has_idle(lead))
            lead_change(lead);
        else if (lead->threads < lead->most)
            lead_spawn(lead); /* the first one leads while the others are started */
        else if (lead_is_kept(lead))
            ops->turn(ops->context, &lead->keeper);
        else if (lead->watched)
            lead_watch(lead);
        else
            lead_rest(lead, &lead->keeper.gate, LEAD_FOR_EVER);
        ops->check(ops->context);
    }
}

unsigned lead_join(struct lead *lead, uint64_t timeout_ns)
{
    uint64_t end_ns = lead_now_ns() + timeout_ns;
    while (lead->threads > 0 && lead_rest(lead, &lead->keeper.gate, end_ns))
        continue;
    return lead->threads;
}

void lead_end(struct lead *lead)
{
    struct lead_thread *thread;
    lead->ended = true;
    lead_set_leader(lead, &lead->keeper); /* who comes back to the loop leaves it alone */
    while ((thread = lead_pick(lead)))
        lead_wake(thread);
    lead_wake(&lead->keeper);
}
