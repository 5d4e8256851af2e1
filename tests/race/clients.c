/* The clients of a round: threads with blocking sockets that know what each answer must be. */
#include "race.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_S 20
#define BATCH_MOST 12
/* A client that the machine has kept from sending for so long may be told that it is too slow. */
#define LATE_MS 400

struct client {
    struct race *race;
    uint64_t state; /* chance */
    int fd;
    uint64_t begin_ms;
    size_t begin, end; /* of what was received and not used */
    char data[16384];
};

/* How an answer has ended. */
enum reply {
    REPLY_WHOLE,  /* and another may follow */
    REPLY_LAST,   /* whole, and the connection ends */
    REPLY_BROKEN, /* cut, turned away, or nothing at all: so does this */
};

struct head {
    int status;
    bool closes, chunked, retry;
    long long length; /* -1: none */
};

static bool lucky(struct client *client, unsigned one_in)
{
    return chance_below(&client->state, one_in) == 0;
}

static bool stopping(const struct client *client)
{
    return atomic_load(&client->race->stopping);
}

static bool client_open(struct client *client, int receive_buffer)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr = {htonl(INADDR_LOOPBACK)},
                               .sin_port = htons(client->race->port)};
    struct timeval patience = {PATIENCE_S, 0};
    int yes = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    client->begin = client->end = 0;
    client->begin_ms = now_ms();
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    if (receive_buffer)
        setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    if (connect(client->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return true;
    if (!stopping(client))
        fail(client->race, "connect: %s", strerror(errno));
    close(client->fd);
    return false;
}

static void client_close(struct client *client)
{
    close(client->fd);
}

static void client_reset(struct client *client)
{
    struct linger linger = {1, 0};
    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(client->fd);
}

/* --------------------------------------------------------------------------------------- sending
 */

static struct order next_order(struct client *client, unsigned bodies)
{
    static const struct {
        unsigned weight;
        bool has_body;
    } kinds[ORDER_COUNT] = {
#define X(name, path, weight, has_body) {weight, has_body},
        ORDERS(X)
#undef X
    };
    struct order order = {0};
    unsigned sum = 0;
    for (int i = 0; i < ORDER_COUNT; i++)
        sum += kinds[i].has_body && !bodies ? 0 : kinds[i].weight;
    uint64_t at = chance_below(&client->state, sum);
    for (int i = 0; i < ORDER_COUNT; i++) {
        unsigned weight = kinds[i].has_body && !bodies ? 0 : kinds[i].weight;
        if (at < weight) {
            order.kind = (enum order_kind)i;
            break;
        }
        at -= weight;
    }
    order.id = atomic_fetch_add(&client->race->next_id, 1);
    if (order.id >= IDS_MOST) {
        fprintf(stderr, "too many requests in a round\n");
        abort();
    }
    static const size_t sizes[] = {0, 10, 700, 5000, 30000};
    order.size = sizes[chance_below(&client->state, 5)];
    if (order.kind == ORDER_STREAM || order.kind == ORDER_KEPT || order.kind == ORDER_TURNS)
        order.size = chance_below(&client->state, 300000);
    if (kinds[order.kind].has_body && order.size == 0)
        order.size = 1;
    return order;
}

/* Send all, in pieces where the dice say so. Returns false when the server does not take it. */
static bool client_send(struct client *client, const char *data, size_t len)
{
    bool cut = lucky(client, 4);
    while (len > 0) {
        size_t size = cut ? 1 + (size_t)chance_below(&client->state, len) : len;
        ssize_t n = send(client->fd, data, size, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN)
                fail(client->race, "the server takes nothing for %d s", PATIENCE_S);
            return false;
        }
        data += n;
        len -= (size_t)n;
        if (cut)
            sleep_us(chance_below(&client->state, 500));
    }
    return true;
}

/* The request's head. `framing`: "" or field lines. */
static size_t write_head(char *out, const struct order *order, const char *framing)
{
    return (size_t)sprintf(out, "%s /%s/%llu/%zu HTTP/1.1\r\nHost: x\r\n%s\r\n",
                           *framing ? "POST" : "GET", order_paths[order->kind],
                           (unsigned long long)order->id, order->size, framing);
}

/* The body as a Content-Length or chunks frame it. */
static size_t write_body(struct client *client, char *out, const struct order *order, bool chunked)
{
    size_t len = 0;
    for (size_t at = 0; at < order->size;) {
        size_t size = order->size - at < PATTERN_MOST ? order->size - at : PATTERN_MOST;
        if (chunked) {
            size = 1 + (size_t)chance_below(&client->state, size);
            len += (size_t)sprintf(out + len, "%zx\r\n", size);
        }
        memcpy(out + len, pattern(order->id, at), size);
        at += size;
        len += size;
        if (chunked)
            len += (size_t)sprintf(out + len, "\r\n");
    }
    if (chunked)
        len += (size_t)sprintf(out + len, "0\r\n\r\n");
    return len;
}

/* Room for a request of at most 30,000 bytes of body in chunks, of which some are small. */
#define REQUEST_ROOM 400000

static size_t write_request(struct client *client, char *out, const struct order *order,
                            const char *expect, size_t *head_len)
{
    char framing[100] = "";
    bool chunked = false, has_body = order->kind >= ORDER_BODY && order->kind <= ORDER_ABANDONED;
    if (has_body) {
        chunked = lucky(client, 3);
        if (chunked)
            snprintf(framing, sizeof(framing), "Transfer-Encoding: chunked\r\n%s", expect);
        else
            snprintf(framing, sizeof(framing), "Content-Length: %zu\r\n%s", order->size, expect);
    }
    *head_len = write_head(out, order, framing);
    return *head_len + (has_body ? write_body(client, out + *head_len, order, chunked) : 0);
}

/* ------------------------------------------------------------------------------------- receiving
 */

/* Returns bytes that are there, at least one; 0: the end; -1: a reset. */
static ssize_t client_fill(struct client *client)
{
    if (client->begin < client->end)
        return (ssize_t)(client->end - client->begin);
    ssize_t n = recv(client->fd, client->data, sizeof(client->data), 0);
    client->begin = 0;
    client->end = n > 0 ? (size_t)n : 0;
    if (n < 0 && errno == EAGAIN)
        fail(client->race, "no answer in %d s", PATIENCE_S);
    return n;
}

/* A line without its end; false: it is not whole. */
static bool read_line(struct client *client, char *line, size_t room)
{
    size_t len = 0;
    while (client_fill(client) > 0 && len < room - 1) {
        char byte = client->data[client->begin++];
        if (byte == '\n') {
            line[len > 0 ? len - 1 : 0] = '\0';
            return true;
        }
        line[len++] = byte;
    }
    return false;
}

/* Read a head. Returns false when there is none. */
static bool read_head(struct client *client, struct head *head)
{
    char line[1000];
    *head = (struct head){.length = -1};
    if (!read_line(client, line, sizeof(line)))
        return false;
    if (sscanf(line, "HTTP/1.1 %d ", &head->status) != 1) {
        fail(client->race, "not a status line: %.100s", line);
        return false;
    }
    while (read_line(client, line, sizeof(line))) {
        if (!*line)
            return true;
        if (strcasecmp(line, "Connection: close") == 0)
            head->closes = true;
        else if (strcasecmp(line, "Transfer-Encoding: chunked") == 0)
            head->chunked = true;
        else if (strncasecmp(line, "Retry-After:", 12) == 0)
            head->retry = true;
        else if (strncasecmp(line, "Content-Length:", 15) == 0)
            head->length = strtoll(line + 15, NULL, 10);
    }
    return false;
}

/* The next `len` bytes of the answer to `order`, from `at` on. `slow`: take one's time. */
static bool read_bytes(struct client *client, const struct order *order, size_t at, size_t len,
                       bool slow)
{
    char line[ID_LINE + 1];
    snprintf(line, sizeof(line), "%020llu\n", (unsigned long long)order->id);
    while (len > 0) {
        ssize_t here = client_fill(client);
        if (here <= 0)
            return false;
        size_t n = (size_t)here < len ? (size_t)here : len;
        if (at < ID_LINE && n > ID_LINE - at)
            n = ID_LINE - at;
        const char *want = at < ID_LINE ? line + at : pattern(order->id, at - ID_LINE);
        if (memcmp(client->data + client->begin, want, n) != 0) {
            fail(client->race, "%s %llu: wrong bytes at %zu: %.30s", order_paths[order->kind],
                 (unsigned long long)order->id, at, client->data + client->begin);
            return false;
        }
        client->begin += n;
        at += n;
        len -= n;
        if (slow && lucky(client, 8))
            sleep_us(chance_below(&client->state, 3000));
    }
    return true;
}

/* What must come behind the line with the number. */
static size_t size_of_answer(const struct order *order)
{
    bool has_body = order->kind >= ORDER_BODY && order->kind <= ORDER_ABANDONED;
    return has_body ? 0 : order->size;
}

/* Read the content of a 200. Returns whether it is whole. */
static bool read_content(struct client *client, const struct order *order, const struct head *head,
                         bool slow)
{
    size_t want = ID_LINE + size_of_answer(order), at = 0;
    char line[100];
    if (!head->chunked) {
        if (order->kind != ORDER_ABORTED && head->length != (long long)want)
            fail(client->race, "%s %llu: Content-Length %lld", order_paths[order->kind],
                 (unsigned long long)order->id, head->length);
        return read_bytes(client, order, 0, (size_t)head->length, slow);
    }
    while (read_line(client, line, sizeof(line))) {
        size_t size = (size_t)strtoull(line, NULL, 16);
        if (size > want - at) {
            fail(client->race, "%s %llu: too many bytes", order_paths[order->kind],
                 (unsigned long long)order->id);
            return false;
        }
        if (size > 0 && !read_bytes(client, order, at, size, slow))
            return false;
        at += size;
        if (!read_line(client, line, sizeof(line)))
            return false;
        if (size == 0)
            return at == want;
    }
    return false;
}

static void skip_content(struct client *client, const struct head *head)
{
    for (long long left = head->length; left > 0 && client_fill(client) > 0; left--)
        client->begin++;
}

/* Is this status one that the order may get? */
static bool status_fits(struct client *client, const struct order *order, const struct head *head)
{
    const struct round *round = &client->race->round;
    if (order->kind == ORDER_REFUSED && head->status == 500)
        return true;
    if (head->status == 503)
        return round->queue > 0 && head->retry && head->closes;
    if (head->status == 408)
        return now_ms() - client->begin_ms > LATE_MS;
    return stopping(client);
}

static void note(struct client *client, const struct order *order, enum outcome outcome)
{
    client->race->outcomes[order->id] = (uint8_t)outcome;
}

/* An answer that is not a 200. */
static enum reply read_refusal(struct client *client, const struct order *order,
                               const struct head *head)
{
    skip_content(client, head);
    if (!status_fits(client, order, head))
        fail(client->race, "%s %llu: status %d", order_paths[order->kind],
             (unsigned long long)order->id, head->status);
    if (!head->closes)
        fail(client->race, "%s %llu: a refusal that does not close", order_paths[order->kind],
             (unsigned long long)order->id);
    if (head->status == 503 || head->status == 408)
        note(client, order, head->status == 503 ? OUTCOME_UNSERVED : OUTCOME_UNKNOWN);
    else
        note(client, order, OUTCOME_ANSWERED);
    atomic_fetch_add(&client->race->turned_away, 1);
    return REPLY_BROKEN;
}

/* There is no answer, or no whole one. */
static enum reply broken(struct client *client, const struct order *order, bool begun)
{
    if (order->kind == ORDER_ABORTED && begun)
        note(client, order, OUTCOME_ANSWERED);
    else if (!stopping(client) && now_ms() - client->begin_ms < 1000 * (PATIENCE_S - 1))
        fail(client->race, "%s %llu: %s", order_paths[order->kind], (unsigned long long)order->id,
             begun ? "the answer is cut" : "no answer");
    atomic_fetch_add(&client->race->cut, 1);
    return REPLY_BROKEN;
}

/* Read the answer to `order`, whose head may have been read. */
static enum reply read_rest(struct client *client, const struct order *order,
                            const struct head *head, bool slow)
{
    if (head->status != 200)
        return read_refusal(client, order, head);
    if (!read_content(client, order, head, slow))
        return broken(client, order, true);
    if (order->kind == ORDER_ABORTED || order->kind == ORDER_REFUSED)
        fail(client->race, "%s %llu: a whole answer", order_paths[order->kind],
             (unsigned long long)order->id);
    note(client, order, OUTCOME_ANSWERED);
    atomic_fetch_add(&client->race->answered, 1);
    return head->closes ? REPLY_LAST : REPLY_WHOLE;
}

static enum reply read_reply(struct client *client, const struct order *order, bool slow)
{
    struct head head;
    do
        if (!read_head(client, &head))
            return broken(client, order, false);
    while (head.status == 100);
    return read_rest(client, order, &head, slow);
}

/* Nothing may follow but the server's end. */
static void expect_end(struct client *client)
{
    if (client_fill(client) > 0)
        fail(client->race, "bytes behind the last answer: %.40s", client->data + client->begin);
}

/* ------------------------------------------------------------------------------------ behaviours
 */

/* A body that is sent when the server asks for it, or without waiting for that. */
static enum reply ask_first(struct client *client, const struct order *order, char *request)
{
    size_t head_len;
    size_t len = write_request(client, request, order, "Expect: 100-continue\r\n", &head_len);
    struct head head;
    client_send(client, request, head_len);
    bool wait = order->kind == ORDER_ABANDONED || lucky(client, 2);
    if (!wait) {
        client_send(client, request + head_len, len - head_len);
        return read_reply(client, order, false);
    }
    if (!read_head(client, &head))
        return broken(client, order, false);
    if (head.status != 100)
        return read_rest(client, order, &head, false);
    if (order->kind != ORDER_ABANDONED)
        client_send(client, request + head_len, len - head_len);
    return read_reply(client, order, false);
}

/* One request after the other. */
static void steady(struct client *client)
{
    char *request = malloc(REQUEST_ROOM);
    enum reply reply = REPLY_WHOLE;
    if (!client_open(client, 0))
        goto free_request;
    for (uint64_t n = 1 + chance_below(&client->state, 30); n > 0 && reply == REPLY_WHOLE; n--) {
        struct order order = next_order(client, 1);
        bool has_body = order.kind >= ORDER_BODY && order.kind <= ORDER_ABANDONED;
        size_t head_len;
        client->begin_ms = now_ms();
        if (has_body && (order.kind == ORDER_ABANDONED || lucky(client, 2))) {
            reply = ask_first(client, &order, request);
        } else {
            client_send(client, request, write_request(client, request, &order, "", &head_len));
            reply = read_reply(client, &order, false);
        }
        if (lucky(client, 4))
            sleep_us(chance_below(&client->state, 2000));
    }
    if (reply != REPLY_WHOLE)
        expect_end(client);
    client_close(client);
free_request:
    free(request);
}

/* Several requests at once, but for what follows the first that awaits 100 (Continue), which comes
 * unasked; then, perhaps, the end of this side. */
static void pipelined(struct client *client)
{
    struct order orders[BATCH_MOST];
    char *requests = malloc(BATCH_MOST * REQUEST_ROOM);
    size_t len = 0, head_len, cut = 0;
    int count = 1 + (int)chance_below(&client->state, BATCH_MOST), at = 0;
    enum reply reply = REPLY_WHOLE;
    if (!client_open(client, 0))
        goto free_requests;
    for (int i = 0; i < count; i++) {
        bool has_body = lucky(client, 4), expects = has_body && lucky(client, 2);
        do
            orders[i] = next_order(client, has_body);
        while (orders[i].kind == ORDER_ABANDONED);
        size_t added = write_request(client, requests + len, &orders[i],
                                     expects ? "Expect: 100-continue\r\n" : "", &head_len);
        if (expects && cut == 0)
            cut = len + head_len;
        len += added;
    }
    bool half = lucky(client, 3);
    if (cut > 0) {
        client_send(client, requests, cut);
        sleep_us(chance_below(&client->state, 3000));
    }
    client_send(client, requests + cut, len - cut);
    if (half)
        shutdown(client->fd, SHUT_WR);
    while (at < count && reply == REPLY_WHOLE)
        reply = read_reply(client, &orders[at++], lucky(client, 3));
    /* Nothing that follows a last answer is served. */
    for (; at < count; at++)
        note(client, &orders[at], stopping(client) ? OUTCOME_UNKNOWN : OUTCOME_UNSERVED);
    if (reply != REPLY_WHOLE || half)
        expect_end(client);
    client_close(client);
free_requests:
    free(requests);
}

/* Takes its time over a long answer. */
static void slow_reader(struct client *client)
{
    char request[1000];
    if (!client_open(client, 32768))
        return;
    struct order order = next_order(client, 0);
    order.kind = lucky(client, 2) ? ORDER_STREAM : lucky(client, 2) ? ORDER_KEPT : ORDER_TURNS;
    order.size = 100000 + (size_t)chance_below(&client->state, 1000000);
    client_send(client, request, write_head(request, &order, ""));
    read_reply(client, &order, true);
    client_close(client);
}

/* Leaves in the middle of something. */
static void leaver(struct client *client)
{
    char *request = malloc(REQUEST_ROOM);
    size_t head_len;
    if (!client_open(client, 0))
        goto free_request;
    struct order order = next_order(client, 1);
    size_t len = write_request(client, request, &order,
                               lucky(client, 2) ? "Expect: 100-continue\r\n" : "", &head_len);
    if (lucky(client, 2))
        len = 1 + (size_t)chance_below(&client->state, len);
    client_send(client, request, len);
    if (lucky(client, 2))
        sleep_us(chance_below(&client->state, 3000));
    for (uint64_t n = chance_below(&client->state, 3); n > 0 && client_fill(client) > 0; n--)
        client->begin = client->end;
    atomic_fetch_add(&client->race->left, 1);
    if (lucky(client, 3))
        client_close(client);
    else
        client_reset(client);
free_request:
    free(request);
}

/* Says less than a request, and waits until the server has enough of it. */
static void silent(struct client *client)
{
    char request[1000];
    struct head head;
    if (!client_open(client, 0))
        return;
    struct order order = next_order(client, 0);
    size_t len = write_head(request, &order, "");
    client_send(client, request, (size_t)chance_below(&client->state, len - 1));
    if (lucky(client, 4))
        shutdown(client->fd, SHUT_WR);
    if (read_head(client, &head)) {
        if (head.status != 408 && head.status != 400)
            fail(client->race, "%d for half a request", head.status);
        skip_content(client, &head);
    }
    note(client, &order, OUTCOME_UNSERVED);
    expect_end(client);
    client_close(client);
}

/* ----------------------------------------------------------------------------------------- crowd
 */

struct crowd {
    struct race *race;
    pthread_t threads[256];
    struct client clients[256];
};

/* Of a client in a calm round. */
#define CALM_TURNS 10

static void *client_run(void *context)
{
    static void (*const behaviours[])(struct client *) = {
        steady, pipelined, steady, slow_reader, leaver, pipelined, steady, silent,
    };
    struct client *client = context;
    struct race *race = client->race;
    if (race->round.calm) {
        for (int i = 0; i < CALM_TURNS && !stopping(client); i++) {
            behaviours[i % 2](client);
            sleep_us(chance_below(&client->state, 5000));
        }
        atomic_fetch_add(&race->done, 1);
    }
    while (!race->round.calm && !stopping(client))
        behaviours[chance_below(&client->state, sizeof(behaviours) / sizeof(*behaviours))](client);
    return NULL;
}

struct crowd *crowd_start(struct race *race)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    crowd->race = race;
    for (unsigned i = 0; i < race->round.clients; i++) {
        crowd->clients[i].race = race;
        crowd->clients[i].state = race->seed * 1000 + i;
        if (pthread_create(&crowd->threads[i], NULL, client_run, &crowd->clients[i]) != 0)
            abort();
    }
    return crowd;
}

void crowd_join(struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->race->round.clients; i++)
        pthread_join(crowd->threads[i], NULL);
    free(crowd);
}
