/* An exchange: one request and its answer. What answers requests (the handler: WSGI, a C program)
 * sees exchanges and nothing below them. No function here blocks; -EAGAIN says that something would
 * have to be waited for, worker_wait() is how a handler waits that cannot come back later.
 *
 * A handler answers so:
 *     exchange_send_head() once, exchange_send() or exchange_send_file() any number of times,
 *     exchange_finish().
 * or it gives up with exchange_refuse() (before the head) or exchange_abort(). After finish, refuse
 * or abort the exchange is gone for the handler. */
#ifndef ZOLAL_SERVER_EXCHANGE_H
#define ZOLAL_SERVER_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"
#include "http/refusal.h"
#include "http/request_head.h"
#include "http/response_head.h"
#include "socket/address.h"

struct connection;
struct exchange;
struct worker;

/* What answers requests. `context` is passed to each call. */
struct handler {
    /* A request is here: its body is whole, or its client waits for 100 (Continue). May answer now,
     * or keep the exchange and answer in on_writable. exchange_head() is valid until this returns
     * or waits. */
    void (*on_request)(void *context, struct exchange *exchange);
    /* An exchange that was kept may go on: the kernel has taken all that was queued. */
    void (*on_writable)(void *context, struct exchange *exchange);
    /* An exchange that was kept is over before its answer was: the client left, a limit passed or
     * the worker ends. The exchange is gone when this returns. Not called inside on_request or
     * on_writable: there, calls on the exchange fail with -EPIPE instead. */
    void (*on_abort)(void *context, struct exchange *exchange);
    void *context;
};

/* Who owns bytes that were lent: `release(object)` is called once, when they are not needed any
 * more. */
struct lender {
    void (*release)(void *object);
    void *object;
};

/* The request's head. Valid during on_request until something waits. */
const struct request_head *exchange_head(const struct exchange *exchange);

/* The handler's own pointer; NULL at first. */
void *exchange_user(const struct exchange *exchange);
void exchange_set_user(struct exchange *exchange, void *user);

/* Where the request came from and which listener (0.., in the order of worker_listen) took it. */
const struct address *exchange_peer(const struct exchange *exchange);
unsigned exchange_listener(const struct exchange *exchange);

/* Bytes of the request's body that are not read yet, as far as they are known: Content-Length or
 * what a whole chunked body came to; UINT64_MAX for a chunked body that is still arriving. */
uint64_t exchange_body_left(const struct exchange *exchange);

/* Read at most `len` bytes of the body. Returns > 0; 0 at its end; -EAGAIN when nothing is here yet
 * (the first such read asks the client for it with 100 (Continue)); -EPIPE when the client left
 * before its end; -ETIMEDOUT when it stopped sending; -EBADMSG when its framing is broken or it is
 * too large; -EIO when the temporary file cannot be read. An error stays. */
ssize_t exchange_read(struct exchange *exchange, void *data, size_t len);

/* The trailer section of a chunked body that has arrived to its end, as trailer_next takes it; else
 * empty. Valid until the exchange is over. */
struct slice exchange_trailers(const struct exchange *exchange);

/* Is on_request or on_writable running for it? Only then may anybody wait for its client. */
bool exchange_in_handler(const struct exchange *exchange);

/* When the body has failed (exchange_read): what to refuse the request with, where the handler
 * cannot go on without it; else HTTP_ACCEPTED. */
enum http_refusal exchange_body_refusal(const struct exchange *exchange);

/* The handler returns with more to send, so that other connections get their turn: on_writable is
 * called in the next one. */
void exchange_yield(struct exchange *exchange);

/* Has the client left (or the server given up on it)? Then calls fail with -EPIPE. */
bool exchange_is_orphan(const struct exchange *exchange);

/* Queue the head. `status`: 200 to 599; `reason`: a field value; `fields`: each checked by
 * response_field_check into `facts`. `length`: the body's length where the handler knows it and no
 * Content-Length is among the fields, else -1. Adds Date, Server, Connection, Content-Length and
 * Transfer-Encoding as needed. Returns 0; -EPIPE: the client is gone; -ENOMEM. */
int exchange_send_head(struct exchange *exchange, int status, struct slice reason,
                       const struct http_field *fields, size_t count,
                       const struct response_fields *facts, int64_t length);

/* Send 103 (Early Hints) with these checked fields at once: RFC 8297. Nothing happens after the
 * head, and for an HTTP/1.0 client, which knows no interim answers. Returns 0, -EPIPE, -ENOMEM. */
int exchange_send_early_hints(struct exchange *exchange, const struct http_field *fields,
                              size_t count);

/* Has exchange_send_head been called? */
bool exchange_head_sent(const struct exchange *exchange);

/* Bytes that the body may still have: what Content-Length leaves, UINT64_MAX without one. */
uint64_t exchange_room(const struct exchange *exchange);

/* Does the answer carry no content (HEAD, 204, 304)? Then sends take bytes and drop them. */
bool exchange_is_bodiless(const struct exchange *exchange);

enum exchange_sent { EXCHANGE_COPIED = 0, EXCHANGE_KEPT = 1 };

/* Queue bytes of the body: at most exchange_room(), else -EMSGSIZE and nothing is queued. Returns
 * EXCHANGE_COPIED, or EXCHANGE_KEPT: then `lender` is released later, and the caller must have made
 * that good (taken its reference) before anything is flushed. -EPIPE, -ENOMEM as above. */
int exchange_send(struct exchange *exchange, struct slice data, struct lender lender);

/* Queue `len` bytes (at most exchange_room()) of a file from `offset`. Returns EXCHANGE_KEPT, or
 * EXCHANGE_COPIED when nothing is to be sent. A file that ends early ends the connection. */
int exchange_send_file(struct exchange *exchange, int fd, off_t offset, uint64_t len,
                       struct lender lender);

/* Give the kernel what it takes now. Returns 0, also when something is left; -EPIPE. */
int exchange_flush(struct exchange *exchange);

/* Let the files that are queued stay open whatever happens to the descriptors given. Returns 0,
 * -EPIPE, -errno (EMFILE). */
int exchange_own_files(struct exchange *exchange);

/* Let what is queued leave with the other replies of this turn, or now, where nobody else could see
 * to that while the handler goes on. Returns 0, also when something is left; -EPIPE. */
int exchange_flush_soon(struct exchange *exchange);

/* Bytes queued that the kernel has not taken. While there are some, a handler keeps the exchange
 * and goes on in on_writable, or waits by worker_wait: so a slow client holds one piece of a reply,
 * not all of it. */
size_t exchange_pending(const struct exchange *exchange);

/* The answer is complete. A body shorter than its Content-Length ends the connection. */
void exchange_finish(struct exchange *exchange);

/* Answer with a refusal (500, say) and close. Only before the head. */
void exchange_refuse(struct exchange *exchange, enum http_refusal refusal);

/* Give up after the head: what is queued is sent, then the connection is closed such that the
 * client can tell that the answer is not whole. */
void exchange_abort(struct exchange *exchange);

#endif
