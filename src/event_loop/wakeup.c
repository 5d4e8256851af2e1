#include "event_loop/wakeup.h"

#include <errno.h>
#include <unistd.h>

#include "event_loop/kernel_epoll.h"
#include "socket/kernel.h"
#include "trace/recorder.h"

static void wakeup_on_ready(struct loop_watch *watch, uint32_t ready)
{
    struct wakeup *wakeup = (struct wakeup *)watch; /* its first member */
    uint64_t count;
    (void)ready;
    trace_subject(0, 0);
    if (kernel_read(watch->fd, &count, sizeof(count)) > 0)
        wakeup->on_wakeup(wakeup);
}

int wakeup_init(struct wakeup *wakeup, struct loop *loop, void (*on_wakeup)(struct wakeup *),
                struct error *err)
{
    int fd = kernel_eventfd();
    if (fd < 0)
        return error_set(err, -fd, "create", "an eventfd");
    wakeup->watch = (struct loop_watch){.fd = fd, .on_ready = wakeup_on_ready};
    wakeup->on_wakeup = on_wakeup;
    int result = loop_add(loop, &wakeup->watch, LOOP_READABLE);
    if (result < 0) {
        kernel_close(fd);
        return error_set(err, -result, "watch", "an eventfd");
    }
    return 0;
}

void wakeup_release(struct wakeup *wakeup)
{
    if (wakeup->watch.fd >= 0)
        kernel_close(wakeup->watch.fd);
    wakeup->watch.fd = -1;
}

void wakeup_signal(int fd)
{
    int saved = errno;
    uint64_t one = 1;
    /* EAGAIN: the count is at its maximum, so the loop is awake. */
    kernel_write(fd, &one, sizeof(one));
    errno = saved;
}
