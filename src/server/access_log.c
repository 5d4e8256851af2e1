#include "server/access_log.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "http/response_head.h"
#include "socket/kernel.h"

#define ACCESS_LOG_WAITING (64u << 10)
#define ACCESS_LOG_FIELD   4096 /* bytes of a field; what is longer is cut */
#define ANSWERS_WAITING    (1u << 20)
#define ANSWER_LINE        (8u << 10) /* bytes of a request line; what is longer is cut */

static struct slice slice_front(struct slice slice, size_t most)
{
    return slice_of(slice.data, slice.len < most ? slice.len : most);
}

void access_log_init(struct access_log *log, int fd,
                     void (*on_answer)(void *context, const struct answer *answer), void *context)
{
    log->fd = fd;
    log->on_answer = on_answer;
    log->context = context;
    log->second = -1;
    buffer_init(&log->lines, 2 * ACCESS_LOG_WAITING);
    buffer_init(&log->answers, ANSWERS_WAITING);
}

void access_log_drop(struct access_log *log)
{
    log->fd = -1;
    log->on_answer = NULL;
    buffer_consume(&log->lines, buffer_len(&log->lines));
    buffer_consume(&log->answers, buffer_len(&log->answers));
}

void access_log_release(struct access_log *log)
{
    access_log_flush(log);
    buffer_release(&log->lines);
    buffer_release(&log->answers);
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

/* "GET / HTTP/1.1", as it came. */
static int append_line(struct buffer *out, const struct request_head *head)
{
    return buffer_append(out, slice_front(head->method_text, ACCESS_LOG_FIELD)) |
           buffer_append(out, SLICE(" ")) |
           buffer_append(out, slice_front(head->target, ANSWER_LINE)) |
           buffer_append(out, head->minor ? SLICE(" HTTP/1.1") : SLICE(" HTTP/1.0"));
}

/* Up to its end, or to the end of what there is. */
static struct slice first_line(struct slice input)
{
    const char *end = input.len > 0 ? memchr(input.data, '\n', input.len) : NULL;
    if (end)
        input.len = (size_t)(end - input.data);
    if (input.len > 0 && input.data[input.len - 1] == '\r')
        input.len--;
    return slice_front(input, ANSWER_LINE);
}

static void note_answer(struct access_log_request *request, const struct request_head *head,
                        struct slice input, const struct address *peer)
{
    struct buffer *text = &request->answer;
    struct answer answer = {.peer = *peer};
    buffer_init(text, 1u << 16);
    int failed = buffer_append(text, slice_of((const char *)&answer, sizeof(answer)));
    failed |= head ? append_line(text, head) : buffer_append(text, first_line(input));
    if (failed)
        buffer_release(text);
}

static void note_line(struct access_log *log, struct access_log_request *request,
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

void access_log_note(struct access_log *log, struct access_log_request *request,
                     const struct request_head *head, struct slice input,
                     const struct address *peer, int64_t now_s)
{
    if (log->fd >= 0)
        note_line(log, request, head, peer, now_s);
    if (log->on_answer)
        note_answer(request, head, input, peer);
}

void access_log_forget(struct access_log_request *request)
{
    if (request->text.capacity > 0)
        buffer_release(&request->text);
    if (request->answer.capacity > 0)
        buffer_release(&request->answer);
    request->split = 0;
}

static void add_answer(struct access_log *log, struct access_log_request *request, int status,
                       uint64_t bytes, enum http_refusal refusal)
{
    struct slice text = buffer_slice(&request->answer);
    struct answer answer;
    memcpy(&answer, text.data, sizeof(answer));
    text = slice_of(text.data + sizeof(answer), text.len - sizeof(answer));
    answer.status = status;
    answer.bytes = bytes;
    answer.refusal = refusal;
    answer.request_line = slice_of(NULL, text.len); /* it stands behind */
    if (buffer_reserve(&log->answers, sizeof(answer) + text.len) < 0)
        return;
    buffer_append(&log->answers, slice_of((const char *)&answer, sizeof(answer)));
    buffer_append(&log->answers, text);
}

static void add_line(struct access_log *log, struct access_log_request *request, int status,
                     uint64_t bytes)
{
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
}

void access_log_add(struct access_log *log, struct access_log_request *request, int status,
                    uint64_t bytes, enum http_refusal refusal)
{
    if (request->split > 0 && log->fd >= 0)
        add_line(log, request, status, bytes);
    if (request->answer.capacity > 0 && log->on_answer)
        add_answer(log, request, status, bytes, refusal);
    access_log_forget(request);
}

static void flush_lines(struct access_log *log)
{
    while (buffer_len(&log->lines) > 0) {
        struct slice text = buffer_slice(&log->lines);
        ssize_t written = kernel_write(log->fd, text.data, text.len);
        if (written == -EINTR)
            continue;
        buffer_consume(&log->lines, written > 0 ? (size_t)written : text.len);
    }
}

/* Others may add to what waits, and tell of it, while this one is being told of: so it is taken off
 * first, and each is told of once. */
static void flush_answers(struct access_log *log)
{
    while (buffer_len(&log->answers) > 0) {
        char line[ACCESS_LOG_FIELD + ANSWER_LINE + 64];
        struct answer answer;
        struct slice waiting = buffer_slice(&log->answers);
        memcpy(&answer, waiting.data, sizeof(answer));
        memcpy(line, waiting.data + sizeof(answer), answer.request_line.len);
        answer.request_line.data = line;
        buffer_consume(&log->answers, sizeof(answer) + answer.request_line.len);
        log->on_answer(log->context, &answer);
    }
}

void access_log_flush(struct access_log *log)
{
    flush_lines(log);
    flush_answers(log);
}
