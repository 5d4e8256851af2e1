/* The inside of an exchange; only server/ looks here. */
#ifndef ZOLAL_SERVER_EXCHANGE_STATE_H
#define ZOLAL_SERVER_EXCHANGE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "http/chunked.h"
#include "http/request_head.h"
#include "server/access_log.h"
#include "server/exchange.h"
#include "server/spool.h"

/* Where the request's body is. */
enum body_state {
    BODY_WHOLE,    /* in `body` and `spool`, or there is none */
    BODY_ARRIVING, /* being read into `spool`; the handler is called when it is whole */
    BODY_ASKED,    /* the handler has the exchange and reads while the client sends */
    BODY_AWAITED,  /* the same, before 100 (Continue) was sent */
    BODY_FAILED    /* `body_error` says why */
};

struct exchange {
    struct connection *connection; /* NULL once the connection is gone under a running handler */
    struct list node;              /* worker.spare_exchanges */
    void *user;
    uint64_t id;

    struct request_head head;
    struct request_head_progress progress;
    const char *head_start; /* the head's bytes in the connection's input */
    size_t head_len;
    struct buffer head_kept;        /* a copy of them, when they must outlive the receive buffer */
    struct http_field *fields_kept; /* and of the fields, which are parsed into worker.fields */

    struct slice body; /* bytes of the body in the connection's input, read before the spool's */
    struct spool spool;
    struct chunked_decoder chunked;
    struct buffer trailers;         /* the trailer section's field lines */
    uint64_t body_to_come;          /* bytes of a Content-Length that have not arrived */
    uint64_t body_arrived;          /* decoded bytes that have arrived */
    uint64_t body_began_ms;         /* when waiting for it began: now, or the last time */
    uint64_t body_waited_ms;        /* how long the waits before that one took */
    uint8_t body_state;             /* enum body_state */
    int body_error;                 /* -errno, as exchange_read returns it */
    enum http_refusal body_refusal; /* what the client is to be told of it */

    uint32_t history_key;       /* of its path, which may be gone in later calls */
    struct lead_thread *thread; /* whose call it is; NULL where there is only one */
    struct lead_gate *waiter;   /* somebody waits there for the client, in worker_wait */
    bool has_waited;            /* for its client, in the call that runs */
    bool given_back;            /* while somebody waits: it is his to give back now */
    bool in_handler;            /* on_request or on_writable is running */
    bool kept;                  /* the handler has returned without finishing */
    bool over; /* finished, refused or aborted: the handler must not touch it any more */
    bool head_sent;
    bool bodiless;
    bool chunked_reply;
    bool awaits_room; /* returned with output pending: on_writable is owed */
    bool awaits_turn; /* returned to let others have theirs: on_writable is owed */
    bool awaits_body; /* the handler is waiting for it */
    uint64_t room;
    uint64_t body_sent;
    int status;
    struct access_log_request log;
};

/* Take a spare one or make one; NULL without memory. It is ready for a new head. */
struct exchange *exchange_take(struct connection *connection);

/* Give it back: buffers are released. */
void exchange_give_back(struct worker *worker, struct exchange *exchange);

/* Free for good. */
void exchange_free(struct exchange *exchange);

/* The head is parsed: set up the body's reading and the answer's defaults. */
void exchange_begin(struct exchange *exchange);

/* Make the head independent of the connection's input. Returns 0 or -ENOMEM. */
int exchange_keep_head(struct exchange *exchange);

/* Keep what is parsed of a head that is not whole, at the size that it has, so that ten thousand
 * clients who never finish theirs cost little. Returns 0 or -ENOMEM. */
int exchange_keep_fields(struct exchange *exchange);

/* Go on parsing: the fields are where there is room for all. */
void exchange_resume_fields(struct exchange *exchange);

/* Make what is left of `body` independent too. Returns 0 or -errno of spool_write. */
int exchange_keep_body(struct exchange *exchange);

/* Take body bytes off `*input`. Returns 0; -enum http_refusal when the body is refused,
 * HTTP_CANNOT_STORE_BODY included. body_state becomes BODY_WHOLE at the end. `in_place`: the bytes
 * may stay where they are when all of the body is there. */
int exchange_feed_body(struct exchange *exchange, struct slice *input, bool in_place);

/* Does the body come more slowly than limits.body_rate? Bursts are fine: it is the rate since
 * waiting began, and nobody is asked before limits.body_ms. */
bool exchange_body_is_too_slow(const struct exchange *exchange);

/* Something has come about for which worker_wait may wait. */
void exchange_notify(struct exchange *exchange);

/* Waiting for the client's body begins or ends: that time counts against the client. */
void exchange_begin_body_wait(struct exchange *exchange);
void exchange_end_body_wait(struct exchange *exchange);

/* The body will not become whole: what exchange_read returns, and what the client is told. */
void exchange_fail_body(struct exchange *exchange, int error, enum http_refusal refusal);

/* The line of an answer that nobody was left to get. */
void exchange_log_abort(struct exchange *exchange, struct worker *worker);

#endif
