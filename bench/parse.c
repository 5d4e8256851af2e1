/* What reading a request costs: nanoseconds a head or a chunk.
 *
 * Usage: parse [ROUNDS]. A line of figures for each workload in each round: its name, the bytes of
 * data in a unit (0: a head), and nanoseconds a unit of zolal's parser and, where it is built in,
 * of llhttp's, one right after the other, in turns first. What they read is checked, or it exits 1.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/chunked.h"
#include "parse.h"

static const struct parser *const parsers[] = {
    &parse_zolal,
#ifdef LLHTTP
    &parse_llhttp,
#endif
};
enum { PARSERS = sizeof(parsers) / sizeof(parsers[0]) };

#define WRK_FIELDS(X) X("Host", "127.0.0.1:8080")

#define BROWSER_FIELDS(X)                                                                     \
    X("Host", "www.example.org")                                                              \
    X("Connection", "keep-alive")                                                             \
    X("Cache-Control", "max-age=0")                                                           \
    X("sec-ch-ua", "\"Chromium\";v=\"142\", \"Not=A?Brand\";v=\"24\"")                        \
    X("sec-ch-ua-mobile", "?0")                                                               \
    X("sec-ch-ua-platform", "\"Linux\"")                                                      \
    X("Upgrade-Insecure-Requests", "1")                                                       \
    X("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) " \
                    "Chrome/142.0.0.0 Safari/537.36")                                         \
    X("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,"           \
                "image/webp,*/*;q=0.8")                                                       \
    X("Sec-Fetch-Site", "same-origin")                                                        \
    X("Sec-Fetch-Mode", "navigate")                                                           \
    X("Sec-Fetch-User", "?1")                                                                 \
    X("Sec-Fetch-Dest", "document")                                                           \
    X("Accept-Encoding", "gzip, deflate, br, zstd")                                           \
    X("Accept-Language", "en-GB,en;q=0.9,fa;q=0.8")                                           \
    X("Cookie", "session=4c1d8a7be2f04a0f9d7a6d2b; theme=dark; csrftoken=Zk3vQmP0aXw8Lr5T")

#define BROWSER_TARGET "/articles/2026/how-a-request-travels?page=2&sort=newest"

/* A head, and what is right to read in it. */
struct head_workload {
    const char *name;
    struct slice text;
    size_t cut; /* the bytes of its first segment; 0: it arrives whole */
    int times;  /* in a round */
    const char *target;
    size_t field_count;
    const char *const (*fields)[2];
};

#define LINE(name, value) name ": " value "\r\n"
#define PAIR(name, value) {name, value},
#define COUNT(array)      (sizeof(array) / sizeof((array)[0]))

static const char wrk[] = "GET / HTTP/1.1\r\n" WRK_FIELDS(LINE) "\r\n";
static const char browser[] = "GET " BROWSER_TARGET " HTTP/1.1\r\n" BROWSER_FIELDS(LINE) "\r\n";
static const char *const wrk_fields[][2] = {WRK_FIELDS(PAIR)};
static const char *const browser_fields[][2] = {BROWSER_FIELDS(PAIR)};

/* 400 bytes are a segment that ends within a value. */
static const struct head_workload head_workloads[] = {
    {"wrk", {wrk, sizeof(wrk) - 1}, 0, 100000, "/", COUNT(wrk_fields), wrk_fields},
    {"browser",
     {browser, sizeof(browser) - 1},
     0,
     20000,
     BROWSER_TARGET,
     COUNT(browser_fields),
     browser_fields},
    {"browser-cut",
     {browser, sizeof(browser) - 1},
     400,
     20000,
     BROWSER_TARGET,
     COUNT(browser_fields),
     browser_fields},
};

/* A request with a chunked body, which arrives in reads of about 64 KB. */
struct body_workload {
    const char *name;
    size_t chunk_len;
    size_t chunks; /* in a read */
    int reads;     /* in a request */
    int times;     /* in a round */
    bool copied;   /* into one piece of memory, for a reader; else only found */
};

static const struct body_workload body_workloads[] = {
    {"chunks", 16 * 1024, 4, 4, 64, true},
    {"chunks-found", 16 * 1024, 4, 64, 100, false},
    {"one-byte-chunks", 1, 10000, 100, 1, true},
};

static const char body_head[] = "POST / HTTP/1.1\r\n"
                                "Host: 127.0.0.1:8080\r\n"
                                "Transfer-Encoding: chunked\r\n"
                                "\r\n";

/* The bytes of one. */
struct body_room {
    struct slice chunks; /* a read */
    char *data;          /* of all reads */
    char *out;
    size_t len; /* of `data` and `out` */
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void fail(const char *workload, size_t parser)
{
    fprintf(stderr, "%s: parser %zu did not read what was sent\n", workload, parser);
    exit(1);
}

static bool same(struct slice slice, const char *text)
{
    return slice_equal(slice, slice_of_text(text));
}

static bool head_is_right(const struct head_workload *workload, const struct parsed *parsed)
{
    if (!same(parsed->method, "GET") || !same(parsed->target, workload->target) ||
        parsed->field_count != workload->field_count)
        return false;
    for (size_t i = 0; i < parsed->field_count; i++) {
        if (!same(parsed->fields[i].name, workload->fields[i][0]) ||
            !same(parsed->fields[i].value, workload->fields[i][1]))
            return false;
    }
    return true;
}

/* Nanoseconds a head. */
static double measure_head(const struct head_workload *workload, size_t parser)
{
    struct parsed parsed;
    memset(&parsed, 0, sizeof(parsed));
    uint64_t start = now_ns();
    bool read = parsers[parser]->heads(workload->text, workload->cut, workload->times, &parsed);
    uint64_t took = now_ns() - start;
    if (!read || !head_is_right(workload, &parsed))
        fail(workload->name, parser);
    return (double)took / workload->times;
}

static char *memory(size_t len)
{
    char *made = calloc(len, 1);
    if (!made) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return made;
}

static struct body_room body_make(const struct body_workload *workload)
{
    size_t chunk = workload->chunk_len;
    size_t read = chunk * workload->chunks;
    char *text = memory(workload->chunks * (CHUNK_LINE_SIZE + chunk + 2));
    struct body_room room = {.len = read * (size_t)workload->reads};
    room.data = memory(room.len);
    room.out = memory(room.len);
    for (size_t i = 0; i < room.len; i++)
        room.data[i] = (char)(i % read * 7 + i % read / 251);
    char *to = text;
    for (size_t at = 0; at < read; at += chunk) {
        to += chunk_line_write(to, chunk);
        memcpy(to, room.data + at, chunk);
        memcpy(to + chunk, "\r\n", 2);
        to += chunk + 2;
    }
    room.chunks = slice_of(text, (size_t)(to - text));
    return room;
}

static void body_release(struct body_room *room)
{
    free((void *)(uintptr_t)room->chunks.data);
    free(room->data);
    free(room->out);
}

/* Nanoseconds a chunk. */
static double measure_body(const struct body_workload *workload, size_t parser,
                           struct body_room *room)
{
    struct slice head = slice_of(body_head, sizeof(body_head) - 1);
    char *out = workload->copied ? room->out : NULL;
    bool right = true;
    memset(room->out, 0, room->len);
    uint64_t start = now_ns();
    for (int i = 0; i < workload->times; i++) {
        size_t len = 0;
        right &= parsers[parser]->body(head, room->chunks, workload->reads, out, &len);
        right &= len == room->len;
    }
    uint64_t took = now_ns() - start;
    if (!right || (out && memcmp(out, room->data, room->len) != 0))
        fail(workload->name, parser);
    return (double)took / ((double)workload->times * workload->reads * (double)workload->chunks);
}

static void print(const char *name, size_t len, const double took[PARSERS])
{
    printf("%s %zu", name, len);
    for (size_t i = 0; i < PARSERS; i++)
        printf(" %.3f", took[i]);
    putchar('\n');
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 20;
    if (rounds < 1) {
        fputs("usage: parse [ROUNDS]\n", stderr);
        return 2;
    }
    struct body_room rooms[COUNT(body_workloads)];
    for (size_t i = 0; i < COUNT(body_workloads); i++)
        rooms[i] = body_make(&body_workloads[i]);
    for (size_t round = 0; round < (size_t)rounds; round++) {
        double took[PARSERS];
        for (size_t i = 0; i < COUNT(head_workloads); i++) {
            for (size_t turn = 0; turn < PARSERS; turn++) {
                size_t parser = (round + turn) % PARSERS;
                took[parser] = measure_head(&head_workloads[i], parser);
            }
            print(head_workloads[i].name, 0, took);
        }
        for (size_t i = 0; i < COUNT(body_workloads); i++) {
            for (size_t turn = 0; turn < PARSERS; turn++) {
                size_t parser = (round + turn) % PARSERS;
                took[parser] = measure_body(&body_workloads[i], parser, &rooms[i]);
            }
            print(body_workloads[i].name, body_workloads[i].chunk_len, took);
        }
    }
    for (size_t i = 0; i < COUNT(body_workloads); i++)
        body_release(&rooms[i]);
    return 0;
}
