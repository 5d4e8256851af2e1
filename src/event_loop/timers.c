#include "event_loop/timers.h"

void timer_queue_init(struct timer_queue *queue, uint64_t duration_ms)
{
    list_init(&queue->timers);
    queue->duration_ms = duration_ms;
}

void timer_start(struct timer_queue *queue, struct timer *timer, uint64_t now_ms)
{
    timer_stop(timer);
    if (queue->duration_ms == 0)
        return;
    timer->deadline_ms = now_ms + queue->duration_ms;
    list_append(&queue->timers, &timer->node);
}

static struct timer *timer_queue_first(const struct timer_queue *queue)
{
    if (list_is_empty(&queue->timers))
        return NULL;
    return list_entry(queue->timers.next, struct timer, node);
}

uint64_t timer_queue_deadline(const struct timer_queue *queue)
{
    const struct timer *timer = timer_queue_first(queue);
    return timer ? timer->deadline_ms : TIMER_NEVER;
}

struct timer *timer_queue_expire(struct timer_queue *queue, uint64_t now_ms)
{
    struct timer *timer = timer_queue_first(queue);
    if (!timer || timer->deadline_ms > now_ms)
        return NULL;
    list_unlink(&timer->node);
    return timer;
}
