/* Parts of a request target: percent-encoding and authority, RFC 3986 2.1 and 3.2. */
#ifndef ZOLAL_HTTP_TARGET_H
#define ZOLAL_HTTP_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

/* Decode `path` once into `out` (room: path.len); a '%' not followed by two hexadecimal digits
 * stays as it is (the head parser has refused or allowed it before). Returns the length written. */
size_t percent_decode(char *out, struct slice path);

/* Is it host [":" port], what Host holds (RFC 9110 7.2): a reg-name, an IPv4 address, or an IPv6 or
 * future address in brackets; no user information. A host that is empty is none: RFC 9110 4.2.1. */
bool authority_is_valid(struct slice authority);

#endif
