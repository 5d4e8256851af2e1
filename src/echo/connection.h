/* One client of the echo service, and the inside of the service; only echo/ looks here. */
#ifndef ZOLAL_ECHO_CONNECTION_H
#define ZOLAL_ECHO_CONNECTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "echo/echo.h"
#include "event_loop/acceptor.h"
#include "event_loop/loop.h"
#include "event_loop/wakeup.h"
#include "socket/stream.h"

#define ECHO_RECEIVE_SIZE (64u << 10) /* bytes of one recv, and most that wait for a client */
#define ECHO_TURN         4           /* recvs of a connection before others have their turn */

/* `received` is used by one connection at a time, and by none between two events. */
struct echo {
    struct loop loop;
    struct wakeup wakeup;
    struct acceptor acceptor;
    struct echo_config config;
    struct list connections;
    struct list again; /* those that have had their turn, and may have more */
    _Atomic bool stop_asked;
    char received[ECHO_RECEIVE_SIZE];
};

/* Watched edge-triggered: what an edge has told is remembered here until a call says -EAGAIN. While
 * something waits, nothing is read. */
struct echo_connection {
    struct loop_watch watch;
    struct stream stream;
    struct echo *echo;
    struct list node;
    struct list again;
    struct buffer waiting; /* what the kernel has not taken yet */
    uint32_t id;           /* its number in the recording */
    bool readable;         /* recv may find something */
    bool watches_room;     /* for what waits */
    bool reads_on;         /* a short read may leave something: the end, or urgent data, has come */
};

/* Begin to echo on the socket `fd`, which is owned from now on, also when this fails. Returns 0 or
 * -errno: -ENOMEM, -ENOSPC (epoll_ctl(2)). */
int echo_connection_open(struct echo *echo, int fd);

/* Echo what there is, for one turn. It may close and free the connection. */
void echo_connection_serve(struct echo_connection *connection);

/* End our side, close and free. */
void echo_connection_close(struct echo_connection *connection);

#endif
