#include "python/wsgi/header_memo.h"

#include <string.h>

/* The bytes from the first field's name to the last one's value: they lie in one piece. */
static struct slice block_of(const struct request_head *head)
{
    if (head->field_count == 0)
        return (struct slice){0};
    const char *start = head->fields[0].name.data;
    struct slice last = head->fields[head->field_count - 1].value;
    return slice_of(start, (size_t)(last.data + last.len - start));
}

/* Sixteen samples over the block, and its length: enough to choose a place; the bytes are compared.
 */
static uint64_t fingerprint_of(struct slice block)
{
    uint64_t hash = block.len * 0x9E3779B97F4A7C15u;
    size_t step = block.len / 16 > 8 ? block.len / 16 : 8;
    for (size_t at = 0; at + 8 <= block.len; at += step) {
        uint64_t sample;
        memcpy(&sample, block.data + at, 8);
        hash = (hash ^ sample) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash;
}

static void entry_clear(struct header_memo_entry *entry)
{
    PyMem_Free(entry->bytes);
    entry->bytes = NULL;
    Py_CLEAR(entry->environ);
}

PyObject *header_memo_find(struct header_memo *memo, unsigned listener,
                           const struct request_head *head, struct header_memo_entry **out)
{
    struct slice block = block_of(head);
    *out = NULL;
    if (block.len == 0 || block.len > HEADER_MEMO_MAX)
        return NULL;
    uint64_t fingerprint = fingerprint_of(block);
    struct header_memo_entry *entry = &memo->entries[fingerprint & (HEADER_MEMO_ENTRIES - 1)];
    *out = entry;
    if (entry->fingerprint != fingerprint || entry->listener != listener) {
        entry_clear(entry);
        entry->fingerprint = fingerprint;
        entry->listener = listener;
        *out = NULL; /* seen for the first time */
        return NULL;
    }
    bool same = entry->environ && entry->len == block.len &&
                memcmp(entry->bytes, block.data, block.len) == 0;
    return same ? entry->environ : NULL;
}

void header_memo_keep(struct header_memo_entry *entry, unsigned listener,
                      const struct request_head *head, PyObject *environ)
{
    struct slice block = block_of(head);
    if (!entry || entry->listener != listener)
        return;
    entry_clear(entry);
    entry->bytes = PyMem_Malloc(block.len);
    entry->environ = entry->bytes ? PyDict_Copy(environ) : NULL;
    if (!entry->environ) {
        PyErr_Clear(); /* no memory: it is made anew each time */
        entry_clear(entry);
        return;
    }
    memcpy(entry->bytes, block.data, block.len);
    entry->len = block.len;
}

int header_memo_traverse(struct header_memo *memo, visitproc visit, void *arg)
{
    for (unsigned i = 0; i < HEADER_MEMO_ENTRIES; i++)
        Py_VISIT(memo->entries[i].environ);
    return 0;
}

void header_memo_clear(struct header_memo *memo)
{
    for (unsigned i = 0; i < HEADER_MEMO_ENTRIES; i++)
        entry_clear(&memo->entries[i]);
}
