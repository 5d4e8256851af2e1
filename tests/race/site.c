/* The worker of a round, its threads and its handler. */
#include "race.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/worker.h"
#include "socket/listener.h"
#include "trace/recorder.h"

#define PIECE 20000

/* All but `race` is guarded by the lock, which is the worker's. */
struct site {
    struct race *race;
    struct worker *worker;
    pthread_mutex_t lock;
    struct recording *recording;
    pthread_t keeper;
    pthread_t threads[64];
    unsigned thread_count;
    unsigned helpers; /* threads that handlers have started */
    unsigned lent, returned;
    unsigned kept, let_off; /* exchanges, and those of them that are over */
};

static void take_lock(struct site *site)
{
    if (pthread_mutex_lock(&site->lock) != 0)
        abort(); /* this thread has it */
}

static void give_lock(struct site *site)
{
    if (pthread_mutex_unlock(&site->lock) != 0)
        abort(); /* this thread does not have it */
}

static void *site_unlock(void *context)
{
    give_lock(context);
    return context;
}

static void site_lock(void *context, void *token)
{
    struct site *site = context;
    if (token != site)
        fail(site->race, "lock got another token than unlock gave");
    take_lock(site);
}

/* Let others go on for so long. */
static void site_rest(struct site *site, uint64_t us)
{
    give_lock(site);
    sleep_us(us);
    take_lock(site);
}

static void compute(uint64_t us)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    do
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    while ((uint64_t)(now.tv_sec - begin.tv_sec) * 1000000 +
               (uint64_t)(now.tv_nsec / 1000 - begin.tv_nsec / 1000) <
           us);
}

/* --------------------------------------------------------------------------------------- answers
 */

static bool parse_order(struct order *order, struct slice path)
{
    char text[100], *at;
    if (path.len >= sizeof(text) || path.data[0] != '/')
        return false;
    memcpy(text, path.data, path.len);
    text[path.len] = '\0';
    for (int kind = 0; kind < ORDER_COUNT; kind++) {
        size_t len = strlen(order_paths[kind]);
        if (memcmp(text + 1, order_paths[kind], len) != 0 || text[1 + len] != '/')
            continue;
        *order = (struct order){.kind = (enum order_kind)kind};
        order->id = strtoull(text + len + 2, &at, 10);
        order->size = (size_t)strtoull(at + 1, &at, 10);
        return *at == '\0' && order->id < IDS_MOST;
    }
    return false;
}

static void release_piece(void *object)
{
    ((struct site *)object)->returned++;
}

/* The head and the line with the number. */
static int begin_answer(struct exchange *exchange, const struct order *order, size_t size)
{
    struct response_fields facts = {0};
    char line[ID_LINE + 1];
    bool chunked = order->id % 3 == 0;
    int result = exchange_send_head(exchange, 200, SLICE("OK"), NULL, 0, &facts,
                                    chunked ? -1 : (int64_t)(ID_LINE + size));
    snprintf(line, sizeof(line), "%020llu\n", (unsigned long long)order->id);
    if (result == 0)
        result = exchange_send(exchange, slice_of(line, ID_LINE), (struct lender){0});
    return result < 0 ? result : 0;
}

/* Queue the next piece and offer it to the kernel. */
static int send_piece(struct site *site, struct exchange *exchange, struct order *order)
{
    size_t left = order->size - order->done;
    size_t len = left < PIECE ? left : PIECE;
    struct lender lender = {release_piece, site};
    int result = exchange_send(exchange, slice_of(pattern(order->id, order->done), len), lender);
    if (result < 0)
        return result;
    site->lent += result == EXCHANGE_KEPT;
    order->done += len;
    return exchange_flush(exchange);
}

static void end_answer(struct exchange *exchange, const struct order *order, int result)
{
    if (result < 0 && !exchange_head_sent(exchange))
        exchange_refuse(exchange, HTTP_INTERNAL_ERROR);
    else if (result < 0 || order->done < order->size)
        exchange_abort(exchange);
    else
        exchange_finish(exchange);
}

static void answer(struct site *site, struct exchange *exchange, struct order *order)
{
    int result = begin_answer(exchange, order, order->size);
    while (result == 0 && order->done < order->size)
        result = send_piece(site, exchange, order);
    end_answer(exchange, order, result);
}

/* Of an order with a body, that was read: the number alone. */
static void answer_body(struct exchange *exchange, const struct order *order, int result)
{
    if (result < 0) {
        enum http_refusal refusal = exchange_body_refusal(exchange);
        exchange_refuse(exchange, refusal == HTTP_ACCEPTED ? HTTP_INTERNAL_ERROR : refusal);
        return;
    }
    if (begin_answer(exchange, order, 0) < 0)
        exchange_abort(exchange);
    else
        exchange_finish(exchange);
}

static void stream(struct site *site, struct exchange *exchange, struct order *order)
{
    int result = begin_answer(exchange, order, order->size);
    while (result == 0 && order->done < order->size) {
        result = send_piece(site, exchange, order);
        if (result == 0 && exchange_pending(exchange) > 0)
            result = worker_wait(site->worker, exchange, WORKER_WAIT_DRAINED);
    }
    end_answer(exchange, order, result);
}

/* Go on with an exchange that was kept, or begin to keep it: one piece, or as many as there is room
 * for. */
static void go_on(struct site *site, struct exchange *exchange, struct order *order)
{
    int result = exchange_is_orphan(exchange) ? -EPIPE : 0;
    while (result == 0 && order->done < order->size) {
        result = send_piece(site, exchange, order);
        if (result == 0 && exchange_pending(exchange) > 0)
            return;
        if (result == 0 && order->kind == ORDER_TURNS && order->done < order->size) {
            exchange_yield(exchange);
            return;
        }
    }
    end_answer(exchange, order, result);
    site->let_off++;
    free(order);
}

static void keep(struct site *site, struct exchange *exchange, const struct order *order)
{
    struct order *kept = malloc(sizeof(*kept));
    *kept = *order;
    site->kept++;
    exchange_set_user(exchange, kept);
    int result = begin_answer(exchange, kept, kept->size);
    if (result == 0) {
        go_on(site, exchange, kept);
        return;
    }
    end_answer(exchange, kept, result);
    site->let_off++;
    free(kept);
}

/* ---------------------------------------------------------------------------------------- bodies
 */

static int read_body(struct site *site, struct exchange *exchange, const struct order *order)
{
    uint64_t state = site->race->seed ^ order->id;
    size_t got = 0;
    char data[8192];
    for (;;) {
        size_t most = 1 + (size_t)chance_below(&state, sizeof(data));
        ssize_t n = exchange_read(exchange, data, most);
        if (n == -EAGAIN) {
            n = worker_wait(site->worker, exchange, WORKER_WAIT_READABLE);
            if (n == 0)
                continue;
        }
        if (n <= 0) {
            if (n == 0 && got != order->size)
                fail(site->race, "body of %llu: %zu bytes instead of %zu",
                     (unsigned long long)order->id, got, order->size);
            return (int)n;
        }
        if (got + (size_t)n > order->size ||
            memcmp(data, pattern(order->id, got), (size_t)n) != 0) {
            fail(site->race, "body of %llu: wrong bytes at %zu", (unsigned long long)order->id,
                 got);
            return -EBADMSG;
        }
        got += (size_t)n;
        if (chance_below(&state, 8) == 0)
            site_rest(site, chance_below(&state, 300));
    }
}

/* A thread that a handler has started and that reads for it. `waits`: it is in worker_wait, or will
 * be before it lets go of the lock. Whoever is last frees it. */
struct helper {
    struct site *site;
    struct exchange *exchange;
    struct order order;
    bool waits, done, forgotten;
    int result;
};

static void helper_end(struct helper *helper)
{
    helper->done = true;
    helper->site->helpers--;
    if (helper->forgotten)
        free(helper);
}

static void *helper_run(void *context)
{
    struct helper *helper = context;
    struct site *site = helper->site;
    take_lock(site);
    if (helper->order.kind == ORDER_HELPED) {
        helper->result = read_body(site, helper->exchange, &helper->order);
    } else {
        char byte;
        helper->waits = exchange_read(helper->exchange, &byte, 1) == -EAGAIN;
        if (helper->waits) /* the exchange may be over when this returns */
            worker_wait(site->worker, helper->exchange, WORKER_WAIT_READABLE);
    }
    helper_end(helper);
    give_lock(site);
    return NULL;
}

static struct helper *helper_start(struct site *site, struct exchange *exchange,
                                   const struct order *order)
{
    pthread_t thread;
    struct helper *helper = calloc(1, sizeof(*helper));
    *helper = (struct helper){.site = site, .exchange = exchange, .order = *order};
    site->helpers++;
    if (pthread_create(&thread, NULL, helper_run, helper) != 0)
        abort();
    pthread_detach(thread);
    return helper;
}

/* A thread of the handler's reads the body. */
static void be_helped(struct site *site, struct exchange *exchange, const struct order *order)
{
    struct helper *helper = helper_start(site, exchange, order);
    while (!helper->done)
        site_rest(site, 200);
    answer_body(exchange, order, helper->result);
    free(helper);
}

/* It waits for the body when the answer is over already. */
static void abandon(struct site *site, struct exchange *exchange, const struct order *order)
{
    struct helper *helper = helper_start(site, exchange, order);
    while (!helper->done && !helper->waits)
        site_rest(site, 200);
    answer_body(exchange, order, 0);
    helper->forgotten = true;
    if (helper->done)
        free(helper);
}

/* --------------------------------------------------------------------------------------- handler
 */

static void let_go(struct site *site, struct exchange *exchange, struct order *order)
{
    worker_let_go(site->worker, exchange);
    if (order->id & 1)
        site_rest(site, 1000);
    else
        compute(500);
    answer(site, exchange, order);
}

static void abort_answer(struct exchange *exchange, const struct order *order)
{
    if (begin_answer(exchange, order, 1000) == 0)
        exchange_flush(exchange);
    exchange_abort(exchange);
}

static void serve_order(struct site *site, struct exchange *exchange, struct order *order)
{
    uint64_t state = site->race->seed * 31 + order->id;
    switch (order->kind) {
    case ORDER_SLEEP:
        site_rest(site, chance_below(&state, 4000));
        break;
    case ORDER_LONG:
        site_rest(site, 50000 + chance_below(&state, 250000));
        break;
    case ORDER_COMPUTE:
        compute(chance_below(&state, 3000));
        break;
    case ORDER_AWAY:
        give_lock(site);
        compute(chance_below(&state, 3000));
        take_lock(site);
        break;
    case ORDER_LET_GO:
        let_go(site, exchange, order);
        return;
    case ORDER_STREAM:
        stream(site, exchange, order);
        return;
    case ORDER_KEPT:
    case ORDER_TURNS:
        keep(site, exchange, order);
        return;
    case ORDER_BODY:
        if (order->id % 4 == 0) /* what came along with the head must outlive this */
            site_rest(site, 1500);
        answer_body(exchange, order, read_body(site, exchange, order));
        return;
    case ORDER_HELPED:
        be_helped(site, exchange, order);
        return;
    case ORDER_ABANDONED:
        abandon(site, exchange, order);
        return;
    case ORDER_UNREAD:
        answer_body(exchange, order, 0);
        return;
    case ORDER_REFUSED:
        exchange_refuse(exchange, HTTP_INTERNAL_ERROR);
        return;
    case ORDER_ABORTED:
        abort_answer(exchange, order);
        return;
    case ORDER_QUICK:
    case ORDER_COUNT:
        break;
    }
    answer(site, exchange, order);
}

static void on_request(void *context, struct exchange *exchange)
{
    struct site *site = context;
    struct order order;
    if (!parse_order(&order, exchange_head(exchange)->path)) {
        fail(site->race, "a request that nobody has sent");
        exchange_refuse(exchange, HTTP_INTERNAL_ERROR);
        return;
    }
    if (site->race->called[order.id]++ > 0)
        fail(site->race, "request %llu came twice", (unsigned long long)order.id);
    serve_order(site, exchange, &order);
}

static void on_writable(void *context, struct exchange *exchange)
{
    struct site *site = context;
    struct order *order = exchange_user(exchange);
    if (order->id % 5 == 0)
        site_rest(site, 300);
    go_on(site, exchange, order);
}

static void on_abort(void *context, struct exchange *exchange)
{
    struct site *site = context;
    free(exchange_user(exchange));
    if (site->let_off % 3 == 0)
        site_rest(site, 300);
    site->let_off++;
}

/* --------------------------------------------------------------------------------------- threads
 */

static void *follow(void *context)
{
    struct site *site = context;
    if (site->recording && recorder_attach(site->recording) < 0)
        abort();
    take_lock(site);
    int result = worker_follow(site->worker);
    give_lock(site);
    recorder_detach();
    if (result < 0)
        fail(site->race, "a thread cannot take part: %d", result);
    return NULL;
}

static int spawn(void *context)
{
    struct site *site = context;
    if (site->thread_count >= site->race->round.threads) {
        fail(site->race, "more threads than were allowed");
        return -1;
    }
    if (pthread_create(&site->threads[site->thread_count], NULL, follow, site) != 0)
        abort();
    site->thread_count++;
    return 0;
}

static void on_signal(int number)
{
    (void)number;
}

static bool round_goes_on(const struct race *race, uint64_t end_ms)
{
    if (atomic_load(&race->failures) > 0)
        return false;
    return race->round.calm ? atomic_load(&race->done) < race->round.clients : now_ms() < end_ms;
}

/* Ends the round. Until then it interrupts the keeper now and then, where others do so too. */
static void *stop_later(void *context)
{
    struct site *site = context;
    struct race *race = site->race;
    uint64_t state = race->seed + 7;
    uint64_t end_ms = now_ms() + race->round.for_ms;
    while (round_goes_on(race, end_ms)) {
        sleep_us(1000 + chance_below(&state, 20000));
        if (!race->round.calm)
            pthread_kill(site->keeper, SIGUSR1);
    }
    atomic_store(&race->stopping, true);
    worker_stop(site->worker);
    return NULL;
}

/* Each request that was called has exactly one line in the access log, no other more than one. */
static void check_log(struct race *race, FILE *log)
{
    uint8_t *lines = calloc(IDS_MOST, 1);
    char line[1000];
    rewind(log);
    while (fgets(line, sizeof(line), log)) {
        char *path = strchr(line, '"'), *id = path ? strchr(path, '/') : NULL;
        id = id ? strchr(id + 1, '/') : NULL;
        uint64_t number = id ? strtoull(id + 1, NULL, 10) : 0;
        if (id && number < IDS_MOST)
            lines[number]++;
    }
    for (uint64_t id = 1; id < IDS_MOST; id++)
        if (lines[id] > 1 || (race->called[id] && lines[id] == 0))
            fail(race, "request %llu has %d lines in the access log", (unsigned long long)id,
                 lines[id]);
    free(lines);
    fclose(log);
}

static struct worker_config site_config(struct site *site, int log_fd)
{
    struct worker_config config = {
        .limits = limits_default,
        .handler = {on_request, on_writable, on_abort, site},
        .access_log_fd = log_fd,
        .threads = site->race->round.threads,
        .spawn = spawn,
        .unlock = site_unlock,
        .lock = site_lock,
        .context = site,
    };
    config.limits.head_ms = 1000;
    config.limits.graceful_ms = site->race->round.graceful_ms;
    config.limits.queue = site->race->round.queue;
    return config;
}

static void site_open(struct site *site, int log_fd)
{
    struct error err = {0};
    struct address addr;
    struct listener_options options = {.backlog = 1024};
    struct worker_config config = site_config(site, log_fd);
    int fd;
    if (address_parse(&addr, "127.0.0.1:0", &err) < 0 ||
        (fd = listener_open(&addr, &options, &err)) < 0 ||
        worker_new(&site->worker, &config, &err) < 0 ||
        worker_listen(site->worker, fd, &addr, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    site->race->port = address_port(&addr);
}

/* The threads that are still in handlers come back, and helpers end. */
static void wait_for_threads(struct site *site)
{
    uint64_t end_ms = now_ms() + 20000;
    while ((worker_threads_left(site->worker) > 0 || site->helpers > 0) && now_ms() < end_ms)
        site_rest(site, 1000);
    if (worker_threads_left(site->worker) > 0 || site->helpers > 0) {
        fprintf(stderr, "%u threads and %u helpers are left\n", worker_threads_left(site->worker),
                site->helpers);
        abort();
    }
}

static void site_check(struct site *site)
{
    struct race *race = site->race;
    if (site->lent != site->returned)
        fail(race, "%u pieces lent, %u returned", site->lent, site->returned);
    if (site->kept != site->let_off)
        fail(race, "%u exchanges kept, %u let off", site->kept, site->let_off);
}

void site_run(struct race *race)
{
    struct site site = {.race = race, .keeper = pthread_self()};
    struct sigaction action = {.sa_handler = on_signal};
    struct error err = {0};
    pthread_t stopper;
    FILE *log = tmpfile();
    pthread_mutexattr_t checked;
    pthread_mutexattr_init(&checked);
    pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&site.lock, &checked);
    sigaction(SIGUSR1, &action, NULL);
    if (race->round.recorded &&
        (recording_create(&site.recording, 0, &err) < 0 || recorder_attach(site.recording) < 0))
        abort();
    take_lock(&site);
    site_open(&site, fileno(log));
    struct crowd *crowd = crowd_start(race);
    pthread_create(&stopper, NULL, stop_later, &site);
    if (worker_run(site.worker, &err) < 0)
        fail(race, "%s", err.text);
    give_lock(&site);
    pthread_join(stopper, NULL);
    take_lock(&site);
    wait_for_threads(&site);
    worker_free(site.worker);
    give_lock(&site);
    for (unsigned i = 0; i < site.thread_count; i++)
        pthread_join(site.threads[i], NULL);
    crowd_join(crowd);
    recorder_detach();
    if (site.recording)
        recording_close(site.recording, true);
    site_check(&site);
    check_log(race, log);
    pthread_mutex_destroy(&site.lock);
}
