/* A connection: HTTP/1.1 on a stream, RFC 9112. Data plus a table of states; one function changes
 * the state and records the change. Its exchanges come one at a time and in order. */
#ifndef ZOLAL_SERVER_CONNECTION_H
#define ZOLAL_SERVER_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "base/slice.h"
#include "event_loop/loop.h"
#include "event_loop/timers.h"
#include "http/refusal.h"
#include "socket/address.h"
#include "socket/stream.h"

struct exchange;
struct output;
struct worker;

/* What a step of a connection came to, for the thread that made it. */
enum connection_next {
    CONNECTION_STEP, /* another may follow now */
    CONNECTION_WAIT, /* it waits for something */
    CONNECTION_LEFT  /* this thread does not turn the loop any more: it must touch nothing */
};

/* X(state, name, what it waits for) */
#define CONNECTION_STATES(X)                                             \
    X(NEW, "new", "being set up")                                        \
    X(IDLE, "idle", "the first byte of a request")                       \
    X(READ_HEAD, "read head", "the rest of a request head")              \
    X(READ_BODY, "read body", "the rest of a request body")              \
    X(READY, "ready", "the handler, which is busy")                      \
    X(RUN, "run", "the handler, which has the exchange")                 \
    X(WRITE, "write", "the client, to take the rest of the last answer") \
    X(LINGER, "linger", "the client's end, after ours")                  \
    X(CLOSED, "closed", "nothing")

enum connection_state {
#define X(state, name, waits_for) CONNECTION_##state,
    CONNECTION_STATES(X)
#undef X
        CONNECTION_STATE_COUNT
};

/* Whose patience counts in a state: the index of one of the worker's timer queues. */
enum patience {
    PATIENCE_NONE,
    PATIENCE_KEEP_ALIVE,
    PATIENCE_HEAD,
    PATIENCE_BODY,
    PATIENCE_SEND,
    PATIENCE_LINGER,
    PATIENCE_FIRST, /* with a connection that a stop finds before its first request */
    PATIENCE_COUNT
};

/* `input`: bytes received and not consumed; they lie in the worker's receive buffer while this
 * connection is being served, and in `kept` when they must outlive that. `exchange` and `output`
 * exist only while they are needed: an idle connection is this struct and nothing else. */
struct connection {
    struct loop_watch watch;
    struct stream *stream; /* `socket`, or one that somebody else feeds */
    struct stream socket;
    struct worker *worker;
    struct list node;      /* worker.connections, or worker.closed once closed */
    struct list dirty;     /* worker.dirty: has output to flush at the end of the turn */
    struct list again;     /* worker.again: has more to do in the next turn; or worker.ready */
    struct list unwatched; /* worker.unwatched: the loop does not know it yet */
    struct timer timer;
    struct exchange *exchange;
    struct output *output;
    struct buffer kept;
    struct slice input;
    uint64_t request;      /* the number of the request that is read or served */
    uint64_t sent_request; /* the number of the last request that has bytes in `output` */
    uint32_t id;
    uint32_t forks; /* worker.forks when it was opened */
    uint16_t listener;
    uint8_t state;    /* enum connection_state */
    uint8_t blank;    /* bytes of empty lines before the request that is awaited */
    bool readable;    /* the socket may have bytes: recv until it says no */
    bool has_asked;   /* a request of it was read */
    bool reads_on;    /* a short read may leave something: the end, or urgent data, is on its way */
    bool peer_ended;  /* recv has returned 0 */
    bool unread;      /* the client may still be sending what nobody will read */
    bool blocked;     /* the socket took less than was pending */
    bool last;        /* nothing more is served: close after the output */
    bool expired;     /* its patience is over, and it is looked at once more */
    bool ends_answer; /* only its end says that the last answer is whole */
    bool cut;         /* the last answer is not whole, and only a reset can tell the client */
    struct address peer;
};

/* Serve the connected socket `fd`, accepted from `listener`. The connection belongs to the worker
 * and frees itself. Owns `fd`, also on failure: 0 or -errno. */
int connection_open(struct worker *worker, int fd, const struct address *peer, unsigned listener);

/* Let the loop watch it, now that it is going to be waited for. Returns 0; -errno: it is closed. */
int connection_watch(struct connection *connection);

/* Serve a stream that is not a socket: `connection_on_ready` says when there is something on it, no
 * loop does. The stream must live until the worker has freed the connection. Returns NULL without
 * memory. */
struct connection *connection_open_stream(struct worker *worker, struct stream *stream,
                                          const struct address *peer);

/* Something is ready on the connection's stream: LOOP_... bits. */
void connection_on_ready(struct loop_watch *watch, uint32_t ready);

/* Come back to it in the next turn. */
void connection_again(struct connection *connection);

/* Do what can be done now: read, parse, call the handler, until it would have to wait. Returns
 * CONNECTION_WAIT or CONNECTION_LEFT. */
enum connection_next connection_advance(struct connection *connection);

/* Give the kernel what is pending. Returns 0; -EPIPE when the connection has ended over it, or
 * takes no more, since a file was shorter than announced: then the exchange is gone, too. */
int connection_flush(struct connection *connection);

/* Flush at the end of the worker's turn. */
void connection_flush_later(struct connection *connection);

/* Its patience is over: see whether something has come, in the next turn, before giving up. */
void connection_expire(struct connection *connection);

/* Go on where connection_again or connection_expire has left it. */
void connection_resume(struct connection *connection);

/* (Re)start the patience that counts now: the client's, where it has not taken what is pending. */
void connection_start_patience(struct connection *connection);

/* Answer with a refusal, then close: the connection's last act. */
void connection_refuse(struct connection *connection, enum http_refusal refusal);

/* The part of that which only queues bytes, for a handler that is still running. */
void connection_queue_refusal(struct connection *connection, enum http_refusal refusal);

/* The handler has returned from an exchange that is over: go on with the next request, or close. */
void connection_exchange_over(struct connection *connection);

/* Change the state: the only place that does. */
void connection_enter(struct connection *connection, enum connection_state state);

/* Wait for the next request. */
void connection_enter_idle(struct connection *connection);

/* Is there more for a connection in state IDLE to read? */
bool connection_has_input(const struct connection *connection);

/* Does a handler that kept the exchange wait for the room that there is now, or for its turn? */
bool connection_owes_call(const struct connection *connection);

/* The stream has the connection's last byte: end it such that the client gets all of it. */
void connection_end(struct connection *connection);

/* Take `len` bytes off the front of `input`. */
void connection_consume(struct connection *connection, size_t len);

/* Read more of a body that the handler has begun to read (100-continue). */
void connection_read_ahead(struct connection *connection);

/* Move unread input out of the worker's receive buffer, which is about to be used again. Returns 0
 * or -ENOMEM. */
int connection_keep_input(struct connection *connection);

/* Close now. An exchange that a handler keeps is aborted; what is pending is dropped. */
void connection_close(struct connection *connection);

/* Free a closed connection. */
void connection_free(struct connection *connection);

/* The output to add to, or NULL without memory. */
struct output *connection_output(struct connection *connection);

/* The connection's hold on its exchange ends; a handler that keeps it is told, one that is running
 * finds out. */
void connection_drop_exchange(struct connection *connection);

/* Nothing is pending: the output is spare. */
void connection_give_back_output(struct connection *connection);

#endif
