/* The event loop: descriptors, what happens on them, and time. One thread turns it at a time.
 *
 *     while (running) {
 *         n = loop_wait(&loop, timeout_ms);   // may block
 *         loop_update_time(&loop);
 *         while (loop_dispatch_next(&loop))   // calls on_ready of each
 *             continue;
 *     }
 */
#ifndef ZOLAL_EVENT_LOOP_LOOP_H
#define ZOLAL_EVENT_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/error.h"

/* Bits of `ready`, with epoll(7)'s meaning. */
#define LOOP_READABLE   EPOLLIN
#define LOOP_WRITABLE   EPOLLOUT
#define LOOP_PEER_ENDED EPOLLRDHUP
#define LOOP_URGENT     EPOLLPRI
#define LOOP_BROKEN     (EPOLLERR | EPOLLHUP)
#define LOOP_EDGE       EPOLLET

/* What the loop watches; lives inside its owner. The owner keeps it alive until it is removed; or,
 * where no other descriptor, in another process perhaps, is of the same description (epoll(7)),
 * until `fd` is closed AND what the last loop_wait found is dispatched. */
struct loop_watch {
    int fd;
    void (*on_ready)(struct loop_watch *watch, uint32_t ready);
};

#define LOOP_BATCH 64

/* `now_ms`: CLOCK_MONOTONIC when loop_update_time was called last. */
struct loop {
    int epoll_fd;
    int ready_next; /* ready[ready_next .. ready_count) are not dispatched yet */
    int ready_count;
    uint64_t now_ms;
    struct epoll_event ready[LOOP_BATCH];
};

/* Returns 0 or -errno with `err` filled. */
int loop_init(struct loop *loop, struct error *err);

/* Close the epoll descriptor. */
void loop_release(struct loop *loop);

/* Watch `watch->fd` for `events` (LOOP_...). Returns 0 or -errno (ENOSPC, ENOMEM, EPERM). */
int loop_add(struct loop *loop, struct loop_watch *watch, uint32_t events);

/* Change the events. Returns 0 or -errno. */
int loop_change(struct loop *loop, struct loop_watch *watch, uint32_t events);

/* Stop watching: `watch` is not touched again, whatever of it is ready. */
void loop_remove(struct loop *loop, struct loop_watch *watch);

/* Is something ready that was not dispatched yet? Then loop_wait does not wait. */
bool loop_has_ready(const struct loop *loop);

/* Wait for at most `timeout_ms` (-1: no limit), unless loop_has_ready. Returns how many are ready,
 * 0 after the time or a signal, -errno for anything else. Leaves now_ms alone, which others may
 * read and update meanwhile: loop_update_time comes after it. */
int loop_wait(struct loop *loop, int timeout_ms);

/* Call on_ready for the next that the last loop_wait found; false: there is none. on_ready may wait
 * and dispatch itself, and another thread may go on where this one has stopped: each is served
 * once.
 */
bool loop_dispatch_next(struct loop *loop);

/* Read the clock into now_ms. */
void loop_update_time(struct loop *loop);

#endif
