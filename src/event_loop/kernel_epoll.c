#include "event_loop/kernel_epoll.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "trace/recorder.h"

#define EPOLL_EVENTS_RECORDED 6

int kernel_epoll_create(void)
{
    uint64_t t0 = trace_start();
    int fd = epoll_create1(EPOLL_CLOEXEC);
    int result = fd < 0 ? -errno : fd;
    trace_call(TRACE_EPOLL_CREATE1, -1, EPOLL_CLOEXEC, result, t0);
    return result;
}

int kernel_epoll_ctl(int epoll_fd, int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    uint64_t t0 = trace_start();
    int result = epoll_ctl(epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
    int32_t args[3] = {operation, fd, (int32_t)events};
    trace_call_args(TRACE_EPOLL_CTL, epoll_fd, (uint64_t)fd, result, t0, args, sizeof(args));
    return result;
}

int kernel_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms,
                      int (*fd_of)(void *data))
{
    uint64_t t0 = trace_start();
    int count = epoll_wait(epoll_fd, events, max, timeout_ms);
    int result = count < 0 ? -errno : count;
    if (!recorder_here)
        return result;
    int32_t args[2 * EPOLL_EVENTS_RECORDED];
    int recorded = count < EPOLL_EVENTS_RECORDED ? count : EPOLL_EVENTS_RECORDED;
    for (int i = 0; i < recorded; i++) {
        args[2 * i] = fd_of(events[i].data.ptr);
        args[2 * i + 1] = (int32_t)events[i].events;
    }
    trace_call_args(TRACE_EPOLL_WAIT, epoll_fd, (uint64_t)(int64_t)timeout_ms, result, t0, args,
                    recorded > 0 ? (size_t)recorded * 2 * sizeof(int32_t) : 0);
    return result;
}

int kernel_eventfd(void)
{
    uint64_t t0 = trace_start();
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int result = fd < 0 ? -errno : fd;
    trace_call(TRACE_EVENTFD2, -1, EFD_NONBLOCK | EFD_CLOEXEC, result, t0);
    return result;
}
