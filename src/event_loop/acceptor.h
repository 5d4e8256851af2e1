/* Listening sockets in a loop: their connections are accepted, in batches, until descriptors or
 * memory are short. Then those there are go on, the kernel's queue keeps the others, and the
 * acceptor looks again when one has closed or after half a second. */
#ifndef ZOLAL_EVENT_LOOP_ACCEPTOR_H
#define ZOLAL_EVENT_LOOP_ACCEPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "event_loop/loop.h"
#include "event_loop/timers.h"
#include "socket/address.h"

/* The owner fills the first part, and acceptor_init the rest. It keeps `connections` and
 * `connection_ids` up to date. */
struct acceptor {
    struct loop *loop;
    /* Take a connection; `listener` is the number of where it came from. `fd` is not the acceptor's
     * any more, whatever is returned: 0, or -errno of a shortage. */
    int (*on_connection)(struct acceptor *acceptor, int fd, const struct address *peer,
                         unsigned listener);
    /* A line for the operator, once an occasion. */
    void (*on_shortage)(struct acceptor *acceptor, const char *text);
    size_t connections;      /* that are open */
    uint32_t connection_ids; /* the last one's number in the recording */

    struct list listeners;
    unsigned listener_count;
    bool held;
    bool shortage_said;
    struct timer_queue pauses;
    struct timer pause; /* running: there is a shortage */
};

/* A socket that is not the acceptor's own: what becomes of it at the end. */
struct acceptor_adopted {
    bool file;  /* that of a UNIX socket stays */
    bool queue; /* who waits is left there: acceptor_accept_all passes it by */
};

void acceptor_init(struct acceptor *acceptor);

/* Accept from `fd`, which is the acceptor's from now on: on failure it is closed. Returns the
 * listener's number, from 0, or -errno with `err` filled. */
int acceptor_add(struct acceptor *acceptor, int fd, const struct address *addr,
                 struct acceptor_adopted adopted, struct error *err);

/* The descriptor of a listener; -1: there is no such number. */
int acceptor_fd(const struct acceptor *acceptor, unsigned number);

/* Leave connections to the kernel's queue, and to others who accept from it; or not any more. */
void acceptor_hold(struct acceptor *acceptor, bool hold);

/* There is a shortage, -`error` of a connection: begin a pause. */
void acceptor_pause(struct acceptor *acceptor, int error);

/* End it: a connection has closed. Nothing happens when there is none. */
void acceptor_resume(struct acceptor *acceptor);

/* When the pause is over, in the loop's time, and what to do then; TIMER_NEVER: there is none. */
uint64_t acceptor_deadline(const struct acceptor *acceptor);
void acceptor_expire(struct acceptor *acceptor);

/* Take all that wait in the queues, but those to be left there. */
void acceptor_accept_all(struct acceptor *acceptor);

/* Close the listeners; those of UNIX sockets with their files, unless these were adopted. */
void acceptor_close(struct acceptor *acceptor);

/* In a forked child: close its copies, touch nothing that is the parent's, accept nothing more. */
void acceptor_forget(struct acceptor *acceptor);

#endif
