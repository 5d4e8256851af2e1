#include "server/lead.h"

#include <assert.h>
#include <errno.h>

/* Looks at no call after which the keeper sleeps until there is one, looks at one and the same
 * after which that is taken for one that computes for long (10 ms; sooner where it shares its CPU),
 * and looks that are closer together since one has blocked (a test has fewer). */
#ifndef LEAD_QUIET_LOOKS
#define LEAD_QUIET_LOOKS 4
#define LEAD_LONG_LOOKS  5
#define LEAD_ALERT_LOOKS 500
#endif
static_assert(LEAD_QUIET_LOOKS <= LEAD_LONG_LOOKS, "looks are counted up to LEAD_LONG_LOOKS");

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
    *lead = (struct lead){.ops = *ops, .most = most, .sight = {.wait_ns = LEAD_TICK_NS}};
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

/* What a look came to. */
enum lead_look {
    LEAD_FINE,  /* nothing is to be done */
    LEAD_QUIET, /* there is no call, and there was none for a while */
    LEAD_LATE,  /* the call computes, and was not told of yet */
    LEAD_APART  /* it does not use its CPU, or computes for long: it is to go on without the lead */
};

/* Without the lock: is the leader in the call of the last look, and was it on its CPU since? A call
 * may have begun to block where it was not all the time: it is looked at again soon. */
static enum lead_look lead_look_once(struct lead *lead)
{
    struct lead_sight *sight = &lead->sight;
    uint32_t call = lead_call(lead);
    uint64_t waited_ns = sight->wait_ns;
    if (call != sight->call)
        sight->looks = 0;
    else if (sight->looks < LEAD_LONG_LOOKS)
        sight->looks++;
    sight->call = call;
    sight->wait_ns = sight->alert > 0 ? LEAD_ALERT_NS : LEAD_TICK_NS;
    if (sight->alert > 0)
        sight->alert--;
    if (!(call & 1))
        return sight->looks < LEAD_QUIET_LOOKS ? LEAD_FINE : LEAD_QUIET;
    uint64_t cpu_ns = lead_cpu_ns(atomic_load_explicit(&lead->clock, memory_order_relaxed));
    uint64_t used_ns = cpu_ns - sight->cpu_ns;
    sight->cpu_ns = cpu_ns;
    if (used_ns < waited_ns / 16 * 15)
        sight->wait_ns = LEAD_AGAIN_NS;
    if (sight->looks == 0)
        return LEAD_FINE;
    if (used_ns < waited_ns / 4) {
        sight->alert = LEAD_ALERT_LOOKS;
        return LEAD_APART;
    }
    if (sight->looks == LEAD_LONG_LOOKS)
        return LEAD_APART;
    return sight->looks == 1 ? LEAD_LATE : LEAD_FINE;
}

/* The call seen is to go on without the lead. It may have ended since, and another may have begun.
 */
static void lead_take(struct lead *lead)
{
    if (lead_call(lead) != lead->sight.call || lead->ended)
        return;
    if (!lead->ops.part(lead->ops.context))
        return;
    lead_leave_call(lead);
    lead_change(lead);
}

/* The call seen computes. */
static void lead_tell_late(struct lead *lead)
{
    if (lead_call(lead) == lead->sight.call)
        lead->ops.late(lead->ops.context);
}

/* Look at the leader from time to time until something is to be done that needs the lock, which is
 * not held here, or somebody wakes us. However often that happens, the next look is when it is due.
 */
static enum lead_look lead_look(struct lead *lead)
{
    struct lead_sight *sight = &lead->sight;
    enum lead_look look = LEAD_FINE;
    while (look == LEAD_FINE) {
        if (lead_gate_wait(&lead->keeper.gate, sight->next_ns))
            break;
        look = lead_look_once(lead);
        sight->next_ns = lead_now_ns() + sight->wait_ns;
    }
    return look;
}

static void lead_watch(struct lead *lead)
{
    void *token = lead->ops.unlock(lead->ops.context);
    enum lead_look look = lead_look(lead);
    lead->ops.lock(lead->ops.context, token);
    if (look == LEAD_APART)
        lead_take(lead);
    else if (look == LEAD_LATE)
        lead_tell_late(lead);
    else if (look == LEAD_QUIET && lead_call(lead) == lead->sight.call)
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
}
