/* A worker with several threads: how it starts them, what it is told while they wait, how it ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/exchange_state.h"
#include "server/worker_state.h"
#include "socket/listener.h"

#define THREADS_MOST 4
#define PATIENCE_MS  10000 /* a test that has failed ends, too */

/* All is guarded by `lock`, the worker's, but what says otherwise. */
static struct site {
    struct worker *worker;
    pthread_mutex_t lock;
    pthread_t keeper;
    pthread_t threads[THREADS_MOST];
    unsigned thread_count;
    unsigned thread_most; /* spawn fails beyond */
    int spawn_result;     /* then */
    int client;           /* the peer's end of the one connection; -1: there is none */
    bool stop_in_wait;    /* a stop and a request come while the leader waits */
    bool stop_in_call;    /* or the stop later, and first a request and a connection */
    bool end_in_call;     /* or the keeper ends it all */
    struct address listening;
    int caller;           /* that connection's client; -1: there is none */
    bool saw_stop;        /* the request's handler */
    unsigned aborts;      /* on_abort has returned */
    bool computes;        /* until_apart: as seen by its clock */
    bool was_taken;       /* the lead, from until_apart */
    unsigned checks;      /* by the keeper */
    _Atomic bool is_over; /* not guarded: `check` says no */
    _Atomic bool has_run; /* not guarded: worker_run has returned */
    sem_t arrivals;       /* of application threads that wait, or are back */
    sem_t leader_waits;
    int other;          /* the peer's end of a second connection */
    bool stop_in_heads; /* a stop comes in the middle of both requests' heads */
    bool rest_in_wait;  /* the rest of a request head comes while the leader waits */
    bool waits_idly;    /* the leader waits, though all is done */
    unsigned calls;     /* of a handler that counts them */
    bool head_stayed;   /* outlive_connection: it is what it was */
    char message[300];
} site;

static void rest(unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

static bool is_keeper(void)
{
    return pthread_equal(pthread_self(), site.keeper);
}

#define HELLO "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/* Does this application thread lead, and is about to wait for events? */
static bool waits_as_leader(void)
{
    clockid_t clock = 0;
    pthread_getcpuclockid(pthread_self(), &clock);
    return site.worker->waiting && !is_keeper() && site.worker->lead.leader->cpu_clock == clock;
}

/* What happened before is of no matter, so that the stop is what the loop is told of first. */
static void send_stop_and_request(void)
{
    struct epoll_event events[8];
    epoll_wait(site.worker->loop.epoll_fd, events, 8, 0);
    bool stop_now = !site.stop_in_call && !site.end_in_call;
    if (stop_now)
        worker_stop(site.worker);
    send(site.client, HELLO, sizeof(HELLO) - 1, 0);
    if (!stop_now) {
        site.caller = socket(AF_INET, SOCK_STREAM, 0);
        connect(site.caller, &site.listening.sa, site.listening.len);
    }
}

#define HEAD_BEGIN "GET / HTTP/1.1\r\n"
#define HEAD_END   "Host: a\r\n\r\n"

/* The stop, and when the loop has seen to it the rest of both requests. What happened before is of
 * no matter, so that they come in one turn. */
static void send_stop_then_heads(void)
{
    struct epoll_event events[8];
    if (!site.worker->stopping) {
        worker_stop(site.worker);
        return;
    }
    site.stop_in_heads = false;
    epoll_wait(site.worker->loop.epoll_fd, events, 8, 0);
    send(site.client, HEAD_END, sizeof(HEAD_END) - 1, 0);
    send(site.other, HEAD_END, sizeof(HEAD_END) - 1, 0);
}

/* Nobody would wake the leader before the stop's time is over. */
static void see_idle_wait(void)
{
    const struct worker *worker = site.worker;
    if (!worker->stopping || worker_connections(worker) > 0 || worker->calls > 0)
        return;
    site.waits_idly = true;
    worker_stop(site.worker);
}

static _Thread_local bool has_arrived;

static void arrive(void)
{
    if (!has_arrived && !is_keeper())
        sem_post(&site.arrivals);
    has_arrived = true;
}

static void *unlock(void *context)
{
    arrive();
    if (waits_as_leader()) {
        /* Not while there is something to do: then another turn follows, that looks, too. */
        if (site.stop_in_wait && worker_deadline(site.worker) > 0) {
            site.stop_in_wait = false;
            send_stop_and_request();
        }
        if (site.stop_in_heads && worker_deadline(site.worker) > 0)
            send_stop_then_heads();
        if (site.rest_in_wait && worker_deadline(site.worker) > 0) {
            site.rest_in_wait = false;
            send(site.client, HEAD_END, sizeof(HEAD_END) - 1, 0);
        }
        see_idle_wait();
        sem_post(&site.leader_waits);
    }
    pthread_mutex_unlock(&site.lock);
    return context;
}

static void lock(void *context, void *token)
{
    (void)token;
    (void)context;
    pthread_mutex_lock(&site.lock);
}

static bool check(void *context)
{
    (void)context;
    site.checks += is_keeper();
    return !(is_keeper() && site.is_over);
}

static void on_message(void *context, const char *text)
{
    (void)context;
    snprintf(site.message, sizeof(site.message), "%s", text);
}

static void *follow(void *context)
{
    pthread_mutex_lock(&site.lock);
    worker_follow(site.worker);
    arrive();
    pthread_mutex_unlock(&site.lock);
    return context;
}

/* Returns when the thread is there, so that one of them leads from the start. */
static int spawn(void *context)
{
    if (site.thread_count >= site.thread_most)
        return site.spawn_result;
    int result = pthread_create(&site.threads[site.thread_count++], NULL, follow, context);
    assert_int_equal(result, 0);
    pthread_mutex_unlock(&site.lock);
    sem_wait(&site.arrivals);
    pthread_mutex_lock(&site.lock);
    return 0;
}

static void answer(struct exchange *exchange)
{
    struct response_fields facts = {0};
    exchange_send_head(exchange, 200, SLICE("Fine"), NULL, 0, &facts, 5);
    exchange_send(exchange, SLICE("hello"), (struct lender){0});
    exchange_finish(exchange);
}

/* Lets go of what it kept, and of the lock: meanwhile the keeper ends it all. */
static void on_abort(void *context, struct exchange *exchange)
{
    (void)exchange;
    site.is_over = true;
    lead_call_keeper(&site.worker->lead);
    unlock(context);
    rest(100);
    lock(context, NULL);
    site.aborts++;
}

/* The first lasts until all has ended. The next, by which the end closes connections, lasts until
 * the first one's thread has gone on from there, as far as it does. */
static void abort_during_the_end(void *context, struct exchange *exchange)
{
    bool is_first = !site.worker->lead.ended;
    (void)exchange;
    if (is_first) {
        site.is_over = true;
        lead_call_keeper(&site.worker->lead);
    }
    for (int ms = 0; ms < PATIENCE_MS; ms++) {
        if (is_first ? site.worker->lead.ended : site.aborts > 0)
            break;
        unlock(context);
        rest(1);
        lock(context, NULL);
    }
    site.aborts++;
}

/* More than a socket takes. */
static char much[4 << 20];

static void keep(void *context, struct exchange *exchange)
{
    struct response_fields facts = {0};
    (void)context;
    exchange_send_head(exchange, 200, SLICE("Fine"), NULL, 0, &facts, sizeof(much));
    exchange_send(exchange, slice_of(much, sizeof(much)), (struct lender){0});
}

/* Blocks until the stop is seen to. */
static void until_stopping(void *context, struct exchange *exchange)
{
    if (site.stop_in_call)
        worker_stop(site.worker);
    if (site.end_in_call) {
        site.worker->lead.clock = CLOCK_MONOTONIC; /* it always runs: the lead is not taken */
        site.is_over = true;
    }
    for (int ms = 0; ms < PATIENCE_MS && !site.worker->stopping; ms += 10) {
        unlock(context);
        rest(10);
        lock(context, NULL);
    }
    site.saw_stop = site.worker->stopping;
    answer(exchange);
}

/* Computes until the keeper has asked for signals, again and again. */
static void until_checked(void *context, struct exchange *exchange)
{
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_MS * UINT64_C(1000000);
    unsigned most = site.checks + 4;
    /* That always runs: on a busy machine the call may look as one that blocks. */
    site.worker->lead.clock = CLOCK_MONOTONIC;
    while (site.checks < most && clock_monotonic_ns() < end_ns) {
        uint64_t step_ns = clock_monotonic_ns() + 2000000;
        while (clock_monotonic_ns() < step_ns)
            continue;
        unlock(context);
        nanosleep(&(struct timespec){0, 50000}, NULL);
        lock(context, NULL);
    }
    site.saw_stop = site.checks >= most;
    answer(exchange);
    worker_stop(site.worker);
}

/* Goes on until the lead is taken from it. */
static void until_apart(void *context, struct exchange *exchange)
{
    const struct lead *lead = &site.worker->lead;
    if (site.computes)
        site.worker->lead.clock = CLOCK_MONOTONIC; /* that always runs */
    for (int ms = 0; ms < PATIENCE_MS && lead_leads(lead, exchange->thread); ms++) {
        unlock(context);
        rest(1);
        lock(context, NULL);
    }
    site.was_taken = !lead_leads(lead, exchange->thread);
    answer(exchange);
    worker_stop(site.worker);
}

static void once(void *context, struct exchange *exchange)
{
    (void)context;
    answer(exchange);
    worker_stop(site.worker);
}

/* The first answers; the next parts with the lead, and has ended before another takes it up. */
static void part_in_second(void *context, struct exchange *exchange)
{
    (void)context;
    if (++site.calls == 2)
        worker_let_go(site.worker, exchange);
    answer(exchange);
}

static void count_call(void *context, struct exchange *exchange)
{
    (void)context;
    site.calls++;
    answer(exchange);
}

/* All but a request that is not to be served any more. */
static void keep_others(void *context, struct exchange *exchange)
{
    struct slice path = exchange_head(exchange)->path;
    if (slice_equal(path, SLICE("/late")))
        count_call(context, exchange);
    else if (slice_equal(path, SLICE("/turn")))
        exchange_yield(exchange);
    else
        keep(context, exchange);
}

/* Its client leaves. The lead goes on, and frees the connection; then the head is looked at. */
static void outlive_connection(void *context, struct exchange *exchange)
{
    const struct request_head *head = exchange_head(exchange);
    struct response_fields facts = {0};
    shutdown(site.client, SHUT_RDWR);
    exchange_send_head(exchange, 200, SLICE("Fine"), NULL, 0, &facts, 0);
    exchange_flush(exchange);
    worker_let_go(site.worker, exchange);
    worker_stop(site.worker); /* for a turn, at the end of which it is freed */
    for (int ms = 0; ms < PATIENCE_MS && !list_is_empty(&site.worker->closed); ms++) {
        unlock(context);
        rest(1);
        lock(context, NULL);
    }
    site.head_stayed = exchange_is_orphan(exchange) && list_is_empty(&site.worker->closed) &&
                       slice_equal(head->path, SLICE("/")) && head->field_count == 1 &&
                       slice_equal(head->fields[0].value, SLICE("a"));
    exchange_finish(exchange);
}

/* Another connection. Returns the peer's end. */
static int connect_to_worker(void)
{
    struct address peer;
    int pair[2];
    assert_int_equal(address_parse(&peer, "127.0.0.1:1", NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(worker_adopt(site.worker, pair[1], &peer), 0);
    return pair[0];
}

/* A worker of so many threads that has one connection. */
static void begin(unsigned threads, void (*on_request)(void *context, struct exchange *exchange))
{
    struct worker_config config = {.limits = limits_default,
                                   .handler = {on_request, on_request, on_abort, &site},
                                   .access_log_fd = -1,
                                   .threads = threads,
                                   .spawn = spawn,
                                   .unlock = unlock,
                                   .lock = lock,
                                   .check = check,
                                   .on_message = on_message,
                                   .context = &site};
    struct error err = {0};
    memset(&site, 0, sizeof(site));
    pthread_mutex_init(&site.lock, NULL);
    sem_init(&site.arrivals, 0, 0);
    sem_init(&site.leader_waits, 0, 0);
    site.keeper = pthread_self();
    site.thread_most = threads;
    pthread_mutex_lock(&site.lock);
    assert_int_equal(worker_new(&site.worker, &config, &err), 0);
    site.client = connect_to_worker();
}

/* Run it to its end, when all threads must be back. Returns as worker_run. */
static int run(struct error *err)
{
    int result = worker_run(site.worker, err);
    unsigned left = worker_threads_left(site.worker);
    site.has_run = true;
    pthread_mutex_unlock(&site.lock);
    assert_int_equal(left, 0);
    for (unsigned i = 0; i < site.thread_count; i++)
        pthread_join(site.threads[i], NULL);
    return result;
}

static void end(void)
{
    worker_free(site.worker);
    close(site.client);
    sem_destroy(&site.leader_waits);
    sem_destroy(&site.arrivals);
}

static void assert_answered(void)
{
    char got[1000];
    ssize_t len = recv(site.client, got, sizeof(got) - 1, 0);
    assert_true(len > 0);
    got[len] = '\0';
    assert_non_null(strstr(got, "\r\n\r\nhello"));
}

/* ------------------------------------------------------------------------------------- the end */

/* The leader is told of the stop, and loses the lead in a call of the same turn. */
static void test_a_stop_is_not_lost_with_the_lead(void **state)
{
    (void)state;
    begin(2, until_stopping);
    site.stop_in_wait = true;
    assert_int_equal(run(NULL), 0);
    assert_true(site.saw_stop);
    assert_answered();
    end();
}

/* The last answer of a turn waits for its end, and nothing else is left when the next leader
 * begins.
 */
static void test_a_stop_does_not_wait_for_an_answer_that_the_turn_has_left(void **state)
{
    (void)state;
    begin(2, part_in_second);
    site.worker->batch_ticks = UINT64_MAX; /* no call flushes what waits */
    site.stop_in_heads = true;
    site.other = connect_to_worker();
    send(site.client, HEAD_BEGIN, sizeof(HEAD_BEGIN) - 1, 0);
    send(site.other, HEAD_BEGIN, sizeof(HEAD_BEGIN) - 1, 0);
    assert_int_equal(run(NULL), 0);
    assert_false(site.waits_idly);
    assert_answered();
    close(site.other);
    end();
}

/* A stop closes the listeners, but not before what the loop has found of them is served. (A mistake
 * here is seen by ASan.) */
static void run_with_caller(void)
{
    struct listener_options options = {.backlog = 8};
    struct error err;
    site.stop_in_wait = true;
    assert_int_equal(address_parse(&site.listening, "127.0.0.1:0", NULL), 0);
    int fd = listener_open(&site.listening, &options, &err);
    assert_true(fd >= 0);
    assert_int_equal(worker_listen(site.worker, fd, &site.listening, &err), 0);
    assert_int_equal(run(NULL), 0);
    assert_true(site.saw_stop);
    close(site.caller);
}

static void test_a_stop_leaves_no_event_of_a_listener(void **state)
{
    (void)state;
    begin(2, until_stopping);
    site.stop_in_call = true;
    run_with_caller();
    assert_answered();
    end();
}

static void test_the_end_in_a_call_leaves_no_event(void **state)
{
    (void)state;
    begin(2, until_stopping);
    site.end_in_call = true;
    run_with_caller();
    end();
}

/* A client that leaves when its answer has begun. */
static void *leave(void *context)
{
    char byte;
    for (int ms = 0; ms < PATIENCE_MS && recv(site.client, &byte, 1, MSG_PEEK) < 1; ms += 10)
        rest(10);
    shutdown(site.client, SHUT_RDWR);
    return context;
}

/* The end closes a connection that is closed already, and whose handler is being told. (Freed too
 * early, it is seen by ASan.) */
static void test_the_end_waits_for_on_abort(void **state)
{
    pthread_t client;
    (void)state;
    begin(2, keep);
    send(site.client, HELLO, sizeof(HELLO) - 1, 0);
    assert_int_equal(pthread_create(&client, NULL, leave, NULL), 0);
    assert_int_equal(run(NULL), 0);
    pthread_join(client, NULL);
    assert_int_equal(site.aborts, 1);
    end();
}

/* A flush before a call closes a connection, and all ends while the handler is told. `third`: the
 * last of three requests of one turn; the first stays open, and is what the end closes next. */
static void check_no_call_after_the_end(const char *second, const char *third, bool second_leaves)
{
    int peers[2];
    begin(2, keep_others);
    site.worker->config.handler.on_writable = count_call;
    site.worker->config.handler.on_abort = abort_during_the_end;
    site.worker->batch_ticks = 0; /* each call flushes what waits */
    send(site.client, HELLO, sizeof(HELLO) - 1, 0);
    peers[0] = connect_to_worker();
    send(peers[0], second, strlen(second), 0);
    peers[1] = connect_to_worker();
    send(peers[1], third, strlen(third), 0);
    close(peers[second_leaves ? 0 : 1]);
    assert_int_equal(run(NULL), 0);
    assert_true(site.aborts >= 2);
    assert_int_equal(site.calls, 0);
    close(peers[second_leaves ? 1 : 0]);
    end();
}

static void test_no_call_after_the_end(void **state)
{
    (void)state;
    check_no_call_after_the_end(HELLO, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n", true);
    /* The turn that the second has asked for comes after the third's request. */
    check_no_call_after_the_end("GET /turn HTTP/1.1\r\nHost: a\r\n\r\n", HELLO, false);
}

/* Its head has come in two parts, so that the connection has the bytes. (Freed with it, it is seen
 * by ASan.) */
static void test_a_head_outlives_its_connection_while_its_handler_runs(void **state)
{
    (void)state;
    begin(2, outlive_connection);
    site.rest_in_wait = true;
    send(site.client, HEAD_BEGIN, sizeof(HEAD_BEGIN) - 1, 0);
    assert_int_equal(run(NULL), 0);
    assert_true(site.head_stayed);
    end();
}

static void on_signal(int number)
{
    (void)number;
}

/* Signals for the keeper until it has done what they say. */
static void *send_signals(void *context)
{
    sem_wait(&site.leader_waits);
    site.is_over = true;
    while (!site.has_run) {
        pthread_kill(site.keeper, SIGUSR1);
        rest(10);
    }
    return context;
}

static void test_the_end_by_a_signal_wakes_the_leader(void **state)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct sigaction before;
    pthread_t sender;
    (void)state;
    sigaction(SIGUSR1, &action, &before);
    begin(2, once);
    assert_int_equal(pthread_create(&sender, NULL, send_signals, NULL), 0);
    assert_int_equal(run(NULL), 0);
    pthread_join(sender, NULL);
    sigaction(SIGUSR1, &before, NULL);
    end();
}

/* Wakes the keeper again and again. */
static void *wake_keeper(void *context)
{
    static unsigned count;
    struct lead *lead = context;
    for (count = 0; count < PATIENCE_MS / 10 && !site.has_run; count++) {
        lead_call_keeper(lead);
        rest(10);
    }
    return &count;
}

/* More often than it looks. */
static void *wake_keeper_often(void *context)
{
    while (!site.has_run) {
        lead_call_keeper(&site.worker->lead);
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    return context;
}

static void test_the_time_for_the_last_threads_does_not_begin_again(void **state)
{
    const struct lead_ops ops = {.unlock = unlock, .lock = lock, .context = &site};
    struct lead lead;
    pthread_t waker;
    void *count;
    (void)state;
    begin(1, once);
    assert_int_equal(lead_init(&lead, &ops, 1), 0);
    lead.threads = 1; /* that is stuck */
    assert_int_equal(pthread_create(&waker, NULL, wake_keeper, &lead), 0);
    assert_int_equal(lead_join(&lead, 100000000), 1);
    site.has_run = true;
    pthread_mutex_unlock(&site.lock);
    pthread_join(waker, &count);
    assert_true(*(unsigned *)count < PATIENCE_MS / 10);
    lead_release(&lead);
    end();
}

/* ------------------------------------------------------------------------- calls that take long */

static void check_long_call(bool computes, bool wakes)
{
    pthread_t waker;
    begin(2, until_apart);
    site.computes = computes;
    send(site.client, HELLO, sizeof(HELLO) - 1, 0);
    if (wakes)
        assert_int_equal(pthread_create(&waker, NULL, wake_keeper_often, NULL), 0);
    assert_int_equal(run(NULL), 0);
    if (wakes)
        pthread_join(waker, NULL);
    assert_true(site.was_taken);
    assert_answered();
    end();
}

static void test_a_call_that_blocks_or_computes_for_long_loses_the_lead(void **state)
{
    (void)state;
    check_long_call(false, false);
    check_long_call(true, false);
}

static void test_a_keeper_that_is_woken_again_and_again_looks_all_the_same(void **state)
{
    (void)state;
    check_long_call(false, true);
    check_long_call(true, true);
}

/* ------------------------------------------------------------------------------------- signals */

struct signal_pipe {
    int ends[2];
    bool was_late;
};

/* A signal that ends no wait: it has come just before, or to another thread. */
static void *send_byte(void *context)
{
    struct signal_pipe *pipe = context;
    sem_wait(&site.leader_waits);
    rest(100); /* the keeper sleeps, too */
    site.is_over = true;
    assert_int_equal(write(pipe->ends[1], "!", 1), 1);
    for (int ms = 0; ms < PATIENCE_MS && !site.has_run; ms += 10)
        rest(10);
    pipe->was_late = !site.has_run;
    while (!site.has_run) { /* the test has failed: an end all the same */
        worker_stop(site.worker);
        rest(10);
    }
    return NULL;
}

static void check_signal_before_a_wait(unsigned threads, unsigned thread_most)
{
    struct signal_pipe signals;
    pthread_t sender;
    begin(threads, once);
    site.thread_most = thread_most;
    site.spawn_result = -EAGAIN;
    assert_int_equal(pipe2(signals.ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(worker_watch_signals(site.worker, signals.ends[0]), 0);
    if (threads == 1)
        sem_post(&site.leader_waits); /* the keeper is the leader */
    assert_int_equal(pthread_create(&sender, NULL, send_byte, &signals), 0);
    assert_int_equal(run(NULL), 0);
    pthread_join(sender, NULL);
    assert_false(signals.was_late);
    end();
    close(signals.ends[0]);
    close(signals.ends[1]);
}

static void test_a_signal_just_before_a_wait_is_seen_to(void **state)
{
    (void)state;
    check_signal_before_a_wait(1, 1);
    check_signal_before_a_wait(2, 2);
    check_signal_before_a_wait(4, 1);
}

static void test_signals_are_seen_to_during_a_long_call(void **state)
{
    (void)state;
    begin(2, until_checked);
    send(site.client, HELLO, sizeof(HELLO) - 1, 0);
    assert_int_equal(run(NULL), 0);
    assert_true(site.saw_stop);
    assert_answered();
    end();
}

/* ------------------------------------------------------------------------------------ starting */

static void test_no_thread_can_be_started(void **state)
{
    struct error err = {0};
    (void)state;
    begin(3, once);
    site.thread_most = 0;
    site.spawn_result = -EAGAIN;
    assert_int_equal(run(&err), -EAGAIN);
    assert_int_equal(err.code, EAGAIN);
    assert_non_null(strstr(err.text, "cannot start a thread: Resource temporarily unavailable; "));
    assert_non_null(strstr(err.text, "ulimit -u"));
    assert_string_equal(site.message, ""); /* once is enough */
    end();
}

static void test_not_all_threads_can_be_started(void **state)
{
    (void)state;
    begin(4, once);
    site.thread_most = 1;
    site.spawn_result = -EAGAIN;
    send(site.client, HELLO, sizeof(HELLO) - 1, 0);
    assert_int_equal(run(NULL), 0);
    assert_answered();
    assert_non_null(strstr(site.message, "cannot start a thread: Resource"));
    assert_non_null(strstr(site.message, "goes on with 1 of 4"));
    assert_non_null(strstr(site.message, "ulimit -u"));
    end();
}

static void test_starting_a_thread_is_called_off(void **state)
{
    (void)state;
    for (unsigned started = 0; started < 3; started++) {
        begin(4, once);
        site.is_over = true;
        site.thread_most = started;
        site.spawn_result = -ECANCELED;
        assert_int_equal(run(NULL), 0);
        assert_string_equal(site.message, "");
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stop_is_not_lost_with_the_lead),
        cmocka_unit_test(test_a_stop_does_not_wait_for_an_answer_that_the_turn_has_left),
        cmocka_unit_test(test_a_stop_leaves_no_event_of_a_listener),
        cmocka_unit_test(test_the_end_in_a_call_leaves_no_event),
        cmocka_unit_test(test_the_end_waits_for_on_abort),
        cmocka_unit_test(test_no_call_after_the_end),
        cmocka_unit_test(test_a_head_outlives_its_connection_while_its_handler_runs),
        cmocka_unit_test(test_the_end_by_a_signal_wakes_the_leader),
        cmocka_unit_test(test_the_time_for_the_last_threads_does_not_begin_again),
        cmocka_unit_test(test_a_call_that_blocks_or_computes_for_long_loses_the_lead),
        cmocka_unit_test(test_a_keeper_that_is_woken_again_and_again_looks_all_the_same),
        cmocka_unit_test(test_a_signal_just_before_a_wait_is_seen_to),
        cmocka_unit_test(test_signals_are_seen_to_during_a_long_call),
        cmocka_unit_test(test_no_thread_can_be_started),
        cmocka_unit_test(test_not_all_threads_can_be_started),
        cmocka_unit_test(test_starting_a_thread_is_called_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
