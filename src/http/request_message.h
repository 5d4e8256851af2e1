/* What the fields of a request say of the message: host, framing, persistence, expectations; RFC
 * 9112 3.2, 6, 9.3, RFC 9110 10.1.1. Inside http/ only: request_head_parse is the way in. */
#ifndef ZOLAL_HTTP_REQUEST_MESSAGE_H
#define ZOLAL_HTTP_REQUEST_MESSAGE_H

#include <stdint.h>

#include "http/request_head.h"

/* Note that field number `place` (from 1) has the name `name`. */
void request_message_note(struct request_head_progress *progress, struct slice name,
                          uint32_t place);

/* Read what was noted into `head`, whose request line and fields are whole: called then and not
 * before, so that a refusal of a single line comes first however the bytes are cut. Returns 0 or
 * -enum http_refusal. */
int request_message_read(struct request_head *head, const struct request_head_progress *progress);

#endif
