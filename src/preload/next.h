/* The C library's own functions behind those that this library puts in their place. */
#ifndef ZOLAL_PRELOAD_NEXT_H
#define ZOLAL_PRELOAD_NEXT_H

/* Every function that is wrapped: what the library exports, and no more (a test compares). */
#define PRELOAD_FUNCTIONS(X) \
    X(accept)                \
    X(accept4)               \
    X(bind)                  \
    X(close)                 \
    X(closefrom)             \
    X(close_range)           \
    X(connect)               \
    X(dup)                   \
    X(dup2)                  \
    X(dup3)                  \
    X(epoll_create)          \
    X(epoll_create1)         \
    X(epoll_ctl)             \
    X(epoll_pwait)           \
    X(epoll_pwait2)          \
    X(epoll_wait)            \
    X(eventfd)               \
    X(execl)                 \
    X(execle)                \
    X(execlp)                \
    X(execv)                 \
    X(execve)                \
    X(execvp)                \
    X(execvpe)               \
    X(fclose)                \
    X(fcntl)                 \
    X(fcntl64)               \
    X(fexecve)               \
    X(getpeername)           \
    X(getsockname)           \
    X(getsockopt)            \
    X(ioctl)                 \
    X(listen)                \
    X(poll)                  \
    X(popen)                 \
    X(posix_spawn)           \
    X(posix_spawnp)          \
    X(ppoll)                 \
    X(pselect)               \
    X(pthread_create)        \
    X(read)                  \
    X(readv)                 \
    X(recv)                  \
    X(recvfrom)              \
    X(recvmmsg)              \
    X(recvmsg)               \
    X(select)                \
    X(send)                  \
    X(sendfile)              \
    X(sendfile64)            \
    X(sendmmsg)              \
    X(sendmsg)               \
    X(sendto)                \
    X(setsockopt)            \
    X(shutdown)              \
    X(socket)                \
    X(socketpair)            \
    X(splice)                \
    X(syscall)               \
    X(system)                \
    X(vfork)                 \
    X(write)                 \
    X(writev)                \
    X(__poll_chk)            \
    X(__ppoll_chk)           \
    X(__read_chk)            \
    X(__recv_chk)            \
    X(__recvfrom_chk)

enum next {
#define X(name) NEXT_##name,
    PRELOAD_FUNCTIONS(X)
#undef X
        NEXT_COUNT
};

/* A function of any type; cast before it is called. */
typedef void next_function(void);

/* The next one in the order that the loader searches (dlsym(3), RTLD_NEXT): looked up once. Where
 * this C library has none, one that fails with ENOSYS. */
next_function *next_find(enum next which);

/* Look all of them up: from then on next_find is async-signal-safe. */
void next_find_all(void);

/* The same with the type of what it is called in place of. */
#define NEXT(name) ((__typeof__(&name))next_find(NEXT_##name))

/* What is exported. */
#define PRELOAD __attribute__((visibility("default")))

#endif
