/* syscall(2): calls that a program makes by their number. */
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/call.h"
#include "preload/descriptors.h"

/* Number, call, and what its first argument is. */
static const struct raw {
    long number;
    enum trace_operation op;
    enum { RAW_DESCRIPTOR, RAW_WATCHED, RAW_OTHER } first;
} raws[] = {
    {SYS_socket, TRACE_SOCKET, RAW_OTHER},
    {SYS_socketpair, TRACE_SOCKETPAIR, RAW_OTHER},
    {SYS_bind, TRACE_BIND, RAW_DESCRIPTOR},
    {SYS_connect, TRACE_CONNECT, RAW_DESCRIPTOR},
    {SYS_listen, TRACE_LISTEN, RAW_DESCRIPTOR},
    {SYS_accept, TRACE_ACCEPT, RAW_DESCRIPTOR},
    {SYS_accept4, TRACE_ACCEPT4, RAW_DESCRIPTOR},
    {SYS_shutdown, TRACE_SHUTDOWN, RAW_DESCRIPTOR},
    {SYS_getsockname, TRACE_GETSOCKNAME, RAW_DESCRIPTOR},
    {SYS_getpeername, TRACE_GETPEERNAME, RAW_DESCRIPTOR},
    {SYS_getsockopt, TRACE_GETSOCKOPT, RAW_DESCRIPTOR},
    {SYS_setsockopt, TRACE_SETSOCKOPT, RAW_DESCRIPTOR},
    {SYS_recvfrom, TRACE_RECVFROM, RAW_DESCRIPTOR},
    {SYS_sendto, TRACE_SENDTO, RAW_DESCRIPTOR},
    {SYS_recvmsg, TRACE_RECVMSG, RAW_DESCRIPTOR},
    {SYS_sendmsg, TRACE_SENDMSG, RAW_DESCRIPTOR},
    {SYS_recvmmsg, TRACE_RECVMMSG, RAW_DESCRIPTOR},
    {SYS_sendmmsg, TRACE_SENDMMSG, RAW_DESCRIPTOR},
    {SYS_sendfile, TRACE_SENDFILE, RAW_DESCRIPTOR},
    {SYS_splice, TRACE_SPLICE, RAW_DESCRIPTOR},
    {SYS_read, TRACE_READ, RAW_WATCHED},
    {SYS_write, TRACE_WRITE, RAW_WATCHED},
    {SYS_readv, TRACE_READV, RAW_WATCHED},
    {SYS_writev, TRACE_WRITEV, RAW_WATCHED},
    {SYS_close, TRACE_CLOSE, RAW_WATCHED},
    {SYS_dup, TRACE_DUP, RAW_WATCHED},
    {SYS_dup3, TRACE_DUP3, RAW_WATCHED},
    {SYS_fcntl, TRACE_FCNTL, RAW_WATCHED},
    {SYS_ioctl, TRACE_IOCTL, RAW_WATCHED},
    {SYS_ppoll, TRACE_PPOLL, RAW_OTHER},
    {SYS_pselect6, TRACE_PSELECT6, RAW_OTHER},
    {SYS_epoll_create1, TRACE_EPOLL_CREATE1, RAW_OTHER},
    {SYS_epoll_ctl, TRACE_EPOLL_CTL, RAW_DESCRIPTOR},
    {SYS_epoll_pwait, TRACE_EPOLL_PWAIT, RAW_DESCRIPTOR},
    {SYS_eventfd2, TRACE_EVENTFD2, RAW_OTHER},
#ifdef SYS_close_range
    {SYS_close_range, TRACE_CLOSE_RANGE, RAW_OTHER},
#endif
#ifdef SYS_io_uring_setup
    {SYS_io_uring_setup, TRACE_IO_URING_SETUP, RAW_OTHER},
#endif
#ifdef SYS_poll
    {SYS_poll, TRACE_POLL, RAW_OTHER},
    {SYS_select, TRACE_SELECT, RAW_OTHER},
    {SYS_dup2, TRACE_DUP2, RAW_WATCHED},
    {SYS_epoll_create, TRACE_EPOLL_CREATE, RAW_OTHER},
    {SYS_epoll_wait, TRACE_EPOLL_WAIT, RAW_DESCRIPTOR},
    {SYS_eventfd, TRACE_EVENTFD, RAW_OTHER},
#endif
};

static const struct raw *raw_find(long number)
{
    for (size_t i = 0; i < sizeof(raws) / sizeof(*raws); i++)
        if (raws[i].number == number)
            return &raws[i];
    return NULL;
}

/* What descriptors it has made or closed. */
static void note_descriptors(const struct raw *raw, long first, long second, long result)
{
    if (raw->op == TRACE_CLOSE)
        descriptors_forget((unsigned)first, (unsigned)first);
    else if (raw->op == TRACE_CLOSE_RANGE)
        descriptors_forget((unsigned)first, (unsigned)second);
    else if (raw->op == TRACE_SOCKET || raw->op == TRACE_ACCEPT || raw->op == TRACE_ACCEPT4)
        descriptor_set((int)result, DESCRIPTOR_SOCKET);
    else if (raw->first == RAW_OTHER && raw->op != TRACE_PPOLL && raw->op != TRACE_POLL &&
             raw->op != TRACE_SELECT && raw->op != TRACE_PSELECT6 && raw->op != TRACE_SOCKETPAIR)
        descriptor_set((int)result, DESCRIPTOR_EVENT);
    else if (raw->op == TRACE_DUP || raw->op == TRACE_DUP2 || raw->op == TRACE_DUP3)
        descriptor_set((int)result, descriptor_kind((int)first));
}

PRELOAD long syscall(long number, ...)
{
    long a[6];
    va_list list;
    va_start(list, number);
    for (size_t i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    const struct raw *raw = raw_find(number);
    bool is_call = raw && (raw->first != RAW_WATCHED || descriptor_is_watched((int)a[0]));
    struct call call = is_call ? call_begin() : (struct call){0};
    long result = NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (!raw)
        return result;
    note_descriptors(raw, a[0], a[1], result);
    return call_end(&call, &(struct call_end){.op = raw->op,
                                              .fd = raw->first == RAW_OTHER ? -1 : (int)a[0],
                                              .result = result,
                                              .argument = (uint64_t)a[2]});
}
