/* Deadlines. Patience has few lengths and many holders (10,000 connections wait for the same 75 s),
 * so one queue a length, in the order of its deadlines, makes start and stop constant in time. */
#ifndef ZOLAL_EVENT_LOOP_TIMERS_H
#define ZOLAL_EVENT_LOOP_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define TIMER_NEVER UINT64_MAX

/* All timers of a queue last `duration_ms`; 0: they never expire (starting one does nothing). */
struct timer_queue {
    struct list timers;
    uint64_t duration_ms;
};

/* Lives inside its holder. Not linked: not running. */
struct timer {
    struct list node;
    uint64_t deadline_ms;
};

void timer_queue_init(struct timer_queue *queue, uint64_t duration_ms);

static inline void timer_init(struct timer *timer)
{
    list_init(&timer->node);
}

/* (Re)start on `queue`, from whichever queue it was on: it expires duration_ms after `now_ms`. */
void timer_start(struct timer_queue *queue, struct timer *timer, uint64_t now_ms);

/* Stop; nothing happens when it is not running. */
static inline void timer_stop(struct timer *timer)
{
    if (list_is_linked(&timer->node))
        list_unlink(&timer->node);
}

/* The earliest deadline, or TIMER_NEVER. */
uint64_t timer_queue_deadline(const struct timer_queue *queue);

/* The first timer whose deadline is at or before `now_ms`, taken off the queue, or NULL. */
struct timer *timer_queue_expire(struct timer_queue *queue, uint64_t now_ms);

#endif
