#include "python/wsgi/response_fields.h"

#include "http/token.h"

void wsgi_head_clear(struct wsgi_head *head)
{
    if (head->fields != head->inline_fields)
        PyMem_Free(head->fields);
    PyObject *status_text = head->status_text;
    PyObject *headers = head->headers;
    head->fields = NULL;
    head->count = 0;
    head->status = 0;
    head->facts = (struct response_fields){0};
    head->status_text = head->headers = NULL;
    Py_XDECREF(status_text); /* may run code that sets the head anew */
    Py_XDECREF(headers);
}

/* The latin-1 bytes of a native string (PEP 3333 "A Note on String Types"): they are the string's
 * own storage, no copy. */
static int wsgi_text(PyObject *object, const char *what, struct slice *text)
{
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be str, not %.100s: %R", what,
                     Py_TYPE(object)->tp_name, object);
        return -1;
    }
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(object) < 0)
        return -1;
#endif
    if (PyUnicode_KIND(object) != PyUnicode_1BYTE_KIND) {
        PyErr_Format(PyExc_ValueError, "%s has a character that is not latin-1: %R", what, object);
        return -1;
    }
    *text =
        slice_of((const char *)PyUnicode_1BYTE_DATA(object), (size_t)PyUnicode_GET_LENGTH(object));
    return 0;
}

/* "200 OK": three digits, a space and a reason, which may be empty. 1xx is no final status. */
static int wsgi_head_set_status(struct wsgi_head *head, PyObject *status)
{
    struct slice text;
    if (wsgi_text(status, "the status", &text) < 0)
        return -1;
    bool has_digits = text.len >= 3 && http_is(HTTP_DIGIT, text.data[0]) &&
                      http_is(HTTP_DIGIT, text.data[1]) && http_is(HTTP_DIGIT, text.data[2]);
    bool has_space = text.len == 3 || (text.len > 3 && text.data[3] == ' ');
    if (!has_digits || !has_space || text.data[0] < '2' || text.data[0] > '9') {
        PyErr_Format(PyExc_ValueError, "the status must be like '200 OK', not %R", status);
        return -1;
    }
    head->reason = text.len > 4 ? slice_of(text.data + 4, text.len - 4) : slice_of("", 0);
    if (!http_is_field_value(head->reason)) {
        PyErr_Format(PyExc_ValueError, "the status has a control character: %R", status);
        return -1;
    }
    head->status = (text.data[0] - '0') * 100 + (text.data[1] - '0') * 10 + (text.data[2] - '0');
    head->status_text = Py_NewRef(status);
    return 0;
}

static int wsgi_head_add(struct wsgi_head *head, PyObject *header)
{
    struct slice name, value;
    if (!PyTuple_Check(header) || PyTuple_GET_SIZE(header) != 2) {
        PyErr_Format(PyExc_TypeError, "a header must be a tuple (name, value), not %R", header);
        return -1;
    }
    if (wsgi_text(PyTuple_GET_ITEM(header, 0), "a header's name", &name) < 0 ||
        wsgi_text(PyTuple_GET_ITEM(header, 1), "a header's value", &value) < 0)
        return -1;
    enum response_field_problem problem = response_field_check(&head->facts, name, value);
    if (problem != RESPONSE_FIELD_OK) {
        PyErr_Format(PyExc_ValueError, "header %R: %s", header,
                     response_field_problem_text(problem));
        return -1;
    }
    head->fields[head->count++] = (struct http_field){name, value};
    return 0;
}

/* Take the place of `*out`. What that held is let go of last: doing so can run code that calls
 * start_response again. */
static void wsgi_head_move(struct wsgi_head *out, struct wsgi_head *head)
{
    struct wsgi_head old = {.fields = out->fields == out->inline_fields ? NULL : out->fields,
                            .status_text = out->status_text,
                            .headers = out->headers};
    out->status = head->status;
    out->reason = head->reason;
    out->facts = head->facts;
    out->count = head->count;
    out->status_text = head->status_text;
    out->headers = head->headers;
    out->fields = head->fields;
    if (head->fields == head->inline_fields) {
        memcpy(out->inline_fields, head->inline_fields, head->count * sizeof(struct http_field));
        out->fields = out->inline_fields;
    }
    wsgi_head_clear(&old);
}

/* `status` may be NULL: there is none. */
static int wsgi_head_take(struct wsgi_head *out, PyObject *status, PyObject *headers)
{
    struct wsgi_head head;
    memset(&head, 0, offsetof(struct wsgi_head, inline_fields));
    if (!PyList_Check(headers)) {
        PyErr_Format(PyExc_TypeError, "the headers must be a list, not %.100s",
                     Py_TYPE(headers)->tp_name);
        return -1;
    }
    if (status && wsgi_head_set_status(&head, status) < 0)
        goto failed;
    head.headers = PyList_AsTuple(headers); /* the application may change its list later */
    size_t count = head.headers ? (size_t)PyTuple_GET_SIZE(head.headers) : 0;
    head.fields = count <= RESPONSE_FIELDS_INLINE ? head.inline_fields
                                                  : PyMem_Malloc(count * sizeof(struct http_field));
    if (!head.headers || !head.fields) {
        if (head.headers)
            PyErr_NoMemory();
        goto failed;
    }
    for (size_t i = 0; i < count; i++)
        if (wsgi_head_add(&head, PyTuple_GET_ITEM(head.headers, (Py_ssize_t)i)) < 0)
            goto failed;
    wsgi_head_move(out, &head);
    return 0;

failed:
    wsgi_head_clear(&head);
    return -1;
}

int wsgi_head_set(struct wsgi_head *head, PyObject *status, PyObject *headers)
{
    return wsgi_head_take(head, status, headers);
}

int wsgi_head_set_hints(struct wsgi_head *head, PyObject *headers)
{
    return wsgi_head_take(head, NULL, headers);
}
