/* The access log: one line an answered request, in Apache's combined format as gunicorn writes it:
 *     127.0.0.1 - - [24/Nov/2026:10:52:43 +0000] "GET / HTTP/1.1" 200 13 "-" "curl/8.5.0"
 * Bytes that are not printable, '"' and '\' are written as \xHH, so that a line is a line.
 *
 * And the same told to an embedder, as `struct answer`: one that has log lines of its own. */
#ifndef ZOLAL_SERVER_ACCESS_LOG_H
#define ZOLAL_SERVER_ACCESS_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "http/refusal.h"
#include "http/request_head.h"
#include "socket/address.h"

/* What an answer was. `request_line`: as it came, without its end, cut at 8 KiB; of a request that
 * was refused before its head was whole, what there was of it. */
struct answer {
    struct address peer;
    int status;
    uint64_t bytes;            /* of the body, that were sent */
    enum http_refusal refusal; /* HTTP_ACCEPTED: it is not the server's own */
    struct slice request_line;
};

/* Lines wait in `lines` until access_log_flush; at most 64 KiB, then they are flushed. Answers wait
 * in `answers`, up to 1 MiB: what is beyond is lost. */
struct access_log {
    int fd;                                                        /* -1: no lines */
    void (*on_answer)(void *context, const struct answer *answer); /* NULL: tell nobody */
    void *context;
    struct buffer lines;
    struct buffer answers; /* struct answer, then its request line */
    int64_t second;        /* the one that `date` was made for */
    char date[27];         /* "24/Nov/2026:10:52:43 +0000" */
};

/* What a request contributes, taken while its head is valid. */
struct access_log_request {
    struct buffer text;   /* what stands before the status, then what stands behind the bytes */
    size_t split;         /* where the second begins */
    struct buffer answer; /* struct answer, then its request line */
};

/* `fd`: -1, no lines; `on_answer` NULL: tell nobody. */
void access_log_init(struct access_log *log, int fd,
                     void (*on_answer)(void *context, const struct answer *answer), void *context);

/* What waits is written, or (after access_log_drop) is not. */
void access_log_release(struct access_log *log);

/* In a forked child: what waits is the parent's to write and to tell. */
void access_log_drop(struct access_log *log);

/* Does anybody want to know? */
static inline bool access_log_is_on(const struct access_log *log)
{
    return log->fd >= 0 || log->on_answer;
}

/* Remember a request; without memory its line is lost, and nothing else. `head`: NULL for a request
 * that was refused before its head was whole: "-" stands for it in a line, `input` for an embedder.
 */
void access_log_note(struct access_log *log, struct access_log_request *request,
                     const struct request_head *head, struct slice input,
                     const struct address *peer, int64_t now_s);

/* Add the line and forget the request. `refusal`: HTTP_ACCEPTED, or by what it was answered. */
void access_log_add(struct access_log *log, struct access_log_request *request, int status,
                    uint64_t bytes, enum http_refusal refusal);

/* Forget it. */
void access_log_forget(struct access_log_request *request);

/* Write what waits: one write(2) unless the file takes less. Lines that cannot be written are lost.
 * Tell of the answers; who is told may let go of the worker's lock, so this is for where others may
 * go on. */
void access_log_flush(struct access_log *log);

#endif
