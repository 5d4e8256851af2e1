/* The load: asks a server on 127.0.0.1 over many connections and checks every answer, its status
 * and its body, byte by byte. Either as fast as answers come (each connection sends again when it
 * has its answer), or at a fixed rate: then each request has a time at which it is due, kept
 * whatever the server does, and its latency counts from that time, also while no connection is free
 * to send it. Without that a server that stalls would be asked less often just then, and look good.
 *
 *   load [OPTION]... PORT SHARE:REQUEST:BODY...
 *
 * REQUEST: a file with the bytes of a request; BODY: one with the body that must come. SHARE: how
 * many of a hundred requests are of that kind.
 *
 * It prints "ready" and how many idle connections were answered, begins when a line comes on its
 * standard input, and at the end prints JSON on one line. It is a ruler, like limit.c: what cannot
 * be measured ends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LINEAR = 256, /* latencies below so many microseconds are counted one by one, */
    FINE = 128,   /* above that in so many steps for each power of two: 0.8 % */
    BUCKETS = LINEAR + 28 * FINE,
    MAX_KINDS = 4,
    OPENING = 64, /* idle connections that are opened at a time */
    SOURCES = 16, /* client addresses, 127.0.0.2 and so on: one has only 28,000 ports */
    RETRY_NS = 10000000,
};

/* How long the idle connections may take, all of them, and one after the other. */
static const uint64_t OPEN_NS = 20000000000U, STUCK_NS = 2000000000U;

struct kind {
    char *batch; /* the request, as often as it is pipelined */
    size_t batch_len;
    char *body;
    size_t body_len;
    unsigned share;
    uint64_t answers;
    uint64_t latency[BUCKETS];
};

/* DEAD: no connection, to be opened again. HELD: an idle one, done. CLOSING: the answer is there,
 * the server's end is not. */
enum state { DEAD, FREE, BUSY, CLOSING, HELD };
enum part { HEAD, BODY, BODY_TO_END, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILERS };

struct connection {
    int fd;
    enum state state;
    enum part part;
    bool idle;       /* one of those that only stay open */
    bool will_close; /* the server said so, or it is what we asked for */
    bool differs;    /* the body so far is not the expected one */
    int status;
    unsigned left; /* answers that are still due */
    struct kind *kind;
    size_t sent;
    size_t body_at;
    uint64_t part_left; /* of the body or the chunk; while TRAILERS: length of the line */
    uint64_t due;       /* since when the latency counts */
    char *partial;      /* a head that was cut */
    size_t partial_len;
};

static struct options {
    double seconds, rate, drain;
    unsigned connections, pipeline, idle;
    int status, port;
    bool close;
} options = {.seconds = 1, .drain = 2, .connections = 64, .pipeline = 1, .status = 200};

static struct kind kinds[MAX_KINDS];
static unsigned kind_count;
static struct connection *connections;
static unsigned *free_ring, free_head, free_count;
static int epoll_fd;
static unsigned sources_used;
static bool sending; /* new requests may go out */
static uint64_t in_time, wrong, lost, refused, busy_count, idle_answered, end_ns;
static char first_wrong[200];
static char received[1 << 18];

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(3);
}

/* ------------------------------------------------------------------------------------ latencies */

static unsigned bucket_of(uint64_t us)
{
    if (us < LINEAR)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    unsigned index = LINEAR + (power - 8) * FINE + (unsigned)(us >> (power - 7)) - FINE;
    return index < BUCKETS ? index : BUCKETS - 1;
}

/* The middle of a bucket, in microseconds. */
static double bucket_value(unsigned index)
{
    if (index < LINEAR)
        return index + 0.5;
    unsigned power = (index - LINEAR) / FINE + 8;
    unsigned step = (index - LINEAR) % FINE + FINE;
    return (step + 0.5) * (double)(1ULL << (power - 7));
}

static void count_latency(struct kind *kind, uint64_t due, uint64_t now)
{
    kind->latency[bucket_of((now > due ? now - due : 0) / 1000)]++;
}

/* ---------------------------------------------------------------------------------- connections */

static struct kind *any_kind(void)
{
    static uint64_t random = 88172645463325252U; /* xorshift, the same sequence in each run */
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    unsigned at = (unsigned)(random % 100), i = 0;
    while (i + 1 < kind_count && at >= kinds[i].share)
        at -= kinds[i++].share;
    return &kinds[i];
}

static void let_go(struct connection *connection, enum state state)
{
    if (connection->state == BUSY)
        busy_count--;
    if (connection->fd >= 0)
        close(connection->fd);
    free(connection->partial);
    connection->fd = -1;
    connection->partial = NULL;
    connection->partial_len = 0;
    connection->state = state;
}

static void make_free(struct connection *connection)
{
    connection->state = FREE;
    free_ring[(free_head + free_count++) % options.connections] =
        (unsigned)(connection - connections);
}

static bool open_connection(struct connection *connection)
{
    int one = 1;
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (options.close || options.idle > 0) {
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
        addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + sources_used++ % SOURCES);
        bind(fd, (struct sockaddr *)&addr, sizeof(addr));
    }
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.sin_port = htons((uint16_t)options.port);
    connection->fd = fd;
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno != EINPROGRESS)
        return false;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
    return true;
}

/* The connection broke while it owed answers. */
static void broke(struct connection *connection, bool connecting)
{
    if (connecting)
        refused++;
    else
        lost += connection->left;
    let_go(connection, DEAD);
}

static void send_batch(struct connection *connection)
{
    struct kind *kind = connection->kind;
    while (connection->sent < kind->batch_len) {
        ssize_t sent = send(connection->fd, kind->batch + connection->sent,
                            kind->batch_len - connection->sent, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN))
            return;
        /* What it answered before it closed is still to be read: no error here. */
        if (sent < 0)
            return;
        connection->sent += (size_t)sent;
    }
}

/* Ask. `due`: when that should have happened. */
static void begin(struct connection *connection, uint64_t due)
{
    connection->kind = connection->idle ? &kinds[0] : any_kind();
    connection->state = BUSY;
    connection->part = HEAD;
    connection->left = connection->idle ? 1 : options.pipeline;
    connection->will_close = false;
    connection->sent = 0;
    connection->due = due;
    busy_count++;
    if (connection->fd < 0 && !open_connection(connection))
        broke(connection, true);
    else
        send_batch(connection);
}

/* It may ask again. */
static void next_batch(struct connection *connection, uint64_t now)
{
    if (options.rate > 0)
        make_free(connection);
    else if (sending && now < end_ns)
        begin(connection, now);
    else
        connection->state = HELD;
}

/* All answers of a batch are there. */
static void batch_done(struct connection *connection, uint64_t now)
{
    busy_count--;
    connection->state = CLOSING;
    if (connection->idle) {
        idle_answered++;
        connection->state = HELD;
        return;
    }
    if (!options.close && !connection->will_close)
        next_batch(connection, now);
}

/* The server closed, after an answer or between two. */
static void closed(struct connection *connection, uint64_t now)
{
    enum state was = connection->state;
    let_go(connection, was);
    if (was == CLOSING)
        next_batch(connection, now);
}

/* The server closed and owes answers. One that gave some of them is asked again at once. */
static void cut_off(struct connection *connection, uint64_t now, bool connecting)
{
    bool gave_some = !connection->idle && connection->left < options.pipeline;
    broke(connection, connecting);
    if (gave_some)
        next_batch(connection, now);
}

/* -------------------------------------------------------------------------------------- answers */

static void answer_done(struct connection *connection, uint64_t now)
{
    struct kind *kind = connection->kind;
    if (connection->status != options.status || connection->differs ||
        connection->body_at != kind->body_len) {
        if (wrong++ == 0)
            snprintf(first_wrong, sizeof(first_wrong), "status %d, %zu bytes of %zu%s",
                     connection->status, connection->body_at, kind->body_len,
                     connection->differs ? ", others than they should be" : "");
    } else if (!connection->idle) {
        kind->answers++;
        in_time += now <= end_ns;
        count_latency(kind, connection->due, now);
    }
    connection->part = HEAD;
    if (--connection->left == 0)
        batch_done(connection, now);
}

static bool has_word(const char *value, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    for (size_t i = 0; i + word_len <= len; i++) {
        if (strncasecmp(value + i, word, word_len) == 0)
            return true;
    }
    return false;
}

static bool is_field(const char *line, size_t len, const char *name)
{
    size_t name_len = strlen(name);
    return len > name_len && strncasecmp(line, name, name_len) == 0;
}

/* A whole head, with its empty line. Says what follows it. */
static void read_head(struct connection *connection, const char *head, size_t len, uint64_t now)
{
    bool chunked = false, counted = false;
    const char *end = head + len - 2;
    connection->status = len > 12 ? atoi(head + 9) : 0;
    bool close_it = len > 8 && head[7] == '0'; /* HTTP/1.0 */
    uint64_t body_len = 0;
    for (const char *line = head; line < end;) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        size_t line_len = (size_t)((next ? next + 1 : end) - line);
        if (is_field(line, line_len, "content-length:")) {
            body_len = strtoull(line + 15, NULL, 10);
            counted = true;
        } else if (is_field(line, line_len, "transfer-encoding:")) {
            chunked = has_word(line, line_len, "chunked");
        } else if (is_field(line, line_len, "connection:")) {
            if (has_word(line, line_len, "close"))
                close_it = true;
            else if (has_word(line, line_len, "keep-alive"))
                close_it = false;
        }
        line += line_len;
    }
    if (connection->status / 100 == 1)
        return;
    connection->will_close |= close_it;
    connection->differs = false;
    connection->body_at = 0;
    connection->part_left = body_len;
    if (chunked) {
        connection->part = CHUNK_SIZE;
        connection->part_left = 0;
    } else if (!counted) {
        connection->part = BODY_TO_END;
    } else {
        connection->part = BODY;
        if (body_len == 0)
            answer_done(connection, now);
    }
}

static void check_body(struct connection *connection, const char *data, size_t len)
{
    struct kind *kind = connection->kind;
    size_t left = kind->body_len - connection->body_at;
    if (connection->body_at > kind->body_len || len > left ||
        memcmp(kind->body + connection->body_at, data, len) != 0)
        connection->differs = true;
    connection->body_at += len;
}

/* Up to the empty line. Returns how many of the bytes were taken. */
static size_t take_head(struct connection *connection, const char *data, size_t len, uint64_t now)
{
    if (connection->partial_len == 0) {
        const char *end = memmem(data, len, "\r\n\r\n", 4);
        if (end) {
            size_t head_len = (size_t)(end - data) + 4;
            read_head(connection, data, head_len, now);
            return head_len;
        }
    }
    /* Cut: kept, byte after byte, which is slow and rare. */
    size_t old = connection->partial_len;
    connection->partial = realloc(connection->partial, old + len);
    if (!connection->partial)
        fail("memory");
    memcpy(connection->partial + old, data, len);
    connection->partial_len = old + len;
    const char *end = memmem(connection->partial, connection->partial_len, "\r\n\r\n", 4);
    if (!end)
        return len;
    size_t head_len = (size_t)(end - connection->partial) + 4;
    char *head = connection->partial;
    connection->partial = NULL;
    connection->partial_len = 0;
    read_head(connection, head, head_len, now);
    free(head);
    return head_len - old;
}

static size_t take_chunk_size(struct connection *connection, const char *data)
{
    char c = *data;
    if (c == '\n') {
        connection->part_left &= ~(1ULL << 63);
        connection->part = connection->part_left > 0 ? CHUNK_DATA : TRAILERS;
    } else if (c == ';' || c == '\r') {
        connection->part_left |= 1ULL << 63; /* the number is over */
    } else if (!(connection->part_left >> 63)) {
        unsigned digit = c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a' + 10);
        connection->part_left = connection->part_left * 16 + (digit & 15);
    }
    return 1;
}

static size_t take_trailers(struct connection *connection, char c, uint64_t now)
{
    if (c == '\n' && connection->part_left == 0)
        answer_done(connection, now);
    else if (c == '\n')
        connection->part_left = 0;
    else
        connection->part_left += c != '\r';
    return 1;
}

static size_t take_body(struct connection *connection, const char *data, size_t len, uint64_t now)
{
    if (connection->part != BODY_TO_END && len > connection->part_left)
        len = (size_t)connection->part_left;
    check_body(connection, data, len);
    if (connection->part == BODY_TO_END)
        return len;
    connection->part_left -= len;
    if (connection->part_left == 0 && connection->part == BODY)
        answer_done(connection, now);
    else if (connection->part_left == 0)
        connection->part = CHUNK_END;
    return len;
}

static void take(struct connection *connection, const char *data, size_t len, uint64_t now)
{
    while (len > 0) {
        size_t taken = 1;
        if (connection->state != BUSY) {
            if (wrong++ == 0)
                snprintf(first_wrong, sizeof(first_wrong), "%zu bytes that belong to no answer",
                         len);
            return;
        }
        switch (connection->part) {
        case HEAD:
            taken = take_head(connection, data, len, now);
            break;
        case BODY:
        case BODY_TO_END:
        case CHUNK_DATA:
            taken = take_body(connection, data, len, now);
            break;
        case CHUNK_SIZE:
            taken = take_chunk_size(connection, data);
            break;
        case CHUNK_END:
            if (*data == '\n')
                connection->part = CHUNK_SIZE;
            break;
        case TRAILERS:
            taken = take_trailers(connection, *data, now);
            break;
        }
        data += taken;
        len -= taken;
    }
}

static void at_end(struct connection *connection, uint64_t now)
{
    if (connection->state == BUSY && connection->part == BODY_TO_END) {
        connection->will_close = true;
        answer_done(connection, now);
    }
    if (connection->state == BUSY)
        cut_off(connection, now, false);
    else
        closed(connection, now);
}

static void receive(struct connection *connection, uint32_t events)
{
    int fd = connection->fd;
    for (;;) {
        ssize_t got = recv(fd, received, sizeof(received), 0);
        if (got > 0) {
            take(connection, received, (size_t)got, now_ns());
            if (connection->fd != fd ||
                ((size_t)got < sizeof(received) && !(events & (EPOLLRDHUP | EPOLLHUP))))
                return;
        } else if (got == 0) {
            at_end(connection, now_ns());
            return;
        } else if (errno == EAGAIN) {
            return;
        } else if (connection->state == BUSY) {
            cut_off(connection, now_ns(), errno == ECONNREFUSED);
            return;
        } else {
            closed(connection, now_ns());
            return;
        }
    }
}

static void on_event(struct connection *connection, uint32_t events)
{
    if (connection->fd < 0)
        return;
    if (connection->state == BUSY && connection->sent < connection->kind->batch_len)
        send_batch(connection);
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        receive(connection, events);
}

/* ------------------------------------------------------------------------------------------ runs
 */

/* Wait until something happens, at most until `until`. */
static void turn(uint64_t until)
{
    struct epoll_event events[256];
    uint64_t now = now_ns(), left = until > now ? until - now : 0;
    struct timespec timeout = {(time_t)(left / 1000000000U), (long)(left % 1000000000U)};
    int count = epoll_pwait2(epoll_fd, events, 256, &timeout, NULL);
    if (count < 0 && errno != EINTR)
        fail("epoll_pwait2");
    for (int i = 0; i < count; i++)
        on_event(events[i].data.ptr, events[i].events);
}

/* Those that broke are opened again, a while later. */
static void revive(uint64_t now)
{
    for (unsigned i = 0; i < options.connections; i++) {
        if (connections[i].state != DEAD)
            continue;
        if (options.rate > 0)
            make_free(&connections[i]);
        else
            begin(&connections[i], now);
    }
}

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* As fast as answers come. */
static void run_closed(uint64_t start)
{
    for (unsigned i = 0; i < options.connections; i++)
        begin(&connections[i], start);
    uint64_t now, retry = start + RETRY_NS;
    while ((now = now_ns()) < end_ns) {
        if (now >= retry) {
            revive(now);
            retry = now + RETRY_NS;
        }
        turn(min_of(retry, end_ns));
    }
}

/* At the rate. Returns the requests that were due and never sent. */
static uint64_t run_open(uint64_t start)
{
    double gap = 1e9 * options.pipeline / options.rate;
    uint64_t total = (uint64_t)(options.seconds * 1e9 / gap), next = 0;
    uint64_t now, retry = start + RETRY_NS;
    for (unsigned i = 0; i < options.connections; i++)
        make_free(&connections[i]);
    while ((now = now_ns()) < end_ns) {
        uint64_t due = end_ns;
        while (next < total && free_count > 0) {
            due = start + (uint64_t)((double)next * gap);
            if (due > now)
                break;
            unsigned index = free_ring[free_head];
            free_head = (free_head + 1) % options.connections;
            free_count--;
            next++;
            begin(&connections[index], due);
        }
        if (now >= retry) {
            revive(now);
            retry = now + RETRY_NS;
        }
        turn(min_of(min_of(retry, end_ns), free_count > 0 && next < total ? due : end_ns));
    }
    /* Those that are due and unsent waited at least until now. */
    for (uint64_t i = next; i < total; i++)
        count_latency(any_kind(), start + (uint64_t)((double)i * gap), now);
    return (total - next) * options.pipeline;
}

/* Those that only stay open: each is answered once. */
static void open_idle(void)
{
    uint64_t now = now_ns(), answered = 0, last = now, give_up = now + OPEN_NS;
    unsigned opened = 0;
    while (idle_answered < options.idle && now < give_up && now < last + STUCK_NS) {
        if (idle_answered > answered) {
            answered = idle_answered;
            last = now;
        }
        while (opened < options.idle && busy_count < OPENING)
            begin(&connections[options.connections + opened++], now);
        if (opened == options.idle && busy_count == 0)
            break;
        turn(now + RETRY_NS);
        now = now_ns();
    }
    lost = refused = 0;
}

static unsigned idle_open(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < options.idle; i++) {
        struct connection *connection = &connections[options.connections + i];
        count += connection->fd >= 0 && connection->state == HELD;
    }
    return count;
}

static uint64_t unanswered(void)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < options.connections; i++)
        count += connections[i].state == BUSY ? connections[i].left : 0;
    return count;
}

static unsigned unclosed(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < options.connections; i++)
        count += connections[i].state == CLOSING;
    return count;
}

static void print_results(double seconds, uint64_t unsent)
{
    printf("{\"seconds\": %.6f, \"in_time\": %llu, \"wrong\": %llu, \"first_wrong\": \"%s\", "
           "\"lost\": %llu, \"refused\": %llu, \"unanswered\": %llu, \"unclosed\": %u, "
           "\"unsent\": %llu, "
           "\"idle_answered\": %llu, \"idle_open\": %u, \"kinds\": [",
           seconds, (unsigned long long)in_time, (unsigned long long)wrong, first_wrong,
           (unsigned long long)lost, (unsigned long long)refused, (unsigned long long)unanswered(),
           unclosed(), (unsigned long long)unsent, (unsigned long long)idle_answered, idle_open());
    for (unsigned k = 0; k < kind_count; k++) {
        printf("%s{\"answers\": %llu, \"histogram\": [", k ? ", " : "",
               (unsigned long long)kinds[k].answers);
        const char *comma = "";
        for (unsigned i = 0; i < BUCKETS; i++) {
            if (kinds[k].latency[i] == 0)
                continue;
            printf("%s[%.1f, %llu]", comma, bucket_value(i),
                   (unsigned long long)kinds[k].latency[i]);
            comma = ", ";
        }
        printf("]}");
    }
    printf("]}\n");
    fflush(stdout);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "r");
    if (!file || fseek(file, 0, SEEK_END) < 0)
        fail(path);
    *len = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*len + 1);
    if (!data || fread(data, 1, *len, file) != *len)
        fail(path);
    fclose(file);
    return data;
}

static void read_kind(char *text)
{
    struct kind *kind = &kinds[kind_count++];
    char *request = strchr(text, ':'), *body = request ? strchr(request + 1, ':') : NULL;
    if (!body) {
        fprintf(stderr, "load: not SHARE:REQUEST:BODY: %s\n", text);
        exit(2);
    }
    *body++ = *request++ = '\0';
    kind->share = (unsigned)atoi(text);
    kind->body = read_file(body, &kind->body_len);
    size_t len;
    char *once = read_file(request, &len);
    kind->batch_len = len * options.pipeline;
    kind->batch = malloc(kind->batch_len);
    if (!kind->batch)
        fail("memory");
    for (unsigned i = 0; i < options.pipeline; i++)
        memcpy(kind->batch + i * len, once, len);
    free(once);
}

static const struct option names[] = {
    {"seconds", required_argument, NULL, 's'},
    {"rate", required_argument, NULL, 'r'},
    {"connections", required_argument, NULL, 'c'},
    {"pipeline", required_argument, NULL, 'p'},
    {"idle", required_argument, NULL, 'i'},
    {"status", required_argument, NULL, 't'},
    {"drain", required_argument, NULL, 'd'},
    {"close", no_argument, NULL, 'x'},
    {NULL, 0, NULL, 0},
};

static void usage(void)
{
    fputs("usage: load [--seconds S] [--rate N] [--connections N] [--pipeline N] [--close]\n"
          "            [--idle N] [--status N] [--drain S] PORT SHARE:REQUEST:BODY...\n",
          stderr);
    exit(2);
}

static void read_options(int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0) {
        switch (option) {
        case 's':
            options.seconds = atof(optarg);
            break;
        case 'r':
            options.rate = atof(optarg);
            break;
        case 'c':
            options.connections = (unsigned)atoi(optarg);
            break;
        case 'p':
            options.pipeline = (unsigned)atoi(optarg);
            break;
        case 'i':
            options.idle = (unsigned)atoi(optarg);
            break;
        case 't':
            options.status = atoi(optarg);
            break;
        case 'd':
            options.drain = atof(optarg);
            break;
        case 'x':
            options.close = true;
            break;
        default:
            usage();
        }
    }
    if (argc - optind < 2 || argc - optind - 1 > MAX_KINDS || options.connections == 0 ||
        options.pipeline == 0)
        usage();
    options.port = atoi(argv[optind]);
    for (int i = optind + 1; i < argc; i++)
        read_kind(argv[i]);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prctl(PR_SET_TIMERSLACK, 1UL);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc(options.connections + options.idle, sizeof(*connections));
    free_ring = calloc(options.connections, sizeof(*free_ring));
    if (!connections || !free_ring || epoll_fd < 0)
        fail("memory");
    for (unsigned i = 0; i < options.connections + options.idle; i++)
        connections[i] = (struct connection){.fd = -1, .idle = i >= options.connections};
    end_ns = UINT64_MAX;
    open_idle();
    printf("ready %llu\n", (unsigned long long)idle_answered);
    fflush(stdout);
    if (getchar() == EOF)
        return 0;

    uint64_t start = now_ns(), unsent = 0;
    end_ns = start + (uint64_t)(options.seconds * 1e9);
    sending = true;
    if (options.rate > 0)
        unsent = run_open(start);
    else
        run_closed(start);
    sending = false;
    uint64_t give_up = now_ns() + (uint64_t)(options.drain * 1e9);
    while (busy_count + unclosed() > 0 && now_ns() < give_up)
        turn(give_up);
    print_results(options.seconds, unsent);
    return 0;
}
