#include "python/wsgi/header_memo.h"

/* Where the same block's environs of the first few listeners do not displace each other. */
static struct header_memo_entry *header_memo_place(struct header_memo *memo, unsigned listener,
                                                   const struct request_head *head)
{
    return &memo->entries[field_memo_place(head->block + listener)];
}

struct header_memo_entry *header_memo_find(struct header_memo *memo, unsigned listener,
                                           const struct request_head *head)
{
    struct header_memo_entry *entry = header_memo_place(memo, listener, head);
    bool known = head->block != 0 && entry->block == head->block && entry->listener == listener;
    return known ? entry : NULL;
}

void header_memo_keep(struct header_memo *memo, unsigned listener, const struct request_head *head,
                      PyObject *environ)
{
    struct header_memo_entry *entry = header_memo_place(memo, listener, head);
    if (head->block == 0)
        return;
    PyObject *copy = PyDict_Copy(environ);
    if (!copy)
        PyErr_Clear(); /* no memory: it is made anew each time */
    /* Letting go of the old one can run anybody's code. */
    PyObject *old = entry->environ;
    *entry = (struct header_memo_entry){
        .block = copy ? head->block : 0, .listener = listener, .environ = copy};
    Py_XDECREF(old);
}

int header_memo_traverse(struct header_memo *memo, visitproc visit, void *arg)
{
    for (unsigned i = 0; i < FIELD_MEMO_ENTRIES; i++)
        Py_VISIT(memo->entries[i].environ);
    return 0;
}

void header_memo_clear(struct header_memo *memo)
{
    for (unsigned i = 0; i < FIELD_MEMO_ENTRIES; i++) {
        memo->entries[i].block = 0;
        Py_CLEAR(memo->entries[i].environ);
    }
}
