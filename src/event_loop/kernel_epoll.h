/* epoll(7) and eventfd(2): each system call in exactly one function, which records it. As in
 * socket/kernel.h: >= 0 or -errno, nothing restarted. */
#ifndef ZOLAL_EVENT_LOOP_KERNEL_EPOLL_H
#define ZOLAL_EVENT_LOOP_KERNEL_EPOLL_H

#include <stdint.h>
#include <sys/epoll.h>

/* A new epoll descriptor, close-on-exec: epoll_create1(2). */
int kernel_epoll_create(void);

/* Change what is watched: epoll_ctl(2), `operation` EPOLL_CTL_ADD, _MOD or _DEL. */
int kernel_epoll_ctl(int epoll_fd, int operation, int fd, uint32_t events, void *data);

/* Wait: epoll_wait(2). `timeout_ms` -1: for ever, 0: not at all. Returns how many of `events` are
 * filled. `fd_of` gives the recording the descriptor of an event's data pointer. */
int kernel_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms,
                      int (*fd_of)(void *data));

/* A new eventfd, non-blocking, close-on-exec, with count 0: eventfd(2). */
int kernel_eventfd(void);

#endif
