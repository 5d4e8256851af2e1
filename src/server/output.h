/* What a connection has to send: parts in their order, bytes of our own, bytes that were lent, and
 * ranges of files. Consecutive small pieces are copied into one part, so that a head and a small
 * body leave in one call. */
#ifndef ZOLAL_SERVER_OUTPUT_H
#define ZOLAL_SERVER_OUTPUT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/list.h"
#include "base/slice.h"
#include "server/exchange.h"
#include "socket/stream.h"

/* Pieces up to this size are copied: cheaper than one more part of a sendmsg(2). Bytes. */
#define OUTPUT_COPY_MAX 4096

enum part_kind { PART_COPIED, PART_LENT, PART_FILE };

/* PART_COPIED: the next `len` bytes of output.bytes; PART_LENT: `data`; PART_FILE: `fd` from
 * `offset`. */
struct part {
    enum part_kind kind;
    int fd;
    uint64_t len;
    union {
        const char *data;
        off_t offset;
    };
    struct lender lender;
};

/* `pending`: bytes in all parts. `node`: of a list of spare outputs. */
struct output {
    struct list node;
    struct buffer bytes;
    struct part *parts;
    size_t first;
    size_t end;
    size_t capacity;
    uint64_t pending;
};

/* An empty output, or NULL. */
struct output *output_new(void);

/* Free it; what was lent is released. */
void output_free(struct output *output);

/* Forget what is pending; what was lent is released. Memory is kept for the next use. */
void output_clear(struct output *output);

/* Room for `len` bytes to be written by the caller at the returned address, then counted by
 * output_commit; NULL when there is no memory. */
char *output_reserve(struct output *output, size_t len);
int output_commit(struct output *output, size_t len);

/* Copy bytes. Returns 0 or -ENOMEM, then nothing was added. */
int output_copy(struct output *output, struct slice data);

/* Add lent bytes (not empty), or a range of a file. Returns 0 or -ENOMEM. */
int output_lend(struct output *output, struct slice data, struct lender lender);
int output_file(struct output *output, int fd, off_t offset, uint64_t len, struct lender lender);

/* Let the files that are pending stay open whatever their owners do: their descriptors are
 * duplicated. Returns 0 or -errno (EMFILE): then some are still the owners'. */
int output_own_files(struct output *output);

/* Send until nothing is pending or the stream takes no more. `ends`: the stream is ended at once
 * when all is sent. Returns the bytes sent (maybe 0), or -errno of the stream; -EIO when a file
 * ended before its range did. */
ssize_t output_send(struct output *output, struct stream *stream, bool ends);

#endif
