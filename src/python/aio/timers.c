/* The heap of timers. One that is cancelled stays until it comes to the top, or until there are
 * more such than others. */
#include "base/clock.h"
#include "base/memory.h"
#include "python/aio/handle.h"

enum {
    HEAP_SIZE_FIRST = 64,
    CANCELLED_KEPT = 100, /* as many are not worth a tidying */
    WAIT_MS_MOST = 24 * 60 * 60 * 1000,
};

double loop_now(void)
{
    return (double)clock_monotonic_ns() / 1e9;
}

static bool entry_is_before(const struct timer_entry *a, const struct timer_entry *b)
{
    return a->when < b->when || (a->when == b->when && a->order < b->order);
}

static void heap_rise(struct timer_heap *heap, size_t i)
{
    struct timer_entry entry = heap->entries[i];
    while (i > 0 && entry_is_before(&entry, &heap->entries[(i - 1) / 2])) {
        heap->entries[i] = heap->entries[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap->entries[i] = entry;
}

/* To the bottom, always along the earlier child, and up again: what sinks came from the bottom, so
 * it seldom rises far, and need not be compared on the way down. */
static void heap_sink(struct timer_heap *heap, size_t i)
{
    struct timer_entry *entries = heap->entries;
    struct timer_entry entry = entries[i];
    size_t top = i;
    for (size_t child = 2 * i + 1; child < heap->count; child = 2 * i + 1) {
        child += child + 1 < heap->count && entry_is_before(&entries[child + 1], &entries[child]);
        entries[i] = entries[child];
        i = child;
    }
    while (i > top && entry_is_before(&entry, &entries[(i - 1) / 2])) {
        entries[i] = entries[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    entries[i] = entry;
}

int timers_push(struct loop_object *loop, struct handle_object *handle)
{
    struct timer_heap *heap = &loop->timers;
    if (heap->count == heap->size) {
        size_t size = heap->size > 0 ? 2 * heap->size : HEAP_SIZE_FIRST;
        void *entries = memory_resize_array(heap->entries, size, sizeof(struct timer_entry));
        if (!entries) {
            PyErr_NoMemory();
            return -1;
        }
        heap->entries = entries;
        heap->size = size;
    }
    handle->is_scheduled = true;
    Py_INCREF(handle);
    heap->entries[heap->count] = (struct timer_entry){handle->when, heap->order++, handle};
    heap_rise(heap, heap->count++);
    return 0;
}

/* Take the top off, owned by the caller. */
static struct handle_object *heap_pop(struct timer_heap *heap)
{
    struct handle_object *handle = heap->entries[0].handle;
    heap->entries[0] = heap->entries[--heap->count];
    if (heap->count > 0)
        heap_sink(heap, 0);
    handle->is_scheduled = false;
    if (handle->is_cancelled)
        heap->cancelled--;
    return handle;
}

void timers_cancelled(struct loop_object *loop)
{
    loop->timers.cancelled++;
}

/* Keep those that are not cancelled, in a heap of its own: to drop one may run Python code, by what
 * its context holds, which may ask for a timer. */
static void heap_tidy(struct loop_object *loop)
{
    struct timer_heap *heap = &loop->timers;
    struct timer_entry *old = heap->entries;
    size_t kept = 0, dropped = 0;
    struct timer_entry *entries = memory_new_array(heap->size, sizeof(*entries));
    if (!entries)
        return; /* the next time */
    for (size_t i = 0; i < heap->count; i++) {
        if (old[i].handle->is_cancelled)
            old[dropped++] = old[i];
        else
            entries[kept++] = old[i];
    }
    heap->entries = entries;
    heap->count = kept;
    heap->cancelled = 0;
    for (size_t i = kept / 2; i-- > 0;)
        heap_sink(heap, i);
    for (size_t i = 0; i < dropped; i++) {
        old[i].handle->is_scheduled = false;
        loop_let_go(loop, (PyObject *)old[i].handle);
    }
    memory_free(old);
}

int timers_timeout_ms(struct loop_object *loop)
{
    struct timer_heap *heap = &loop->timers;
    if (heap->cancelled > CANCELLED_KEPT && heap->cancelled > heap->count / 2)
        heap_tidy(loop);
    while (heap->count > 0 && heap->entries[0].handle->is_cancelled)
        loop_let_go(loop, (PyObject *)heap_pop(heap));
    if (heap->count == 0)
        return -1;
    double ms = (heap->entries[0].when - loop_now()) * 1e3;
    if (ms >= WAIT_MS_MOST)
        return WAIT_MS_MOST;
    if (!(ms > 0))
        return 0;
    int whole = (int)ms;
    return whole < ms ? whole + 1 : whole;
}

int timers_expire(struct loop_object *loop)
{
    struct timer_heap *heap = &loop->timers;
    if (heap->count == 0)
        return 0;
    double now = loop_now();
    while (heap->count > 0 && heap->entries[0].when <= now) {
        struct handle_object *handle = heap_pop(heap);
        if (ready_push(loop, (PyObject *)handle) < 0)
            return -1;
    }
    return 0;
}
