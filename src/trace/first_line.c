#include "trace/first_line.h"

#include <stdint.h>
#include <string.h>

enum { WORD_MOST = 32 };

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_letter(char c)
{
    return is_upper(c) || (c >= 'a' && c <= 'z');
}

static size_t line_write(char line[FIRST_LINE_SIZE], const char *before, struct slice text)
{
    size_t len = strlen(before);
    size_t most = FIRST_LINE_SIZE - len;
    memcpy(line, before, len);
    size_t taken = text.len < most ? text.len : most;
    memcpy(line + len, text.data, taken);
    return len + taken;
}

/* Up to the line's end, which need not be there yet. */
static struct slice line_of(struct slice bytes)
{
    size_t len = 0;
    while (len < bytes.len && bytes.data[len] != '\r' && bytes.data[len] != '\n')
        len++;
    return slice_of(bytes.data, len);
}

/* "METHOD target HTTP/1.x": a method of capitals, a target that begins as one does. The version may
 * have been cut off. */
static bool is_request_line(struct slice line)
{
    size_t at = 0;
    while (at < line.len && at < 20 && (is_upper(line.data[at]) || line.data[at] == '-'))
        at++;
    if (at < 3 || at + 1 >= line.len || line.data[at] != ' ')
        return false;
    const char *target = line.data + at + 1;
    size_t rest = line.len - at - 1;
    bool is_target = target[0] == '/' || target[0] == '*' || is_letter(target[0]);
    const char *version = memmem(target, rest, " HTTP/1.", 8);
    return is_target && (version || (target[0] == '/' && rest > FIRST_LINE_SIZE));
}

static size_t http(struct slice bytes, char line[FIRST_LINE_SIZE])
{
    if (bytes.len >= 12 && memcmp(bytes.data, "HTTP/1.", 7) == 0 && bytes.data[8] == ' ')
        return line_write(line, "", line_of(bytes));
    if (!is_upper(bytes.data[0]))
        return 0;
    struct slice first = line_of(bytes);
    return is_request_line(first) ? line_write(line, "", first) : 0;
}

/* A number and CRLF at `*at`, at most four digits; -1: there is none. */
static int redis_number(struct slice bytes, size_t *at)
{
    int number = 0, digits = 0;
    while (*at < bytes.len && bytes.data[*at] >= '0' && bytes.data[*at] <= '9' && digits++ < 4)
        number = number * 10 + (bytes.data[(*at)++] - '0');
    if (digits == 0 || *at + 2 > bytes.len || memcmp(bytes.data + *at, "\r\n", 2) != 0)
        return -1;
    *at += 2;
    return number;
}

/* "*2\r\n$3\r\nGET\r\n..." */
static size_t redis(struct slice bytes, char line[FIRST_LINE_SIZE])
{
    size_t at = 1;
    if (bytes.data[0] != '*' || redis_number(bytes, &at) < 1 || at >= bytes.len ||
        bytes.data[at++] != '$')
        return 0;
    int len = redis_number(bytes, &at);
    if (len < 1 || len > WORD_MOST || (size_t)len > bytes.len - at)
        return 0;
    for (int i = 0; i < len; i++)
        if (!is_letter(bytes.data[at + (size_t)i]))
            return 0;
    return line_write(line, "redis ", slice_of(bytes.data + at, (size_t)len));
}

/* The first word of a statement; nothing of its values. */
static struct slice statement_word(struct slice bytes)
{
    size_t from = 0;
    while (from < bytes.len && (bytes.data[from] == ' ' || bytes.data[from] == '\n'))
        from++;
    size_t end = from;
    while (end < bytes.len && end - from < WORD_MOST && is_letter(bytes.data[end]))
        end++;
    return slice_of(bytes.data + from, end - from);
}

/* A message of PostgreSQL's protocol: a letter, its length in four bytes; 'Q': a query; 'P': the
 * name of a statement and its query. */
static size_t postgresql(struct slice bytes, char line[FIRST_LINE_SIZE])
{
    if (bytes.len < 6 || (bytes.data[0] != 'Q' && bytes.data[0] != 'P'))
        return 0;
    const unsigned char *raw = (const unsigned char *)bytes.data;
    uint32_t len = (uint32_t)raw[1] << 24 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 8 | raw[4];
    if (len < 5 || len > (1u << 24) || (bytes.data[0] == 'Q' && len + 1 > bytes.len + (1u << 16)))
        return 0;
    struct slice text = slice_of(bytes.data + 5, bytes.len - 5);
    if (bytes.data[0] == 'P') {
        const char *end = memchr(text.data, '\0', text.len);
        if (!end)
            return 0;
        size_t skipped = (size_t)(end - text.data) + 1;
        text = slice_of(text.data + skipped, text.len - skipped);
    }
    struct slice word = statement_word(text);
    return word.len >= 3 ? line_write(line, "postgresql ", word) : 0;
}

size_t first_line(struct slice bytes, char line[FIRST_LINE_SIZE])
{
    if (bytes.len < 4)
        return 0;
    size_t len = http(bytes, line);
    if (len == 0)
        len = redis(bytes, line);
    if (len == 0)
        len = postgresql(bytes, line);
    return len;
}

bool first_line_is_tls(struct slice bytes)
{
    const unsigned char *raw = (const unsigned char *)bytes.data;
    return bytes.len >= 5 && raw[0] >= 20 && raw[0] <= 23 && raw[1] == 3 && raw[2] <= 4;
}
