/* Status and headers as an application gives them to start_response, checked and ready to be sent.
 */
#ifndef ZOLAL_PYTHON_WSGI_RESPONSE_FIELDS_H
#define ZOLAL_PYTHON_WSGI_RESPONSE_FIELDS_H

#include "http/request_head.h"
#include "http/response_head.h"
#include "python/state.h"

#define RESPONSE_FIELDS_INLINE 16

/* `fields` point into the strings that `status_text` and `headers` (a tuple) keep alive, or into
 * `inline_fields`. All zero: none was given. */
struct wsgi_head {
    PyObject *status_text;
    PyObject *headers;
    int status;
    struct slice reason;
    struct response_fields facts;
    size_t count;
    struct http_field *fields;
    struct http_field inline_fields[RESPONSE_FIELDS_INLINE];
};

/* Take what start_response was given. Returns 0; -1 with TypeError or ValueError set, saying what
 * is wrong with which header, and nothing taken. */
int wsgi_head_set(struct wsgi_head *head, PyObject *status, PyObject *headers);

/* The same for headers alone, as wsgi.early_hints gets them. */
int wsgi_head_set_hints(struct wsgi_head *head, PyObject *headers);

/* Forget it. */
void wsgi_head_clear(struct wsgi_head *head);

#endif
