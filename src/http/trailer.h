/* The trailer fields of a chunked message, RFC 9110 6.5 and RFC 9112 7.1.2. */
#ifndef ZOLAL_HTTP_TRAILER_H
#define ZOLAL_HTTP_TRAILER_H

#include <stdbool.h>

#include "base/slice.h"
#include "http/request_head.h"

/* The next field of a whole trailer section, as chunked_decode hands it out, taken off the front of
 * `*section`. Fields that mean something before the content only (framing, routing, authentication,
 * what the content is) are passed over: nobody can take them for the head's. False at the end. */
bool trailer_next(struct slice *section, struct http_field *field);

#endif
