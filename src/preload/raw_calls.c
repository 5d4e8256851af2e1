/* syscall(2): calls that a program makes by their number. */
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <fcntl.h>

#include "preload/call.h"
#include "preload/descriptors.h"

#define POINTER(n) ((void *)a[n])

/* Those that the C library has the same function for. False: it is none of them. */
static bool as_function(long number, const long a[6], long *result)
{
    int fd = (int)a[0], second = (int)a[1];
    switch (number) {
    case SYS_socket:
        return *result = socket(fd, second, (int)a[2]), true;
    case SYS_socketpair:
        return *result = socketpair(fd, second, (int)a[2], POINTER(3)), true;
    case SYS_bind:
        return *result = bind(fd, POINTER(1), (socklen_t)a[2]), true;
    case SYS_connect:
        return *result = connect(fd, POINTER(1), (socklen_t)a[2]), true;
    case SYS_listen:
        return *result = listen(fd, second), true;
    case SYS_accept:
        return *result = accept(fd, POINTER(1), POINTER(2)), true;
    case SYS_accept4:
        return *result = accept4(fd, POINTER(1), POINTER(2), (int)a[3]), true;
    case SYS_shutdown:
        return *result = shutdown(fd, second), true;
    case SYS_getsockname:
        return *result = getsockname(fd, POINTER(1), POINTER(2)), true;
    case SYS_getpeername:
        return *result = getpeername(fd, POINTER(1), POINTER(2)), true;
    case SYS_getsockopt:
        return *result = getsockopt(fd, second, (int)a[2], POINTER(3), POINTER(4)), true;
    case SYS_setsockopt:
        return *result = setsockopt(fd, second, (int)a[2], POINTER(3), (socklen_t)a[4]), true;
    case SYS_recvfrom:
        return *result = recvfrom(fd, POINTER(1), (size_t)a[2], (int)a[3], POINTER(4), POINTER(5)),
               true;
    case SYS_sendto:
        return *result =
                   sendto(fd, POINTER(1), (size_t)a[2], (int)a[3], POINTER(4), (socklen_t)a[5]),
               true;
    case SYS_recvmsg:
        return *result = recvmsg(fd, POINTER(1), (int)a[2]), true;
    case SYS_sendmsg:
        return *result = sendmsg(fd, POINTER(1), (int)a[2]), true;
    case SYS_sendfile:
        return *result = sendfile(fd, second, POINTER(2), (size_t)a[3]), true;
    case SYS_splice:
        return *result =
                   splice(fd, POINTER(1), (int)a[2], POINTER(3), (size_t)a[4], (unsigned)a[5]),
               true;
    case SYS_read:
        return *result = read(fd, POINTER(1), (size_t)a[2]), true;
    case SYS_write:
        return *result = write(fd, POINTER(1), (size_t)a[2]), true;
    case SYS_readv:
        return *result = readv(fd, POINTER(1), (int)a[2]), true;
    case SYS_writev:
        return *result = writev(fd, POINTER(1), (int)a[2]), true;
    case SYS_close:
        return *result = close(fd), true;
    case SYS_close_range:
        return *result = close_range((unsigned)fd, (unsigned)second, (int)a[2]), true;
    case SYS_dup:
        return *result = dup(fd), true;
    case SYS_dup3:
        return *result = dup3(fd, second, (int)a[2]), true;
    case SYS_ioctl:
        return *result = ioctl(fd, (unsigned long)a[1], POINTER(2)), true;
    case SYS_epoll_create1:
        return *result = epoll_create1(fd), true;
    case SYS_epoll_ctl:
        return *result = epoll_ctl(fd, second, (int)a[2], POINTER(3)), true;
    case SYS_eventfd2:
        return *result = eventfd((unsigned)fd, second), true;
#ifdef SYS_poll
    case SYS_poll:
        return *result = poll(POINTER(0), (nfds_t)a[1], (int)a[2]), true;
    case SYS_dup2:
        return *result = dup2(fd, second), true;
    case SYS_epoll_wait:
        return *result = epoll_wait(fd, POINTER(1), (int)a[2], (int)a[3]), true;
#endif
    default:
        return false;
    }
}

/* Others that are recorded: without their arguments, but for a descriptor that stands first. */
static const struct raw {
    long number;
    enum trace_operation op;
    enum { RAW_ON_ONE, RAW_ON_WATCHED, RAW_ON_NONE, RAW_MAKES_EVENT } kind;
} raws[] = {
    {SYS_recvmmsg, TRACE_RECVMMSG, RAW_ON_ONE},
    {SYS_sendmmsg, TRACE_SENDMMSG, RAW_ON_ONE},
    {SYS_fcntl, TRACE_FCNTL, RAW_ON_WATCHED},
    {SYS_ppoll, TRACE_PPOLL, RAW_ON_NONE},
    {SYS_pselect6, TRACE_PSELECT6, RAW_ON_NONE},
    {SYS_epoll_pwait, TRACE_EPOLL_PWAIT, RAW_ON_ONE},
#ifdef SYS_io_uring_setup
    {SYS_io_uring_setup, TRACE_IO_URING_SETUP, RAW_MAKES_EVENT},
#endif
#ifdef SYS_select
    {SYS_select, TRACE_SELECT, RAW_ON_NONE},
    {SYS_epoll_create, TRACE_EPOLL_CREATE, RAW_MAKES_EVENT},
    {SYS_eventfd, TRACE_EVENTFD, RAW_MAKES_EVENT},
#endif
};

static const struct raw *raw_find(long number)
{
    for (size_t i = 0; i < sizeof(raws) / sizeof(*raws); i++)
        if (raws[i].number == number)
            return &raws[i];
    return NULL;
}

static int raw_descriptor(const struct raw *raw, const long a[6])
{
    return raw->kind == RAW_ON_ONE || raw->kind == RAW_ON_WATCHED ? (int)a[0] : -1;
}

static uint64_t raw_argument(const struct raw *raw, const long a[6])
{
    return (uint64_t)a[raw->op == TRACE_FCNTL];
}

static long end_raw(const struct call *call, const struct raw *raw, const long a[6], long result)
{
    if (raw->kind == RAW_MAKES_EVENT)
        descriptor_set((int)result, DESCRIPTOR_EVENT);
    if (raw->op == TRACE_FCNTL && (a[1] == F_DUPFD || a[1] == F_DUPFD_CLOEXEC))
        descriptor_set((int)result, descriptor_kind((int)a[0]));
    return call_end(call, &(struct call_end){.op = raw->op,
                                             .fd = raw_descriptor(raw, a),
                                             .result = result,
                                             .argument = raw_argument(raw, a)});
}

PRELOAD long syscall(long number, ...)
{
    long a[6], result;
    int cancelling;
    va_list list;
    va_start(list, number);
    for (size_t i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    /* No thread is cancelled in it, other than in the C library's functions. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    bool is_done = process_recording() && !CALL_IS_OURS() && as_function(number, a, &result);
    pthread_setcancelstate(cancelling, NULL);
    if (is_done)
        return result;
    const struct raw *raw = raw_find(number);
    bool is_call = raw && (raw->kind != RAW_ON_WATCHED || descriptor_is_watched((int)a[0]));
    struct call call =
        is_call ? call_begin_waiting(raw->op, raw_descriptor(raw, a), raw_argument(raw, a))
                : (struct call){0};
    result = NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    return raw ? end_raw(&call, raw, a, result) : result;
}
