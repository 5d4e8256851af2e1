/* Listening sockets. */
#ifndef ZOLAL_SOCKET_LISTENER_H
#define ZOLAL_SOCKET_LISTENER_H

#include <stdbool.h>

#include "base/error.h"
#include "socket/address.h"

/* How to listen. All zero but `backlog` is a good default. */
struct listener_options {
    int backlog;        /* connections; the kernel caps it at net.core.somaxconn */
    bool v6_only;       /* [::] takes IPv6 alone; else both (IPV6_V6ONLY, ipv6(7)) */
    bool reuse_port;    /* SO_REUSEPORT, socket(7) */
    int defer_accept_s; /* TCP_DEFER_ACCEPT in seconds, tcp(7); 0: off */
    int unix_mode;      /* permissions of a UNIX socket's file; 0: as the umask says */
};

/* Listen on `addr`: non-blocking, close-on-exec, SO_REUSEADDR, TCP_NODELAY for what it accepts. A
 * UNIX socket's file that nobody answers on (connect(2) is refused) is replaced, any other file is
 * not touched: EADDRINUSE. Returns the descriptor, owned by the caller, and sets `*addr` to the
 * address got (port 0 becomes a port); or -errno with `err` filled. Where /proc tells, the text for
 * EADDRINUSE names the process that listens; for EACCES on a port below 1024 it says what to do.
 * Source: bind(2), listen(2), ip(7), ipv6(7), unix(7). */
int listener_open(struct address *addr, const struct listener_options *options, struct error *err);

/* Take over a descriptor that listens already (socket activation, a parent): checks that it is a
 * listening stream socket, makes it non-blocking and close-on-exec, fills `addr`. Returns 0 or
 * -errno with `err` filled. Source: sd_listen_fds(3). */
int listener_adopt(int fd, struct address *addr, struct error *err);

/* Accept one connection: non-blocking, close-on-exec. Returns its descriptor, owned by the caller,
 * with `peer` filled; -EAGAIN when the queue is empty; or another -errno of accept4(2): the queue
 * may hold more after ECONNABORTED and network errors, the process is at its limit after EMFILE,
 * ENFILE, ENOBUFS, ENOMEM. */
int listener_accept(int fd, struct address *peer);

/* Close, and unlink the file of a UNIX socket (path, not abstract) that listener_open made. */
void listener_close(int fd, const struct address *addr);

#endif
