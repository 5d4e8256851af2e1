/* How a worker begins and ends, and what it does for those who take the lead in turn. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "http/response_head.h"
#include "http/token.h"
#include "server/exchange_state.h"
#include "server/fork.h"
#include "server/output.h"
#include "server/worker_state.h"
#include "socket/kernel.h"

#define REPLY_BATCH_NS  300000 /* the longest that a reply waits for others, measured best */
#define FIRST_MS        250    /* a lost packet of a first request comes again after 200 */
#define SERVER_NAME_MAX 200

static void worker_on_wakeup(struct wakeup *wakeup)
{
    (void)wakeup; /* the turn that it ends looks at stop_asked and the signals */
}

static void worker_on_signal(struct loop_watch *watch, uint32_t ready)
{
    struct worker *worker = list_entry(watch, struct worker, signals);
    char bytes[64];
    (void)ready;
    /* EAGAIN: another reader was quicker, a forked child. */
    kernel_read(watch->fd, bytes, sizeof(bytes));
    lead_call_keeper(&worker->lead);
}

int worker_watch_signals(struct worker *worker, int fd)
{
    worker->signals = (struct loop_watch){.fd = fd, .on_ready = worker_on_signal};
    return loop_add(&worker->loop, &worker->signals, LOOP_READABLE);
}

static int worker_set_server_line(struct worker *worker, struct error *err)
{
    struct slice name =
        worker->config.server ? slice_of_text(worker->config.server) : SLICE("zolal");
    if (name.len > SERVER_NAME_MAX || !http_is_field_value(name))
        return error_format(err, EINVAL,
                            "the server's name is not a field value of at most %d bytes",
                            SERVER_NAME_MAX);
    worker->server_line_len = field_line_write(worker->server_line, SLICE("Server"), name);
    return 0;
}

static void worker_init_lists(struct worker *worker)
{
    list_init(&worker->all);
    list_init(&worker->connections);
    list_init(&worker->dirty);
    list_init(&worker->again);
    list_init(&worker->now);
    list_init(&worker->unwatched);
    list_init(&worker->ready);
    list_init(&worker->closed);
    list_init(&worker->spare_exchanges);
    list_init(&worker->spare_outputs);
}

static void worker_init_patience(struct worker *worker)
{
    const struct limits *limits = &worker->config.limits;
    timer_queue_init(&worker->patience[PATIENCE_NONE], 0);
    timer_queue_init(&worker->patience[PATIENCE_KEEP_ALIVE], limits->keep_alive_ms);
    timer_queue_init(&worker->patience[PATIENCE_HEAD], limits->head_ms);
    timer_queue_init(&worker->patience[PATIENCE_BODY], limits->body_ms);
    timer_queue_init(&worker->patience[PATIENCE_SEND], limits->send_ms);
    timer_queue_init(&worker->patience[PATIENCE_LINGER], limits->linger_ms);
    timer_queue_init(&worker->patience[PATIENCE_FIRST], FIRST_MS);
}

/* REPLY_BATCH_NS in ticks. */
static void worker_init_clock(struct worker *worker)
{
    clock_calibrate(&worker->calibration);
    uint64_t ns = clock_ticks_to_ns(&worker->calibration, UINT64_C(1) << 20);
    worker->batch_ticks = ns > 0 ? ((uint64_t)REPLY_BATCH_NS << 20) / ns : REPLY_BATCH_NS;
    worker->date_second = -1;
}

/* lead_ops.turn */
static void worker_lead_turn(void *context, struct lead_thread *thread)
{
    struct worker *worker = context;
    int result = 0;
    worker_flush(worker); /* a last answer ends its connection, for which a stop may wait */
    /* Before the wait: the stop may have woken another leader, who lost the lead since. Not before
     * what that one has left is served: it may be about a listener, which a stop closes. */
    if (loop_has_ready(&worker->loop) || !worker_is_done(worker)) {
        result = worker_turn(worker, thread);
        if (result == 0)
            return;
    }
    worker->result = result;
    lead_end(&worker->lead);
}

/* lead_ops.work */
static bool worker_lead_work(void *context, struct lead_thread *thread)
{
    return worker_work(context, thread);
}

/* lead_ops.check */
static void worker_lead_check(void *context)
{
    struct worker *worker = context;
    if (!worker->config.check || worker->config.check(worker->config.context))
        return;
    worker->result = -ECANCELED;
    lead_end(&worker->lead);
    wakeup_signal(worker->wakeup.watch.fd); /* the leader, who waits for events */
}

/* lead_ops.late: replies that were made before do not wait for a call that computes. */
static void worker_lead_late(void *context)
{
    worker_flush(context);
}

/* lead_ops.spawn */
static bool worker_lead_spawn(void *context)
{
    struct worker *worker = context;
    char text[256];
    unsigned others = worker->lead.threads - 1;
    int result = worker->config.spawn(worker->config.context);
    if (result == 0 || result == -ECANCELED)
        return result == 0;
    if (others == 0) { /* nobody would ever answer */
        worker->result = result;
        lead_end(&worker->lead);
        return false;
    }
    snprintf(text, sizeof(text), "cannot start a thread: %s: goes on with %u of %u; %s",
             strerror(-result), others, worker->config.threads, WORKER_THREADS_REMEDY);
    worker_message(worker, text);
    return false;
}

/* lead_ops.unlock: the embedder's hook wants its own context. */
static void *worker_lead_unlock(void *context)
{
    const struct worker *worker = context;
    return worker->config.unlock(worker->config.context);
}

/* lead_ops.lock */
static void worker_lead_lock(void *context, void *token)
{
    const struct worker *worker = context;
    worker->config.lock(worker->config.context, token);
}

static int worker_init_lead(struct worker *worker)
{
    const struct lead_ops ops = {.unlock = worker_lead_unlock,
                                 .lock = worker_lead_lock,
                                 .turn = worker_lead_turn,
                                 .work = worker_lead_work,
                                 .part = worker_lead_part,
                                 .late = worker_lead_late,
                                 .spawn = worker_lead_spawn,
                                 .check = worker_lead_check,
                                 .context = worker};
    return lead_init(&worker->lead, &ops, worker->config.threads);
}

int worker_new(struct worker **out, const struct worker_config *config, struct error *err)
{
    struct worker *worker = memory_new(sizeof(*worker));
    if (!worker)
        return error_set(err, ENOMEM, "make", "a worker");
    worker->config = *config;
    worker_init_lists(worker);
    worker_init_acceptor(worker);
    worker_init_patience(worker);
    worker_init_clock(worker);
    access_log_init(&worker->access_log, config->access_log_fd, config->on_answer, config->context);
    worker->fields =
        memory_new_array((size_t)config->limits.request_fields, sizeof(*worker->fields));
    int result = worker->fields ? worker_set_server_line(worker, err)
                                : error_set(err, ENOMEM, "make", "a worker");
    if (result < 0)
        goto free_worker;
    result = loop_init(&worker->loop, err);
    if (result < 0)
        goto free_worker;
    result = wakeup_init(&worker->wakeup, &worker->loop, worker_on_wakeup, err);
    if (result < 0)
        goto release_loop;
    result = worker_init_lead(worker);
    if (result < 0) {
        error_set(err, -result, "prepare", "threads");
        goto release_wakeup;
    }
    result = fork_watch(worker);
    if (result < 0) {
        error_set(err, -result, "watch for", "forks");
        goto release_lead;
    }
    *out = worker;
    return 0;

release_lead:
    lead_release(&worker->lead);
release_wakeup:
    wakeup_release(&worker->wakeup);
release_loop:
    loop_release(&worker->loop);
free_worker:
    access_log_release(&worker->access_log);
    memory_free(worker->fields);
    memory_free(worker);
    return result;
}

void worker_free(struct worker *worker)
{
    struct list *node;
    if (worker_threads_left(worker) > 0)
        return; /* they will find it as they left it, and the end of the process frees it */
    fork_unwatch(worker);
    lead_release(&worker->lead);
    acceptor_close(&worker->acceptor);
    worker_close_connections(worker);
    while ((node = list_pop(&worker->spare_exchanges)))
        exchange_free(list_entry(node, struct exchange, node));
    while ((node = list_pop(&worker->spare_outputs)))
        output_free(list_entry(node, struct output, node));
    access_log_release(&worker->access_log);
    wakeup_release(&worker->wakeup);
    loop_release(&worker->loop);
    field_memo_release(&worker->field_memo);
    memory_free(worker->fields);
    memory_free(worker);
}
