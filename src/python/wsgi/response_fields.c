#include "python/wsgi/response_fields.h"

#include "http/token.h"

/* All but the room for fields. */
static void wsgi_head_reset(struct wsgi_head *head)
{
    memset(head, 0, offsetof(struct wsgi_head, inline_fields));
}

void wsgi_head_clear(struct wsgi_head *head)
{
    size_t count = head->count;
    PyObject *status_text = head->status_text;
    struct http_field *fields = head->fields;
    PyObject **headers = head->headers;
    PyObject *kept[RESPONSE_FIELDS_INLINE];
    if (headers == head->inline_headers)
        headers = memcpy(kept, headers, count * sizeof(*headers));
    wsgi_head_reset(head);
    /* Letting go of something may run code that sets the head anew. */
    Py_XDECREF(status_text);
    for (size_t i = 0; i < count; i++)
        Py_DECREF(headers[i]);
    if (headers != kept)
        PyMem_Free(headers);
    if (fields != head->inline_fields)
        PyMem_Free(fields);
}

int wsgi_head_traverse(const struct wsgi_head *head, visitproc visit, void *arg)
{
    for (size_t i = 0; i < head->count; i++)
        Py_VISIT(head->headers[i]);
    return 0;
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

void checked_fields_clear(struct checked_fields *checked)
{
    for (unsigned i = 0; i < CHECKED_FIELDS; i++) {
        Py_CLEAR(checked->entries[i].name);
        Py_CLEAR(checked->entries[i].value);
    }
}

static struct checked_field *checked_field_slot(struct checked_fields *checked, PyObject *value)
{
    uintptr_t address = (uintptr_t)value;
    return &checked->entries[(address >> 4 ^ address >> 9) & (CHECKED_FIELDS - 1)];
}

/* Only exact strings: letting go of one runs no code. */
static void checked_field_keep(struct checked_field *slot, const struct checked_field *fresh)
{
    if (!PyUnicode_CheckExact(fresh->name) || !PyUnicode_CheckExact(fresh->value) ||
        fresh->field.name.len + fresh->field.value.len > CHECKED_FIELD_MAX)
        return;
    Py_XDECREF(slot->name);
    Py_XDECREF(slot->value);
    *slot = *fresh;
    Py_INCREF(slot->name);
    Py_INCREF(slot->value);
}

/* What is wrong, as an exception; 0: nothing. */
static int wsgi_field_raise(PyObject *header, enum response_field_problem problem)
{
    if (problem == RESPONSE_FIELD_OK)
        return 0;
    PyErr_Format(PyExc_ValueError, "header %R: %s", header, response_field_problem_text(problem));
    return -1;
}

/* Check a field for the first time. */
static int checked_field_make(struct checked_field *fresh, PyObject *header)
{
    if (wsgi_text(fresh->name, "a header's name", &fresh->field.name) < 0 ||
        wsgi_text(fresh->value, "a header's value", &fresh->field.value) < 0)
        return -1;
    return wsgi_field_raise(
        header, response_field_check(&fresh->facts, fresh->field.name, fresh->field.value));
}

/* Add a header, whose reference is taken over when nothing is wrong with it. */
static int wsgi_head_add(struct wsgi_head *head, struct checked_fields *checked, PyObject *header)
{
    if (!PyTuple_Check(header) || PyTuple_GET_SIZE(header) != 2) {
        PyErr_Format(PyExc_TypeError, "a header must be a tuple (name, value), not %R", header);
        return -1;
    }
    struct checked_field fresh = {.name = PyTuple_GET_ITEM(header, 0),
                                  .value = PyTuple_GET_ITEM(header, 1)};
    struct checked_field *known = checked_field_slot(checked, fresh.value);
    if (known->name != fresh.name || known->value != fresh.value) {
        if (checked_field_make(&fresh, header) < 0)
            return -1;
        checked_field_keep(known, &fresh);
        known = &fresh;
    }
    if (wsgi_field_raise(header, response_fields_add(&head->facts, &known->facts)) < 0)
        return -1;
    head->headers[head->count] = header;
    head->fields[head->count++] = known->field;
    return 0;
}

/* Room for so many fields. */
static int wsgi_head_make_room(struct wsgi_head *head, size_t count)
{
    head->fields = head->inline_fields;
    head->headers = head->inline_headers;
    if (count <= RESPONSE_FIELDS_INLINE)
        return 0;
    head->fields = PyMem_Malloc(count * sizeof(*head->fields));
    head->headers = PyMem_Malloc(count * sizeof(*head->headers));
    if (head->fields && head->headers)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static void wsgi_head_copy(struct wsgi_head *to, const struct wsgi_head *from)
{
    memcpy(to, from, sizeof(*to));
    if (from->fields == from->inline_fields)
        to->fields = to->inline_fields;
    if (from->headers == from->inline_headers)
        to->headers = to->inline_headers;
}

/* Fill an empty head. */
static int wsgi_head_fill(struct wsgi_head *head, struct checked_fields *checked, PyObject *status,
                          PyObject *headers)
{
    if (!PyList_Check(headers)) {
        PyErr_Format(PyExc_TypeError, "the headers must be a list, not %.100s",
                     Py_TYPE(headers)->tp_name);
        return -1;
    }
    size_t count = (size_t)PyList_GET_SIZE(headers);
    if ((status && wsgi_head_set_status(head, status) < 0) || wsgi_head_make_room(head, count) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        /* The application may change its list later, and where an error message calls __repr__. */
        PyObject *header = Py_NewRef(PyList_GET_ITEM(headers, (Py_ssize_t)i));
        if (wsgi_head_add(head, checked, header) < 0) {
            Py_DECREF(header);
            return -1;
        }
    }
    return 0;
}

/* A second call, with exc_info: what was there before stays when it fails. */
static int wsgi_head_replace(struct wsgi_head *head, struct checked_fields *checked,
                             PyObject *status, PyObject *headers)
{
    struct wsgi_head old = {0}, fresh = {0};
    if (wsgi_head_fill(&fresh, checked, status, headers) < 0) {
        wsgi_head_clear(&fresh);
        return -1;
    }
    wsgi_head_copy(&old, head);
    wsgi_head_copy(head, &fresh);
    wsgi_head_clear(&old);
    return 0;
}

int wsgi_head_set(struct wsgi_head *head, struct checked_fields *checked, PyObject *status,
                  PyObject *headers)
{
    if (head->status_text || head->headers)
        return wsgi_head_replace(head, checked, status, headers);
    if (wsgi_head_fill(head, checked, status, headers) == 0)
        return 0;
    wsgi_head_clear(head);
    return -1;
}
