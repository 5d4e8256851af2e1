/* Waking a loop from another thread or from a signal handler: an eventfd(2) that the loop watches.
 */
#ifndef ZOLAL_EVENT_LOOP_WAKEUP_H
#define ZOLAL_EVENT_LOOP_WAKEUP_H

#include "base/error.h"
#include "event_loop/loop.h"

/* `watch.fd` is the eventfd. */
struct wakeup {
    struct loop_watch watch;
    void (*on_wakeup)(struct wakeup *wakeup);
};

/* Open and add to `loop`; on_wakeup runs in the loop, once for any number of signals. Returns 0 or
 * -errno with `err` filled. */
int wakeup_init(struct wakeup *wakeup, struct loop *loop, void (*on_wakeup)(struct wakeup *),
                struct error *err);
void wakeup_release(struct wakeup *wakeup);

/* Wake the loop. Safe in a signal handler (signal-safety(7)) and in any thread; keeps errno. */
void wakeup_signal(int fd);

#endif
