#include "event_loop/loop.h"

#include <errno.h>

#include "base/clock.h"
#include "event_loop/kernel_epoll.h"
#include "socket/kernel.h"

int loop_init(struct loop *loop, struct error *err)
{
    loop->ready_next = loop->ready_count = 0;
    loop->epoll_fd = kernel_epoll_create();
    if (loop->epoll_fd < 0)
        return error_set(err, -loop->epoll_fd, "create", "an epoll descriptor");
    loop_update_time(loop);
    return 0;
}

void loop_release(struct loop *loop)
{
    if (loop->epoll_fd >= 0)
        kernel_close(loop->epoll_fd);
    loop->epoll_fd = -1;
}

int loop_add(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
    return kernel_epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, watch->fd, events, watch);
}

int loop_change(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
    return kernel_epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, events, watch);
}

/* For events of a watch that was removed before they were dispatched. */
static void on_nothing(struct loop_watch *watch, uint32_t ready)
{
    (void)watch;
    (void)ready;
}

static struct loop_watch nothing = {.fd = -1, .on_ready = on_nothing};

void loop_remove(struct loop *loop, struct loop_watch *watch)
{
    kernel_epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, 0, watch);
    for (int i = loop->ready_next; i < loop->ready_count; i++)
        if (loop->ready[i].data.ptr == watch)
            loop->ready[i].data.ptr = &nothing;
}

static int watch_fd(void *data)
{
    return ((struct loop_watch *)data)->fd;
}

bool loop_has_ready(const struct loop *loop)
{
    return loop->ready_next < loop->ready_count;
}

int loop_wait(struct loop *loop, int timeout_ms)
{
    if (loop_has_ready(loop))
        return loop->ready_count - loop->ready_next;
    int count = kernel_epoll_wait(loop->epoll_fd, loop->ready, LOOP_BATCH, timeout_ms, watch_fd);
    loop->ready_next = 0;
    loop->ready_count = count > 0 ? count : 0;
    return count == -EINTR ? 0 : count;
}

bool loop_dispatch_next(struct loop *loop)
{
    if (!loop_has_ready(loop))
        return false;
    struct epoll_event *event = &loop->ready[loop->ready_next++];
    struct loop_watch *watch = event->data.ptr;
    watch->on_ready(watch, event->events);
    return true;
}

void loop_update_time(struct loop *loop)
{
    loop->now_ms = clock_monotonic_ns() / 1000000;
}
