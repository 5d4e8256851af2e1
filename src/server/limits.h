/* Every limit and every patience of a worker, in one place, with its default. */
#ifndef ZOLAL_SERVER_LIMITS_H
#define ZOLAL_SERVER_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "http/chunked.h"
#include "http/request_head.h"

/* X(name, default, meaning): sizes in bytes unless said; 0 means what `meaning` says. */
#define LIMITS(X)                                                                                  \
    X(request_line, 8190, "bytes of a request line, without its end")                              \
    X(request_fields, 100, "field lines of a request")                                             \
    X(request_field_size, 8190, "bytes of a field line, without its end")                          \
    X(request_head, 65536, "bytes of a request head")                                              \
    X(request_body, 1073741824, "bytes of a request body; 0: no limit")                            \
    X(chunk_extensions, 4096, "bytes of chunk extensions in a body")                               \
    X(trailers, 8190, "bytes of a trailer section")                                                \
    X(body_memory, 65536, "bytes of a request body kept in memory; more goes to a temporary file") \
    X(pipeline, 32,                                                                                \
      "pipelined requests of a connection that are answered before others get their turn")         \
    X(queue, 0,                                                                                    \
      "requests that wait for a thread; one more is refused; 0: no limit, but none are accepted")  \
    X(output_pending, 65536,                                                                       \
      "bytes of replies that may wait for a client before its next request is read")               \
    X(head_ms, 30000, "milliseconds for a request head, from its first byte; 0: for ever")         \
    X(body_ms, 30000, "milliseconds between two arrivals of a request body; 0: for ever")          \
    X(body_rate, 240,                                                                              \
      "bytes a second that a request body must come to, after body_ms; 0: any rate")               \
    X(send_ms, 60000, "milliseconds in which a client must take some of a reply; 0: for ever")     \
    X(keep_alive_ms, 75000, "milliseconds that an idle connection is kept; 0: for ever")           \
    X(linger_ms, 2000, "milliseconds to wait for a client's end after a last reply")               \
    X(graceful_ms, 30000, "milliseconds that running requests get at a stop; 0: for ever")

struct limits {
#define X(name, value, meaning) uint64_t name;
    LIMITS(X)
#undef X
};

/* The defaults. */
extern const struct limits limits_default;

/* Set one by name ("keep_alive_ms"). Returns 0, -ENOENT (no such name), -ERANGE (a size that may
 * not be 0, or too large to count with). */
int limits_set(struct limits *limits, const char *name, uint64_t value);

#endif
