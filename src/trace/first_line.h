/* The first line of what goes through a socket, if it is one that a person knows: HTTP's request
 * line and status line, the name of a command of Redis, the first word of a query of PostgreSQL.
 * Pure functions on bytes. */
#ifndef ZOLAL_TRACE_FIRST_LINE_H
#define ZOLAL_TRACE_FIRST_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* Room for what first_line writes. */
#define FIRST_LINE_SIZE 144

/* Look at the first bytes that a call has moved. Returns how many bytes are written to `line`: 0
 * where they begin nothing that is known. What stands there:
 *   - "GET /path HTTP/1.1", "HTTP/1.1 200 OK": RFC 9112 3 and 4, cut;
 *   - "redis GET": the name of a command (RESP), never its arguments;
 *   - "postgresql SELECT": the first word of a simple or a prepared query, or "postgresql" and what
 *     else a message is. */
size_t first_line(struct slice bytes, char line[FIRST_LINE_SIZE]);

/* Do they begin a TLS record (RFC 8446 5.1)? */
bool first_line_is_tls(struct slice bytes);

#endif
