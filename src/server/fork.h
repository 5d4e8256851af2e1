/* What a forked child does with the workers it inherits: forget them, so that no connection of its
 * parent stays open in the child, and nothing of the child lands in the parent's recording.
 * fork(2). */
#ifndef ZOLAL_SERVER_FORK_H
#define ZOLAL_SERVER_FORK_H

struct worker;

/* Have a fork's child forget `worker` (pthread_atfork(3)). Returns 0 or -errno. */
int fork_watch(struct worker *worker);
void fork_unwatch(struct worker *worker);

#endif
