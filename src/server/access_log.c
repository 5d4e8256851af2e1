#include "server/access_log.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "http/response_head.h"
#include "socket/kernel.h"

#define ACCESS_LOG_WAITING (64u << 10)
#define ACCESS_LOG_FIELD   4096 /* bytes of a field; what is longer is cut */

static struct slice slice_front(struct slice slice, size_t most)
{
    return slice_of(slice.data, slice.len < most ? slice.len : most);
}

void access_log_init(struct access_log *log, int fd)
{
    log->fd = fd;
    log->second = -1;
    buffer_init(&log->lines, 2 * ACCESS_LOG_WAITING);
}

void access_log_release(struct access_log *log)
{
    access_log_flush(log);
    buffer_release(&log->lines);
}

static int append_escaped(struct buffer *out, struct slice text)
{
    static const char digits[] = "0123456789abcdef";
    if (text.len == 0)
        return buffer_append(out, SLICE("-"));
    if (buffer_reserve(out, text.len * 4) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            out->data[out->end++] = (char)c;
            continue;
        }
        out->data[out->end++] = '\\';
        out->data[out->end++] = 'x';
        out->data[out->end++] = digits[c >> 4];
        out->data[out->end++] = digits[c & 15];
    }
    return 0;
}

static const char *access_log_date(struct access_log *log, int64_t now_s)
{
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    if (log->second == now_s)
        return log->date;
    struct tm tm;
    time_t seconds = (time_t)now_s;
    if (!gmtime_r(&seconds, &tm))
        return "-";
    char text[64];
    snprintf(text, sizeof(text), "%02d/%s/%04d:%02d:%02d:%02d +0000", tm.tm_mday, months[tm.tm_mon],
             tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    memcpy(log->date, text, sizeof(log->date) - 1);
    log->date[sizeof(log->date) - 1] = '\0';
    log->second = now_s;
    return log->date;
}

static int append_request_line(struct buffer *out, const struct request_head *head)
{
    if (!head)
        return buffer_append(out, SLICE("-"));
    return append_escaped(out, slice_front(head->method_text, ACCESS_LOG_FIELD)) |
           buffer_append(out, SLICE(" ")) |
           append_escaped(out, slice_front(head->target, 2 * ACCESS_LOG_FIELD)) |
           buffer_append(out, head->minor ? SLICE(" HTTP/1.1") : SLICE(" HTTP/1.0"));
}

static int append_field(struct buffer *out, const struct request_head *head, struct slice name)
{
    struct slice value = head ? request_head_field(head, name) : (struct slice){0};
    return append_escaped(out, slice_front(value, ACCESS_LOG_FIELD));
}

void access_log_note(struct access_log *log, struct access_log_request *request,
                     const struct request_head *head, const struct address *peer, int64_t now_s)
{
    char host[ADDRESS_TEXT_SIZE];
    struct buffer *text = &request->text;
    address_host(peer, host);
    buffer_init(text, 1u << 20);
    request->split = 0;
    int failed = append_escaped(text, slice_of_text(host)) | buffer_append(text, SLICE(" - - [")) |
                 buffer_append(text, slice_of_text(access_log_date(log, now_s))) |
                 buffer_append(text, SLICE("] \"")) | append_request_line(text, head) |
                 buffer_append(text, SLICE("\" "));
    size_t split = buffer_len(text);
    failed |= buffer_append(text, SLICE(" \"")) | append_field(text, head, SLICE("referer")) |
              buffer_append(text, SLICE("\" \"")) | append_field(text, head, SLICE("user-agent")) |
              buffer_append(text, SLICE("\"\n"));
    if (failed)
        buffer_release(text);
    else
        request->split = split;
}

void access_log_add(struct access_log *log, struct access_log_request *request, int status,
                    uint64_t bytes)
{
    if (request->split == 0)
        return;
    char numbers[48];
    int len = snprintf(numbers, sizeof(numbers), "%d %llu", status, (unsigned long long)bytes);
    struct slice text = buffer_slice(&request->text);
    size_t need = text.len + (size_t)len;
    if (buffer_len(&log->lines) + need > ACCESS_LOG_WAITING)
        access_log_flush(log);
    if (buffer_reserve(&log->lines, need) == 0) {
        buffer_append(&log->lines, slice_of(text.data, request->split));
        buffer_append(&log->lines, slice_of(numbers, (size_t)len));
        buffer_append(&log->lines, slice_of(text.data + request->split, text.len - request->split));
    }
    buffer_release(&request->text);
    request->split = 0;
}

void access_log_flush(struct access_log *log)
{
    while (buffer_len(&log->lines) > 0) {
        struct slice text = buffer_slice(&log->lines);
        ssize_t written = kernel_write(log->fd, text.data, text.len);
        if (written == -EINTR)
            continue;
        buffer_consume(&log->lines, written > 0 ? (size_t)written : text.len);
    }
}
