/* The head of a response: checks what an application wants to send and writes it. RFC 9112 4, 5. */
#ifndef ZOLAL_HTTP_RESPONSE_HEAD_H
#define ZOLAL_HTTP_RESPONSE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* What is wrong with a field of an application; `response_field_problem_text` says it in words. */
enum response_field_problem {
    RESPONSE_FIELD_OK = 0,
    RESPONSE_FIELD_BAD_NAME,     /* not a token, RFC 9110 5.1 */
    RESPONSE_FIELD_BAD_VALUE,    /* a control character, RFC 9110 5.5 */
    RESPONSE_FIELD_HOP_BY_HOP,   /* PEP 3333 "Other HTTP Features" */
    RESPONSE_FIELD_BAD_LENGTH,   /* Content-Length is not a number of at most 2^63-1 */
    RESPONSE_FIELD_SECOND_LENGTH /* Content-Length twice */
};

const char *response_field_problem_text(enum response_field_problem problem);

/* What the fields of a response say about it; all zero before the first field. */
struct response_fields {
    bool has_content_length;
    bool has_date;
    bool has_server;
    uint64_t content_length;
};

/* Check one field and note what it says. */
enum response_field_problem response_field_check(struct response_fields *fields, struct slice name,
                                                 struct slice value);

/* Add what one field says, which was checked before: RESPONSE_FIELD_OK, or
 * RESPONSE_FIELD_SECOND_LENGTH. */
enum response_field_problem response_fields_add(struct response_fields *fields,
                                                const struct response_fields *one);

/* Does this status never have content (1xx, 204, 304: RFC 9110 6.4.1)? */
bool http_status_has_no_content(int status);

/* The standard reason phrase (RFC 9110 15), "Unknown" for others. */
const char *http_status_reason(int status);

/* "HTTP/1.1 200 OK\r\n" for `reason` as given (checked by the caller to be a field value; may be
 * empty). Room needed: HTTP_STATUS_LINE_SIZE + reason.len. Returns the length written. */
#define HTTP_STATUS_LINE_SIZE 16
size_t status_line_write(char *out, int status, struct slice reason);

/* "Name: value\r\n"; room needed: name.len + value.len + FIELD_LINE_EXTRA. Returns the length
 * written. */
#define FIELD_LINE_EXTRA 4
size_t field_line_write(char *out, struct slice name, struct slice value);

/* A number in decimal digits; room: HTTP_DECIMAL_SIZE. Returns the length written. */
#define HTTP_DECIMAL_SIZE 20
size_t http_decimal_write(char *out, uint64_t number);

#endif
