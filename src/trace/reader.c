#include "trace/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "trace/recording_state.h"

#define READER_NAMES_MAX  (16u << 20)
#define READER_CHUNKS_MAX 65536
#define LEFT_MOST         8

/* How far a chunk was read: `order` is the taking that was last seen, `slot` the next slot of it,
 * `thread` who writes there.
 */
struct reader_chunk {
    uint64_t order;
    uint32_t slot;
    uint32_t thread;
};

/* An event that was read and waits to be handed out, with its place among those of its thread. */
struct reader_item {
    struct trace_event event;
    uint64_t order;
    uint32_t slot;
    uint32_t thread;
    uint32_t args; /* where they are in reader->args */
    uint32_t args_len;
};

/* Bytes are copied out by pread(2): a file that is cut under us is an error then, not a SIGBUS. */
struct reader {
    int fd;
    uint64_t offset; /* of the recording in the file */
    struct recording_header header;
    struct reader_chunk *chunks;
    char *bytes_before; /* one chunk, see slot_at */
    char *bytes;
    char *names;
    uint32_t names_len;
    struct reader_item *items;
    size_t item_count;
    size_t item_next;
    size_t item_capacity;
    unsigned char *args; /* of the items */
    size_t args_len;
    size_t args_capacity;
};

static bool header_is_sane(const struct recording_header *header, uint64_t file_size)
{
    uint64_t end =
        (uint64_t)header->chunks_offset + (uint64_t)header->chunks * (uint64_t)header->chunk_size;
    return header->chunk_size == RECORDING_CHUNK_SIZE && header->chunks > 0 &&
           header->chunks <= READER_CHUNKS_MAX && header->names_size <= READER_NAMES_MAX &&
           (uint64_t)header->names_offset + header->names_size <= file_size && end <= file_size;
}

static bool read_exactly(const struct reader *reader, void *data, size_t len, uint64_t offset)
{
    return pread(reader->fd, data, len, (off_t)(reader->offset + offset)) == (ssize_t)len;
}

/* Read the header again: its state, its counts. */
static bool reader_read_header(struct reader *reader, struct recording_header *header)
{
    return read_exactly(reader, header, sizeof(*header), 0);
}

static int reader_check(struct reader *reader, const char *path, struct error *err)
{
    struct stat status;
    if (fstat(reader->fd, &status) < 0)
        return error_set(err, errno, "read", path);
    if (!S_ISREG(status.st_mode) || reader->offset > (uint64_t)status.st_size ||
        !reader_read_header(reader, &reader->header) ||
        memcmp(reader->header.magic, RECORDING_MAGIC, sizeof(reader->header.magic)) != 0)
        return error_format(err, EINVAL, "%s is not a recording", path);
    if (reader->header.version != TRACE_VERSION)
        return error_format(err, EPROTO,
                            "%s is a recording of version %u, this is version %d: read "
                            "it with the zolal that wrote it",
                            path, reader->header.version, TRACE_VERSION);
    if (!header_is_sane(&reader->header, (uint64_t)status.st_size - reader->offset))
        return error_format(err, EINVAL, "%s is damaged or cut short", path);
    return 0;
}

int reader_open(struct reader **out, const char *path, uint64_t offset, struct error *err)
{
    struct reader *reader = memory_new(sizeof(*reader));
    if (!reader)
        return error_set(err, ENOMEM, "read", path);
    reader->offset = offset;
    reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int result = reader->fd < 0 ? error_set(err, errno, "open", path) : 0;
    if (result == 0)
        result = reader_check(reader, path, err);
    if (result == 0) {
        reader->chunks = memory_new((reader->header.chunks + 1) * sizeof(*reader->chunks));
        reader->bytes_before = memory_new(RECORDING_CHUNK_SIZE);
        reader->bytes = memory_new(RECORDING_CHUNK_SIZE);
        reader->names = memory_new(reader->header.names_size + 1);
        if (!reader->chunks || !reader->bytes_before || !reader->bytes || !reader->names)
            result = error_set(err, ENOMEM, "read", path);
    }
    if (result < 0) {
        reader_close(reader);
        return result;
    }
    *out = reader;
    return 0;
}

void reader_close(struct reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    memory_free(reader->chunks);
    memory_free(reader->bytes_before);
    memory_free(reader->bytes);
    memory_free(reader->names);
    memory_free(reader->items);
    memory_free(reader->args);
    memory_free(reader);
}

const struct recording_header *reader_header(const struct reader *reader)
{
    return &reader->header;
}

/* Room for one more item, zeroed; NULL without memory. */
static struct reader_item *reader_add(struct reader *reader)
{
    if (reader->item_count == reader->item_capacity) {
        size_t capacity = reader->item_capacity ? reader->item_capacity * 2 : 1024;
        struct reader_item *items =
            memory_resize_array(reader->items, capacity, sizeof(struct reader_item));
        if (!items)
            return NULL;
        reader->items = items;
        reader->item_capacity = capacity;
    }
    struct reader_item *item = &reader->items[reader->item_count++];
    memset(item, 0, sizeof(*item));
    return item;
}

/* Without memory they are left out. */
static void reader_keep_args(struct reader *reader, struct reader_item *item,
                             const struct reader_event *event)
{
    if (event->args_len == 0)
        return;
    if (event->args_len > reader->args_capacity - reader->args_len) {
        size_t capacity = reader->args_capacity ? reader->args_capacity * 2 : 65536;
        unsigned char *args =
            capacity <= UINT32_MAX ? memory_resize_array(reader->args, capacity, 1) : NULL;
        if (!args)
            return;
        reader->args = args;
        reader->args_capacity = capacity;
    }
    item->args = (uint32_t)reader->args_len;
    item->args_len = (uint32_t)event->args_len;
    memcpy(reader->args + reader->args_len, event->args, event->args_len);
    reader->args_len += event->args_len;
}

/* Tell that `slots` slots of a thread were overwritten before they were read. */
static void reader_add_lost(struct reader *reader, uint64_t slots, uint64_t order, uint32_t slot,
                            uint32_t thread, uint64_t ticks)
{
    struct reader_item *item = reader_add(reader);
    if (!item)
        return;
    item->event.kind = TRACE_LOST;
    item->event.argument = slots;
    item->event.t0 = item->event.t1 = ticks;
    item->thread = thread;
    item->order = order;
    item->slot = slot;
}

static const struct trace_event *slot_in(const char *chunk, uint32_t slot)
{
    return (const struct trace_event *)(chunk + sizeof(struct recording_chunk)) + slot;
}

/* The slot's bytes if they were whole before the chunk was copied: `seq` is what it must have. One
 * copy cannot tell, since the kernel may take a slot's bytes in any order: its seq could be newer
 * than the rest. So there are two, and what was whole in the first is so in the second. */
static const struct trace_event *slot_at(const struct reader *reader, uint32_t slot, uint64_t seq)
{
    const struct trace_event *event = slot_in(reader->bytes, slot);
    bool whole = slot_in(reader->bytes_before, slot)->seq == seq && event->seq == seq;
    return whole ? event : NULL;
}

/* Join the ARGS slots that follow. Returns how many, or -1 when one of them is not written yet. */
static int reader_join_args(const struct reader *reader, uint32_t slot, uint64_t seq, bool more,
                            struct reader_event *event)
{
    int joined = 0;
    while (more && slot + 1 + (uint32_t)joined < RECORDING_CHUNK_SLOTS) {
        uint32_t at = slot + 1 + (uint32_t)joined;
        const struct trace_args *args =
            (const void *)slot_at(reader, at, seq + 2 * (uint64_t)(joined + 1));
        if (!args)
            return -1;
        if (args->kind != TRACE_ARGS)
            break;
        size_t len = args->len < sizeof(args->data) ? args->len : sizeof(args->data);
        if (event->args_len + len <= sizeof(event->args)) {
            memcpy(event->args + event->args_len, args->data, len);
            event->args_len += len;
        }
        joined++;
        more = args->flags & TRACE_MORE;
    }
    return joined;
}

/* Add the calls of a TRACE_PYTHON_WHOLE slot, each an event. */
static void reader_take_wholes(struct reader *reader, const struct trace_args *args,
                               uint32_t thread, uint64_t order, uint32_t slot)
{
    struct trace_whole calls[TRACE_WHOLES_MAX];
    memcpy(calls, args->data, sizeof(calls));
    for (size_t i = 0; i < TRACE_WHOLES_MAX && (i + 1) * sizeof(*calls) <= args->len; i++) {
        struct reader_item *item = reader_add(reader);
        if (!item)
            return;
        uint64_t flags = calls[i].begin;
        item->event = (struct trace_event){
            .t0 = flags & TRACE_WHOLE_TICKS,
            .t1 = (flags & TRACE_WHOLE_TICKS) + calls[i].ticks,
            .result = flags & TRACE_WHOLE_RAISED ? -1 : 0,
            .name = calls[i].place,
            .fd = -1,
            .op = flags & TRACE_WHOLE_C ? TRACE_PYTHON_C_CALL : TRACE_PYTHON_CALL,
            .kind = TRACE_PYTHON_WHOLE,
            .flags = (uint8_t)((flags & TRACE_WHOLE_RESUMED ? TRACE_RESUMED : 0) |
                               (flags & TRACE_WHOLE_SUSPENDED ? TRACE_SUSPENDED : 0)),
        };
        item->thread = thread;
        item->order = order;
        item->slot = slot;
    }
}

/* Was the slot left unwritten, by a signal handler that came in between and did not return? One of
 * those behind it is whole; a writer takes no more than LEFT_MOST at once. */
static bool slot_was_left(const struct reader *reader, uint32_t slot, uint64_t seq)
{
    for (uint32_t i = 1; i <= LEFT_MOST && slot + i < RECORDING_CHUNK_SLOTS; i++)
        if (slot_at(reader, slot + i, seq + 2 * (uint64_t)i))
            return true;
    return false;
}

/* Add what is new in the chunk whose copy is in `reader->bytes`. */
static void reader_take_slots(struct reader *reader, struct reader_chunk *chunk,
                              uint64_t generation, uint64_t order, bool held)
{
    while (chunk->slot < RECORDING_CHUNK_SLOTS) {
        uint64_t seq = ((generation - 1) * RECORDING_CHUNK_SLOTS + chunk->slot) * 2 + 2;
        const struct trace_event *event = slot_at(reader, chunk->slot, seq);
        if (!event && slot_was_left(reader, chunk->slot, seq)) {
            chunk->slot++;
            continue;
        }
        if (!event)
            return;
        struct reader_event joined = {.event = *event, .thread = chunk->thread};
        int args = reader_join_args(reader, chunk->slot, seq, event->flags & TRACE_MORE, &joined);
        if (args < 0 && held)
            return; /* the rest is about to come */
        uint32_t slot = chunk->slot;
        chunk->slot += 1 + (uint32_t)(args > 0 ? args : 0);
        if (event->kind == TRACE_THREAD)
            chunk->thread = (uint32_t)event->argument;
        if (event->kind == TRACE_ARGS || event->kind == TRACE_THREAD ||
            event->kind == TRACE_EMPTY || event->kind >= TRACE_LOST)
            continue; /* args of an event in the chunk before, or a damaged file */
        if (event->kind == TRACE_PYTHON_WHOLE) {
            reader_take_wholes(reader, (const void *)event, chunk->thread, order, slot);
            continue;
        }
        struct reader_item *item = reader_add(reader);
        if (!item)
            return;
        item->event = joined.event;
        item->thread = joined.thread;
        item->order = order;
        item->slot = slot;
        reader_keep_args(reader, item, &joined);
    }
}

/* Copy the chunk, twice, between two looks at its head: when those agree, the slots with the right
 * sequence numbers were not touched in between. */
static void reader_look(struct reader *reader, uint32_t i, uint64_t newest)
{
    struct reader_chunk *chunk = &reader->chunks[i];
    struct recording_chunk head, again;
    uint64_t offset = reader->header.chunks_offset + (uint64_t)i * RECORDING_CHUNK_SIZE;
    if (!read_exactly(reader, &head, sizeof(head), offset) || head.order == 0 ||
        head.order > newest || head.generation == 0)
        return;
    if (head.order == chunk->order && chunk->slot >= RECORDING_CHUNK_SLOTS)
        return;
    if (!read_exactly(reader, reader->bytes_before, RECORDING_CHUNK_SIZE, offset) ||
        !read_exactly(reader, reader->bytes, RECORDING_CHUNK_SIZE, offset) ||
        !read_exactly(reader, &again, sizeof(again), offset) || again.order != head.order ||
        again.generation != head.generation)
        return; /* taken anew meanwhile: next time */
    if (head.order != chunk->order) {
        if (chunk->order != 0 && chunk->slot < RECORDING_CHUNK_SLOTS)
            reader_add_lost(reader, RECORDING_CHUNK_SLOTS - chunk->slot, head.order, 0,
                            head.first_thread, 0);
        if (chunk->order == 0 && head.generation > 1) /* overwritten before we came */
            reader_add_lost(reader, (head.generation - 1) * RECORDING_CHUNK_SLOTS, head.order, 0,
                            head.first_thread, 0);
        chunk->order = head.order;
        chunk->slot = 0;
        chunk->thread = head.first_thread;
    }
    reader_take_slots(reader, chunk, head.generation, head.order, head.thread != 0);
}

/* By time; within a thread that is its order too. What was lost comes before what followed it. */
static int item_compare(const void *left, const void *right)
{
    const struct reader_item *a = left, *b = right;
    uint64_t at_a = a->event.t1, at_b = b->event.t1;
    if (at_a != at_b)
        return at_a < at_b ? -1 : 1;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

static void reader_refill(struct reader *reader)
{
    struct recording_header header;
    reader->item_next = reader->item_count = reader->args_len = 0;
    if (!reader_read_header(reader, &header))
        return;
    /* The state is taken before the slots: once it is ENDED, what is read now is all there is.
     * A chunk that is taken from here on waits: its thread may have written more in the one before
     * it, after that was looked at, and a thread's events come in their order. */
    for (uint32_t i = 0; i < reader->header.chunks && i < header.next_chunk; i++)
        reader_look(reader, i, header.next_chunk);
    reader->header.state = header.state;
    reader->header.names_used = header.names_used;
    reader->header.dropped = header.dropped;
    reader->header.next_chunk = header.next_chunk;
    if (reader->item_count > 1)
        qsort(reader->items, reader->item_count, sizeof(struct reader_item), item_compare);
}

int reader_next(struct reader *reader, struct reader_event *event)
{
    if (reader->item_next == reader->item_count)
        reader_refill(reader);
    if (reader->item_next == reader->item_count)
        return 0;
    const struct reader_item *item = &reader->items[reader->item_next++];
    *event = (struct reader_event){
        .event = item->event, .args_len = item->args_len, .thread = item->thread};
    if (item->args_len > 0)
        memcpy(event->args, reader->args + item->args, item->args_len);
    return 1;
}

int reader_under_way(struct reader *reader, uint32_t number, struct reader_event *event)
{
    struct recording_chunk head;
    uint64_t offset = reader->header.chunks_offset + (uint64_t)number * RECORDING_CHUNK_SIZE;
    if (number >= reader->header.chunks || number >= reader->header.next_chunk ||
        !read_exactly(reader, &head, sizeof(head), offset))
        return -ERANGE;
    const struct recording_under_way *note = &head.under_way;
    if (head.thread == 0 || note->t0 == 0)
        return 0;
    *event = (struct reader_event){.event = {.t0 = note->t0,
                                             .t1 = note->t0,
                                             .argument = note->argument,
                                             .name = note->place,
                                             .fd = note->fd,
                                             .op = note->op,
                                             .kind = TRACE_CALL},
                                   .thread = head.thread};
    return 1;
}

/* Read the names again: they only grow. */
static void reader_read_names(struct reader *reader)
{
    if (read_exactly(reader, reader->names, reader->header.names_size, reader->header.names_offset))
        reader->names_len = reader->header.names_size;
}

static struct slice name_at(const struct reader *reader, uint64_t at)
{
    uint32_t len;
    if (at + sizeof(len) > reader->names_len)
        return (struct slice){0};
    memcpy(&len, reader->names + at, sizeof(len));
    if (len == 0 || len > reader->names_len - at - sizeof(len))
        return (struct slice){0};
    return slice_of(reader->names + at + sizeof(len), len);
}

struct slice reader_name(struct reader *reader, uint32_t name)
{
    if (name == 0)
        return (struct slice){0};
    struct slice text = name_at(reader, name - 1);
    if (text.len > 0)
        return text;
    reader_read_names(reader);
    return name_at(reader, name - 1);
}

size_t reader_place(struct reader *reader, uint32_t place, struct trace_frame *frames)
{
    struct slice bytes = reader_name(reader, place);
    size_t count = bytes.len / sizeof(*frames);
    if (count > TRACE_FRAMES_MAX)
        count = TRACE_FRAMES_MAX;
    if (count > 0)
        memcpy(frames, bytes.data, count * sizeof(*frames));
    return count;
}

static bool write_exactly(int fd, const void *data, size_t len)
{
    for (const char *from = data; len > 0;) {
        ssize_t n = write(fd, from, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        from += n;
        len -= (size_t)n;
    }
    return true;
}

int64_t reader_copy(struct reader *reader, int fd)
{
    struct recording_header header;
    char page[RECORDING_HEADER_SIZE] = {0};
    if (!reader_read_header(reader, &header))
        return -EIO;
    reader_read_names(reader);
    uint32_t names = header.names_used < reader->names_len ? header.names_used : reader->names_len;
    names = (names + 63) & ~63u; /* chunks begin where a slot may */
    names = names < reader->names_len ? names : reader->names_len;
    uint32_t chunks = header.next_chunk < reader->header.chunks ? (uint32_t)header.next_chunk
                                                                : reader->header.chunks;
    uint32_t from = reader->header.chunks_offset;
    header.chunks = chunks > 0 ? chunks : 1;
    header.names_offset = RECORDING_HEADER_SIZE;
    header.names_size = names;
    header.chunks_offset = RECORDING_HEADER_SIZE + names;
    memcpy(page, &header, sizeof(header));
    if (!write_exactly(fd, page, sizeof(page)) || !write_exactly(fd, reader->names, names))
        return -errno;
    for (uint32_t i = 0; i < header.chunks; i++) {
        if (!read_exactly(reader, reader->bytes, RECORDING_CHUNK_SIZE,
                          from + (uint64_t)i * RECORDING_CHUNK_SIZE))
            return -EIO;
        if (!write_exactly(fd, reader->bytes, RECORDING_CHUNK_SIZE))
            return -errno;
    }
    return (int64_t)header.chunks_offset + (int64_t)header.chunks * RECORDING_CHUNK_SIZE;
}

uint64_t reader_monotonic_ns(const struct reader *reader, uint64_t ticks)
{
    const struct clock_calibration *calibration = &reader->header.calibration;
    if (ticks >= calibration->ticks)
        return calibration->monotonic_ns +
               clock_ticks_to_ns(calibration, ticks - calibration->ticks);
    uint64_t before = clock_ticks_to_ns(calibration, calibration->ticks - ticks);
    return before < calibration->monotonic_ns ? calibration->monotonic_ns - before : 0;
}
