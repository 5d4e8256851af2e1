/* Signals as loop events: a handler counts and wakes the loop, nothing is blocked (a blocked mask
 * would pass to every child that the application starts). signal(7), sigaction(2). */
#ifndef ZOLAL_EVENT_LOOP_SIGNALS_H
#define ZOLAL_EVENT_LOOP_SIGNALS_H

#include <stdbool.h>

#include "base/error.h"

/* Handle SIGTERM and SIGINT in this process: each wakes the eventfd `wakeup_fd`. The first of them
 * puts both back to their default action, so that a second one ends the process at once, whatever
 * it is doing. Only the command calls this; an embedded server lives with its program's handlers.
 * SIGPIPE is not touched: no call of ours raises it. Returns 0 or -errno with `err` filled. */
int signals_install(int wakeup_fd, struct error *err);

/* Has SIGTERM or SIGINT come since signals_install? */
bool signals_stop_asked(void);

/* Put back what was there before. */
void signals_remove(void);

#endif
