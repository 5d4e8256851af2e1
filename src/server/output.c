#include "server/output.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/memory.h"

#define OUTPUT_BYTES_FIRST 4096 /* what most heads with a small body fit in */
#define OUTPUT_BYTES_KEEP  16384
#define OUTPUT_BYTES_MAX   (64u << 20)
#define OUTPUT_PARTS_FIRST 8
#define OUTPUT_PARTS_SENT  64 /* parts given to one sendmsg(2) */
#define OUTPUT_FILE_STEP   (1u << 20)

struct output *output_new(void)
{
    struct output *output = memory_new(sizeof(*output));
    if (!output)
        return NULL;
    list_init(&output->node);
    buffer_init(&output->bytes, OUTPUT_BYTES_MAX);
    output->parts = memory_new_array(OUTPUT_PARTS_FIRST, sizeof(struct part));
    if (!output->parts || buffer_reserve(&output->bytes, OUTPUT_BYTES_FIRST) < 0) {
        output_free(output);
        return NULL;
    }
    output->capacity = OUTPUT_PARTS_FIRST;
    return output;
}

void output_free(struct output *output)
{
    output_clear(output);
    buffer_release(&output->bytes);
    memory_free(output->parts);
    memory_free(output);
}

static void part_release(struct part *part)
{
    if (part->kind != PART_COPIED && part->lender.release)
        part->lender.release(part->lender.object);
}

void output_clear(struct output *output)
{
    while (output->first < output->end)
        part_release(&output->parts[output->first++]);
    output->first = output->end = 0;
    output->pending = 0;
    buffer_consume(&output->bytes, buffer_len(&output->bytes));
    if (output->bytes.capacity > OUTPUT_BYTES_KEEP) {
        buffer_release(&output->bytes);
        buffer_init(&output->bytes, OUTPUT_BYTES_MAX);
    }
}

/* The place of a new part, or NULL. Parts that were sent make room at the front. */
static struct part *output_part(struct output *output)
{
    if (output->end == output->capacity && output->first > 0) {
        size_t count = output->end - output->first;
        memmove(output->parts, output->parts + output->first, count * sizeof(struct part));
        output->first = 0;
        output->end = count;
    }
    if (output->end == output->capacity) {
        size_t capacity = output->capacity * 2;
        struct part *parts = memory_resize_array(output->parts, capacity, sizeof(struct part));
        if (!parts)
            return NULL;
        output->parts = parts;
        output->capacity = capacity;
    }
    return &output->parts[output->end];
}

char *output_reserve(struct output *output, size_t len)
{
    if (buffer_reserve(&output->bytes, len) < 0)
        return NULL;
    return output->bytes.data + output->bytes.end;
}

int output_commit(struct output *output, size_t len)
{
    struct part *last = &output->parts[output->end - (output->end > output->first)];
    if (output->end == output->first || last->kind != PART_COPIED) {
        last = output_part(output);
        if (!last)
            return -ENOMEM;
        *last = (struct part){.kind = PART_COPIED};
        output->end++;
    }
    last->len += len;
    output->bytes.end += len;
    output->pending += len;
    return 0;
}

int output_copy(struct output *output, struct slice data)
{
    if (data.len == 0)
        return 0;
    char *room = output_reserve(output, data.len);
    if (!room)
        return -ENOMEM;
    memcpy(room, data.data, data.len);
    return output_commit(output, data.len);
}

int output_lend(struct output *output, struct slice data, struct lender lender)
{
    struct part *part = output_part(output);
    if (!part)
        return -ENOMEM;
    *part = (struct part){.kind = PART_LENT, .len = data.len, .data = data.data, .lender = lender};
    output->end++;
    output->pending += data.len;
    return 0;
}

int output_file(struct output *output, int fd, off_t offset, uint64_t len, struct lender lender)
{
    struct part *part = output_part(output);
    if (!part)
        return -ENOMEM;
    *part =
        (struct part){.kind = PART_FILE, .fd = fd, .len = len, .offset = offset, .lender = lender};
    output->end++;
    output->pending += len;
    return 0;
}

static void close_lent_file(void *object)
{
    close((int)(intptr_t)object);
}

int output_own_files(struct output *output)
{
    for (size_t i = output->first; i < output->end; i++) {
        struct part *part = &output->parts[i];
        if (part->kind != PART_FILE || part->lender.release == close_lent_file)
            continue;
        int fd = fcntl(part->fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return -errno;
        part_release(part);
        part->fd = fd;
        part->lender = (struct lender){close_lent_file, (void *)(intptr_t)fd};
    }
    return 0;
}

/* Count `sent` bytes of the parts in memory as gone. */
static void output_advance(struct output *output, size_t sent)
{
    output->pending -= sent;
    while (sent > 0) {
        struct part *part = &output->parts[output->first];
        size_t step = sent < part->len ? sent : (size_t)part->len;
        if (part->kind == PART_COPIED)
            buffer_consume(&output->bytes, step);
        else
            part->data += step;
        part->len -= step;
        sent -= step;
        if (part->len > 0)
            return;
        part_release(part);
        output->first++;
    }
}

/* Point `parts` to what lies in memory before the next file. Returns their number; `*len`: bytes.
 */
static size_t output_gather(const struct output *output, struct iovec *parts, size_t *len)
{
    const char *copied = output->bytes.data + output->bytes.start;
    size_t count = 0;
    *len = 0;
    for (size_t i = output->first; i < output->end && count < OUTPUT_PARTS_SENT; i++) {
        const struct part *part = &output->parts[i];
        if (part->kind == PART_FILE)
            break;
        const char *data = part->kind == PART_COPIED ? copied : part->data;
        if (part->kind == PART_COPIED)
            copied += part->len;
        parts[count++] = (struct iovec){(void *)data, (size_t)part->len};
        *len += (size_t)part->len;
    }
    return count;
}

/* A stream or file that sendfile(2) does not know: read a piece and send that. */
static ssize_t output_send_file_by_hand(struct part *part, struct stream *stream)
{
    char data[16384];
    size_t want = part->len < sizeof(data) ? (size_t)part->len : sizeof(data);
    ssize_t got = pread(part->fd, data, want, part->offset);
    if (got <= 0)
        return got < 0 ? -errno : 0;
    struct iovec piece = {data, (size_t)got};
    ssize_t sent = stream_send(stream, &piece, 1, false);
    if (sent > 0)
        part->offset += sent;
    return sent;
}

/* One step of the file part at the front. Returns as output_step. */
static ssize_t output_step_file(struct output *output, struct stream *stream, size_t *asked)
{
    struct part *part = &output->parts[output->first];
    *asked = part->len < OUTPUT_FILE_STEP ? (size_t)part->len : OUTPUT_FILE_STEP;
    ssize_t sent = stream_sendfile(stream, part->fd, &part->offset, *asked);
    if (sent == -EINVAL || sent == -EOPNOTSUPP || sent == -ENOSYS)
        sent = output_send_file_by_hand(part, stream);
    if (sent == 0)
        return -EIO;
    if (sent < 0)
        return sent;
    part->len -= (uint64_t)sent;
    output->pending -= (uint64_t)sent;
    if (part->len == 0) {
        part_release(part);
        output->first++;
    }
    return sent;
}

static ssize_t output_step_memory(struct output *output, struct stream *stream, bool ends,
                                  size_t *asked)
{
    struct iovec parts[OUTPUT_PARTS_SENT];
    size_t count = output_gather(output, parts, asked);
    ssize_t sent = stream_send(stream, parts, count, ends || count < output->end - output->first);
    if (sent > 0)
        output_advance(output, (size_t)sent);
    return sent;
}

ssize_t output_send(struct output *output, struct stream *stream, bool ends)
{
    size_t total = 0;
    while (output->first < output->end) {
        size_t asked;
        bool is_file = output->parts[output->first].kind == PART_FILE;
        ssize_t sent = is_file ? output_step_file(output, stream, &asked)
                               : output_step_memory(output, stream, ends, &asked);
        if (sent == -EAGAIN)
            break;
        if (sent < 0)
            return sent;
        total += (size_t)sent;
        if (!is_file && (size_t)sent < asked)
            break; /* the socket's buffer is full: the loop says when it has room */
    }
    if (output->first == output->end)
        output->first = output->end = 0;
    return (ssize_t)total;
}
