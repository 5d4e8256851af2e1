/* What reading a request costs: nanoseconds for a head, gigabytes a second for a chunked body.
 *
 * Usage: parse [ROUNDS]. Each line is the best of ROUNDS (default 20) rounds: what the machine can
 * do when nothing else runs on it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/chunked.h"
#include "http/request_head.h"

enum { HEADS = 100000, CHUNK = 16 * 1024, FIELDS = 100 };

static const char wrk[] = "GET / HTTP/1.1\r\n"
                          "Host: 127.0.0.1:8080\r\n"
                          "\r\n";

static const char browser[] =
    "GET /articles/2026/how-a-request-travels?page=2&sort=newest HTTP/1.1\r\n"
    "Host: www.example.org\r\n"
    "Connection: keep-alive\r\n"
    "Cache-Control: max-age=0\r\n"
    "sec-ch-ua: \"Chromium\";v=\"142\", \"Not=A?Brand\";v=\"24\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36\r\n"
    "Accept: "
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-User: ?1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,fa;q=0.8\r\n"
    "Cookie: session=4c1d8a7be2f04a0f9d7a6d2b; theme=dark; csrftoken=Zk3vQmP0aXw8Lr5T\r\n"
    "\r\n";

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void parse_once(struct slice text, size_t fields)
{
    static const struct http_head_limits limits = {8190, FIELDS, 8190, 65536};
    struct http_field room[FIELDS];
    struct request_head head = {.fields = room};
    struct request_head_progress progress = {0};
    ssize_t len = request_head_parse(&head, &progress, text, &limits);
    if (len != (ssize_t)text.len || head.field_count != fields) {
        fputs("the head was not read\n", stderr);
        exit(1);
    }
    __asm__ volatile("" : : "g"(room) : "memory");
}

/* Nanoseconds a head. */
static double measure_head(struct slice text, size_t fields, int rounds)
{
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < rounds; round++) {
        uint64_t start = now_ns();
        for (int i = 0; i < HEADS; i++)
            parse_once(text, fields);
        uint64_t took = now_ns() - start;
        best = took < best ? took : best;
    }
    return (double)best / HEADS;
}

/* Write `count` chunks of `len` bytes and the last chunk to `out`; returns the length. */
static size_t write_body(char *out, size_t count, size_t len)
{
    char *to = out;
    for (size_t i = 0; i < count; i++) {
        to += chunk_line_write(to, len);
        memset(to, 'x', len);
        memcpy(to + len, "\r\n", 2);
        to += len + 2;
    }
    memcpy(to, chunk_last.data, chunk_last.len);
    return (size_t)(to - out) + chunk_last.len;
}

static void decode_once(struct slice body, char *out)
{
    static const struct chunked_limits limits = {4096, 8192};
    struct chunked_decoder decoder = {0};
    struct slice data;
    int result;
    while ((result = chunked_decode(&decoder, &body, &data, &limits)) == CHUNKED_DATA) {
        memcpy(out, data.data, data.len);
        __asm__ volatile("" : : "g"(out) : "memory");
    }
    if (result != CHUNKED_END) {
        fputs("the body was not read\n", stderr);
        exit(1);
    }
}

/* Nanoseconds a chunk of `len` bytes, copied out as a reader would. */
static double measure_chunks(size_t count, size_t len, int rounds)
{
    char *body = malloc(count * (len + CHUNK_LINE_SIZE + 2) + chunk_last.len);
    char *out = malloc(len);
    if (!body || !out) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    struct slice text = slice_of(body, write_body(body, count, len));
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < rounds; round++) {
        uint64_t start = now_ns();
        decode_once(text, out);
        uint64_t took = now_ns() - start;
        best = took < best ? took : best;
    }
    free(out);
    free(body);
    return (double)best / (double)count;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 20;
    if (rounds < 1) {
        fputs("usage: parse [ROUNDS]\n", stderr);
        return 2;
    }
    struct slice small = slice_of(wrk, sizeof(wrk) - 1);
    struct slice large = slice_of(browser, sizeof(browser) - 1);
    printf("wrk's head, %zu bytes, 1 field         %7.1f ns\n", small.len,
           measure_head(small, 1, rounds));
    printf("a browser's head, %zu bytes, 16 fields %7.1f ns\n", large.len,
           measure_head(large, 16, rounds));
    printf("chunks of 16 KB, copied out            %7.1f GB/s\n",
           CHUNK / measure_chunks(256, CHUNK, rounds));
    printf("chunks of one byte, copied out         %7.1f ns a chunk\n",
           measure_chunks(1000000, 1, rounds));
    return 0;
}
