#include "http/field_memo.h"

#include <stdbool.h>
#include <string.h>

#include "base/memory.h"
#include "http/request_head.h"

/* The slices of `head` point into `bytes`, which lie behind its fields, which are here. */
struct field_memo_entry {
    struct request_head head;
    size_t len;
    char *bytes;
    struct http_field fields[];
};

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

/* The highest bits: a product's depend on all of its factors' bits. */
static size_t place_of(uint64_t fingerprint)
{
    return (fingerprint >> 32) * FIELD_MEMO_ENTRIES >> 32;
}

static bool begins_with(struct slice bytes, const struct field_memo_entry *entry)
{
    return entry && bytes.len >= entry->len && memcmp(bytes.data, entry->bytes, entry->len) == 0;
}

/* The entry whose block is the whole of `bytes`: nothing of a body or of another request follows.
 * One that is only the beginning of them, and has their place, will do as well. */
static struct field_memo_entry *find_whole(const struct field_memo *memo, struct slice bytes)
{
    if (bytes.len < 4 || bytes.len > FIELD_MEMO_MAX ||
        memcmp(bytes.data + bytes.len - 4, "\r\n\r\n", 4) != 0)
        return NULL;
    struct field_memo_entry *entry = memo->entries[place_of(fingerprint_of(bytes))];
    return begins_with(bytes, entry) ? entry : NULL;
}

/* What the fields of `from` say; its slices point into bytes at `old`, the new ones to `bytes`. */
static void copy_fields(struct request_head *to, const struct request_head *from, const char *old,
                        const char *bytes)
{
    ptrdiff_t shift = (ptrdiff_t)((uintptr_t)bytes - (uintptr_t)old);
    for (size_t i = 0; i < from->field_count; i++) {
        struct slice name = from->fields[i].name, value = from->fields[i].value;
        to->fields[i].name = slice_of(name.data + shift, name.len);
        to->fields[i].value = slice_of(value.data + shift, value.len);
    }
    to->field_count = from->field_count;
    to->host = slice_of(from->host.data + shift, from->host.len);
    to->framing = from->framing;
    to->content_length = from->content_length;
    to->has_content_length = from->has_content_length;
    to->keep_alive = from->keep_alive;
    to->expect_continue = from->expect_continue;
    to->block = from->block;
}

size_t field_memo_find(struct field_memo *memo, struct slice bytes, struct request_head *head)
{
    struct field_memo_entry *entry = memo->last;
    if (!begins_with(bytes, entry)) {
        entry = find_whole(memo, bytes);
        if (!entry)
            return 0;
        memo->last = entry;
    }
    copy_fields(head, &entry->head, entry->bytes, bytes.data);
    return entry->len;
}

static struct field_memo_entry *entry_new(struct slice block, const struct request_head *head)
{
    size_t fields_size = head->field_count * sizeof(struct http_field);
    struct field_memo_entry *entry = memory_new_array(sizeof(*entry) + fields_size + block.len, 1);
    if (!entry)
        return NULL;
    entry->len = block.len;
    entry->bytes = (char *)entry->fields + fields_size;
    memcpy(entry->bytes, block.data, block.len);
    entry->head = (struct request_head){.fields = entry->fields};
    copy_fields(&entry->head, head, block.data, entry->bytes);
    return entry;
}

/* Its place in the table is the lowest bits of an entry's number. */
static uint64_t number_of(struct field_memo *memo, size_t place)
{
    return ++memo->written * FIELD_MEMO_ENTRIES + place;
}

void field_memo_keep(struct field_memo *memo, struct slice block, struct request_head *head)
{
    if (block.len > FIELD_MEMO_MAX)
        return;
    uint64_t fingerprint = fingerprint_of(block);
    size_t place = place_of(fingerprint);
    struct field_memo_entry *entry = memo->entries[place];
    if (begins_with(block, entry)) { /* other bytes behind it kept it from being found */
        memo->last = entry;
        head->block = entry->head.block;
        return;
    }
    bool again = memo->seen[place] == fingerprint;
    memo->seen[place] = fingerprint;
    struct field_memo_entry *made = again ? entry_new(block, head) : NULL;
    if (!made)
        return;
    head->block = made->head.block = number_of(memo, place);
    memo->last = memo->entries[place] = made;
    memory_free(entry);
}

void field_memo_release(struct field_memo *memo)
{
    for (size_t i = 0; i < FIELD_MEMO_ENTRIES; i++)
        memory_free(memo->entries[i]);
    *memo = (struct field_memo){0};
}
