/* Status and headers as an application gives them to start_response, checked and ready to be sent.
 */
#ifndef ZOLAL_PYTHON_WSGI_RESPONSE_FIELDS_H
#define ZOLAL_PYTHON_WSGI_RESPONSE_FIELDS_H

#include "http/request_head.h"
#include "http/response_head.h"
#include "python/state.h"

#define RESPONSE_FIELDS_INLINE 16

/* Fields that were found right before, known by their very strings, which are immutable:
 * applications give the same constants again and again. A table of a fixed size. */
#define CHECKED_FIELDS    32  /* a power of two */
#define CHECKED_FIELD_MAX 256 /* bytes of a name and value that are kept alive for it */

struct checked_field {
    PyObject *name; /* NULL: none is here */
    PyObject *value;
    struct http_field field;
    struct response_fields facts;
};

struct checked_fields {
    struct checked_field entries[CHECKED_FIELDS];
};

void checked_fields_clear(struct checked_fields *checked);

/* `fields` point into the strings that `status_text` and `headers` (`count` tuples) keep alive.
 * Both lie in `inline_...` where these are large enough. All zero: none was given. */
struct wsgi_head {
    PyObject *status_text;
    int status;
    struct slice reason;
    struct response_fields facts;
    size_t count;
    struct http_field *fields;
    PyObject **headers;
    struct http_field inline_fields[RESPONSE_FIELDS_INLINE];
    PyObject *inline_headers[RESPONSE_FIELDS_INLINE];
};

/* Take what start_response was given. Returns 0; -1 with TypeError or ValueError set, saying what
 * is wrong with which header, and nothing taken. `status`: NULL for headers alone, as
 * wsgi.early_hints gets them. */
int wsgi_head_set(struct wsgi_head *head, struct checked_fields *checked, PyObject *status,
                  PyObject *headers);

/* Forget it. */
void wsgi_head_clear(struct wsgi_head *head);

int wsgi_head_traverse(const struct wsgi_head *head, visitproc visit, void *arg);

#endif
