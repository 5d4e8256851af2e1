/* The access log: one line an answered request, in Apache's combined format as gunicorn writes it:
 *     127.0.0.1 - - [24/Nov/2026:10:52:43 +0000] "GET / HTTP/1.1" 200 13 "-" "curl/8.5.0"
 * Bytes that are not printable, '"' and '\' are written as \xHH, so that a line is a line. */
#ifndef ZOLAL_SERVER_ACCESS_LOG_H
#define ZOLAL_SERVER_ACCESS_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "http/request_head.h"
#include "socket/address.h"

/* Lines wait in `lines` until access_log_flush; at most 64 KiB, then they are flushed. */
struct access_log {
    int fd; /* -1: no log */
    struct buffer lines;
    int64_t second; /* the one that `date` was made for */
    char date[27];  /* "24/Nov/2026:10:52:43 +0000" */
};

/* What a request contributes, taken while its head is valid. */
struct access_log_request {
    struct buffer text; /* what stands before the status, then what stands behind the bytes */
    size_t split;       /* where the second begins */
};

void access_log_init(struct access_log *log, int fd);
void access_log_release(struct access_log *log);

/* Remember a request; without memory its line is lost, and nothing else. `head`: NULL for a request
 * that was refused before its head was whole: "-" stands for it. */
void access_log_note(struct access_log *log, struct access_log_request *request,
                     const struct request_head *head, const struct address *peer, int64_t now_s);

/* Add the line and forget the request. */
void access_log_add(struct access_log *log, struct access_log_request *request, int status,
                    uint64_t bytes);

/* Write what waits: one write(2) unless the file takes less. Lines that cannot be written are lost.
 */
void access_log_flush(struct access_log *log);

#endif
