/* Which calls are recorded, and how. */
#include "exact/call.h"

#include <sys/syscall.h>

/* Older headers do not number them; on every machine they have these. */
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup    425
#define SYS_io_uring_enter    426
#define SYS_io_uring_register 427
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#define ON(op, shape)     {TRACE_##op, CALL_##shape, false, true}
#define ON_ANY(op, shape) {TRACE_##op, CALL_##shape, true, true}

static const struct call_kind kinds[] = {
    [SYS_socket] = ON(SOCKET, SOCKET),
    [SYS_socketpair] = ON(SOCKETPAIR, SOCKETPAIR),
    [SYS_bind] = ON(BIND, ADDRESS),
    [SYS_connect] = ON(CONNECT, ADDRESS),
    [SYS_listen] = ON(LISTEN, NUMBER),
    [SYS_accept] = ON(ACCEPT, FOUND_ADDRESS),
    [SYS_accept4] = ON(ACCEPT4, FOUND_ADDRESS),
    [SYS_getsockname] = ON(GETSOCKNAME, FOUND_ADDRESS),
    [SYS_getpeername] = ON(GETPEERNAME, FOUND_ADDRESS),
    [SYS_shutdown] = ON(SHUTDOWN, NUMBER),
    [SYS_getsockopt] = ON(GETSOCKOPT, OPTION),
    [SYS_setsockopt] = ON(SETSOCKOPT, OPTION),
    [SYS_recvfrom] = ON(RECVFROM, RECEIVE),
    [SYS_sendto] = ON(SENDTO, SEND),
    [SYS_recvmsg] = ON(RECVMSG, MESSAGE),
    [SYS_sendmsg] = ON(SENDMSG, MESSAGE),
    [SYS_recvmmsg] = ON(RECVMMSG, MESSAGES),
    [SYS_sendmmsg] = ON(SENDMMSG, MESSAGES),
    [SYS_sendfile] = ON(SENDFILE, SENDFILE),
    [SYS_splice] = ON(SPLICE, SPLICE),
    [SYS_read] = ON_ANY(READ, BYTES),
    [SYS_write] = ON_ANY(WRITE, BYTES),
    [SYS_readv] = ON_ANY(READV, PARTS),
    [SYS_writev] = ON_ANY(WRITEV, PARTS),
    [SYS_close] = ON_ANY(CLOSE, DESCRIPTOR),
    [SYS_close_range] = ON(CLOSE_RANGE, RANGE),
    [SYS_dup] = ON_ANY(DUP, DESCRIPTOR),
    [SYS_dup3] = ON_ANY(DUP3, RANGE),
    [SYS_fcntl] = ON_ANY(FCNTL, FCNTL),
    [SYS_ioctl] = ON_ANY(IOCTL, IOCTL),
    [SYS_ppoll] = ON(PPOLL, POLL),
    [SYS_pselect6] = ON(PSELECT6, SELECT),
    [SYS_epoll_create1] = ON(EPOLL_CREATE1, MAKE),
    [SYS_epoll_ctl] = ON(EPOLL_CTL, EPOLL_CTL),
    [SYS_epoll_pwait] = ON(EPOLL_PWAIT, EPOLL_WAIT),
    [SYS_epoll_pwait2] = ON(EPOLL_PWAIT2, EPOLL_WAIT),
    [SYS_eventfd2] = ON(EVENTFD2, EVENTFD),
    [SYS_io_uring_setup] = ON(IO_URING_SETUP, MAKE),
    [SYS_io_uring_enter] = ON(IO_URING_ENTER, RING),
    [SYS_io_uring_register] = ON(IO_URING_REGISTER, RING),
#ifdef SYS_poll
    [SYS_poll] = ON(POLL, POLL),
    [SYS_select] = ON(SELECT, SELECT),
    [SYS_dup2] = ON_ANY(DUP2, NUMBER),
    [SYS_epoll_create] = ON(EPOLL_CREATE, MAKE),
    [SYS_epoll_wait] = ON(EPOLL_WAIT, EPOLL_WAIT),
    [SYS_eventfd] = ON(EVENTFD, MAKE),
#endif
};

const struct call_kind call_other = {TRACE_OTHER, CALL_OTHER, false, true};

const struct call_kind *call_kind_of(uint64_t number)
{
    size_t count = sizeof(kinds) / sizeof(*kinds);
    return number < count && kinds[number].is_known ? &kinds[number] : NULL;
}

size_t call_numbers(uint32_t *numbers, size_t size)
{
    static const uint32_t besides[] = {SYS_restart_syscall, SYS_rt_sigreturn, SYS_ptrace};
    size_t count = 0;
    for (uint32_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && count < size; i++)
        if (kinds[i].is_known)
            numbers[count++] = i;
    for (size_t i = 0; i < sizeof(besides) / sizeof(*besides) && count < size; i++)
        numbers[count++] = besides[i];
    return count;
}
