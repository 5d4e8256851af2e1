/* Calls that wait for descriptors: poll(2), select(2), epoll(7). */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

#include "preload/call.h"
#include "preload/descriptors.h"

enum { POLLED_MOST = 5, READY_MOST = 6 };

/* The arguments of poll(2) and its like, as trace/event.h has them. */
struct waited {
    int32_t timeout_ms;
    struct waited_for {
        int32_t fd;
        int16_t events, revents;
    } fds[POLLED_MOST];
};

static int32_t milliseconds(const struct timespec *timeout)
{
    if (!timeout)
        return -1;
    if (timeout->tv_sec >= INT_MAX / 1000)
        return INT_MAX;
    return (int32_t)(timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000);
}

static int end_poll(const struct call *call, enum trace_operation op, int result,
                    const struct pollfd *fds, nfds_t count, int32_t timeout_ms)
{
    struct waited args = {.timeout_ms = timeout_ms};
    size_t used = 0, known = call_has_not_looked(result) ? 0 : count;
    for (; used < POLLED_MOST && used < known; used++)
        args.fds[used] =
            (struct waited_for){fds[used].fd, fds[used].events, result < 0 ? 0 : fds[used].revents};
    return (int)call_end(
        call, &(struct call_end){.op = op,
                                 .fd = -1,
                                 .result = result,
                                 .argument = count,
                                 .args = &args,
                                 .args_len = sizeof(args.timeout_ms) + used * sizeof(*args.fds)});
}

PRELOAD int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    struct call call = call_begin_waiting(TRACE_POLL, -1, count);
    int result = NEXT(poll)(fds, count, timeout);
    return call.t0 ? end_poll(&call, TRACE_POLL, result, fds, count, timeout) : result;
}

PRELOAD int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                  const sigset_t *mask)
{
    struct call call = call_begin_waiting(TRACE_PPOLL, -1, count);
    int result = NEXT(ppoll)(fds, count, timeout, mask);
    return call.t0 ? end_poll(&call, TRACE_PPOLL, result, fds, count, milliseconds(timeout))
                   : result;
}

/* What a program that was compiled with -D_FORTIFY_SOURCE calls. */
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t room);

PRELOAD int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
    struct call call = call_begin_waiting(TRACE_POLL, -1, count);
    int result = NEXT(__poll_chk)(fds, count, timeout, room);
    return call.t0 ? end_poll(&call, TRACE_POLL, result, fds, count, timeout) : result;
}

PRELOAD int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                        const sigset_t *mask, size_t room)
{
    struct call call = call_begin_waiting(TRACE_PPOLL, -1, count);
    int result = NEXT(__ppoll_chk)(fds, count, timeout, mask, room);
    return call.t0 ? end_poll(&call, TRACE_PPOLL, result, fds, count, milliseconds(timeout))
                   : result;
}

/* The three sets of select(2), before and after, as poll(2) would have them. */
struct sets {
    fd_set read, write, except;
};

static void sets_copy(struct sets *sets, int count, const fd_set *read, const fd_set *write,
                      const fd_set *except)
{
    /* Of sets that are larger than fd_set, only so much is looked at. */
    size_t bits = count < FD_SETSIZE ? (size_t)(count < 0 ? 0 : count) : FD_SETSIZE;
    size_t len = (bits + NFDBITS - 1) / NFDBITS * sizeof(fd_mask);
    memset(sets, 0, sizeof(*sets));
    if (read)
        memcpy(&sets->read, read, len);
    if (write)
        memcpy(&sets->write, write, len);
    if (except)
        memcpy(&sets->except, except, len);
}

static int16_t sets_events(const struct sets *sets, int fd)
{
    return (int16_t)((FD_ISSET(fd, &sets->read) ? POLLIN : 0) |
                     (FD_ISSET(fd, &sets->write) ? POLLOUT : 0) |
                     (FD_ISSET(fd, &sets->except) ? POLLPRI : 0));
}

static int end_select(const struct call *call, int result, int count, const struct sets *before,
                      const struct sets *after, int32_t timeout_ms)
{
    struct waited args = {.timeout_ms = timeout_ms};
    size_t used = 0, all = 0;
    for (int fd = 0; fd < count && fd < FD_SETSIZE; fd++) {
        int16_t events = sets_events(before, fd);
        if (events == 0)
            continue;
        if (used < POLLED_MOST)
            args.fds[used++] =
                (struct waited_for){fd, events, result < 0 ? 0 : sets_events(after, fd)};
        all++;
    }
    return (int)call_end(
        call, &(struct call_end){.op = TRACE_PSELECT6,
                                 .fd = -1,
                                 .result = result,
                                 .argument = all,
                                 .args = &args,
                                 .args_len = sizeof(args.timeout_ms) + used * sizeof(*args.fds)});
}

PRELOAD int pselect(int count, fd_set *restrict read, fd_set *restrict write,
                    fd_set *restrict except, const struct timespec *restrict timeout,
                    const sigset_t *restrict mask)
{
    struct sets before, after;
    struct call call = call_begin_waiting(TRACE_PSELECT6, -1, count);
    if (call.t0)
        sets_copy(&before, count, read, write, except);
    int result = NEXT(pselect)(count, read, write, except, timeout, mask);
    if (!call.t0)
        return result;
    sets_copy(&after, count, read, write, except);
    return end_select(&call, result, count, &before, &after, milliseconds(timeout));
}

PRELOAD int select(int count, fd_set *restrict read, fd_set *restrict write,
                   fd_set *restrict except, struct timeval *restrict timeout)
{
    struct sets before, after;
    struct call call = call_begin_waiting(TRACE_PSELECT6, -1, count);
    struct timespec given = {0}, *wait = NULL;
    if (timeout) {
        given = (struct timespec){timeout->tv_sec, timeout->tv_usec * 1000};
        wait = &given;
    }
    if (call.t0)
        sets_copy(&before, count, read, write, except);
    int result = NEXT(select)(count, read, write, except, timeout);
    if (!call.t0)
        return result;
    sets_copy(&after, count, read, write, except);
    return end_select(&call, result, count, &before, &after, milliseconds(wait));
}

static int end_epoll(const struct call *call, enum trace_operation op, int fd, uint64_t argument)
{
    descriptor_set(fd, DESCRIPTOR_EVENT);
    return (int)call_end(
        call, &(struct call_end){.op = op, .fd = fd, .result = fd, .argument = argument});
}

PRELOAD int epoll_create(int size)
{
    struct call call = call_begin();
    return end_epoll(&call, TRACE_EPOLL_CREATE, NEXT(epoll_create)(size), (uint64_t)size);
}

PRELOAD int epoll_create1(int flags)
{
    struct call call = call_begin();
    return end_epoll(&call, TRACE_EPOLL_CREATE1, NEXT(epoll_create1)(flags), (uint64_t)flags);
}

PRELOAD int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    struct call call = call_begin();
    int result = NEXT(epoll_ctl)(epoll, operation, fd, event);
    bool has_event = event && operation != EPOLL_CTL_DEL && !call_has_not_looked(result);
    int args[3] = {operation, fd, has_event ? (int)event->events : 0};
    return (int)call_end(&call, &(struct call_end){.op = TRACE_EPOLL_CTL,
                                                   .fd = epoll,
                                                   .result = result,
                                                   .args = args,
                                                   .args_len = sizeof(args)});
}

/* Whom it is for is what the program has put there: its descriptor, mostly. */
static int end_epoll_wait(const struct call *call, enum trace_operation op, int epoll, int result,
                          const struct epoll_event *events, int timeout_ms)
{
    int32_t ready[READY_MOST][2];
    size_t used = 0;
    for (; used < READY_MOST && (int)used < result; used++) {
        ready[used][0] = events[used].data.fd;
        ready[used][1] = (int32_t)events[used].events;
    }
    return (int)call_end(call, &(struct call_end){.op = op,
                                                  .fd = epoll,
                                                  .result = result,
                                                  .argument = (uint64_t)(int64_t)timeout_ms,
                                                  .args = ready,
                                                  .args_len = used * sizeof(*ready)});
}

PRELOAD int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    struct call call = call_begin_waiting(TRACE_EPOLL_WAIT, epoll, timeout);
    int result = NEXT(epoll_wait)(epoll, events, most, timeout);
    return end_epoll_wait(&call, TRACE_EPOLL_WAIT, epoll, result, events, timeout);
}

PRELOAD int epoll_pwait(int epoll, struct epoll_event *events, int most, int timeout,
                        const sigset_t *mask)
{
    struct call call = call_begin_waiting(TRACE_EPOLL_PWAIT, epoll, timeout);
    int result = NEXT(epoll_pwait)(epoll, events, most, timeout, mask);
    return end_epoll_wait(&call, TRACE_EPOLL_PWAIT, epoll, result, events, timeout);
}

/* glibc 2.35; a program that calls it has one. */
int epoll_pwait2(int epoll, struct epoll_event *events, int most, const struct timespec *timeout,
                 const sigset_t *mask);

PRELOAD int epoll_pwait2(int epoll, struct epoll_event *events, int most,
                         const struct timespec *timeout, const sigset_t *mask)
{
    struct call call = call_begin_waiting(TRACE_EPOLL_PWAIT2, epoll, milliseconds(timeout));
    int result = NEXT(epoll_pwait2)(epoll, events, most, timeout, mask);
    return end_epoll_wait(&call, TRACE_EPOLL_PWAIT2, epoll, result, events, milliseconds(timeout));
}
