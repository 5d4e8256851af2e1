#include "echo/echo.h"

#include <errno.h>

#include "base/memory.h"
#include "echo/connection.h"
#include "event_loop/signals.h"
#include "trace/recorder.h"

static int echo_on_connection(struct acceptor *acceptor, int fd, const struct address *peer,
                              unsigned listener)
{
    struct echo *echo = list_entry(acceptor, struct echo, acceptor);
    int result = echo_connection_open(echo, fd);
    (void)listener;
    if (result == 0 && echo->config.on_connection)
        echo->config.on_connection(echo->config.context, peer);
    return result;
}

static void echo_on_shortage(struct acceptor *acceptor, const char *text)
{
    const struct echo *echo = list_entry(acceptor, struct echo, acceptor);
    if (echo->config.on_message)
        echo->config.on_message(echo->config.context, text);
}

static void echo_on_wakeup(struct wakeup *wakeup)
{
    (void)wakeup; /* the turn that it ends looks at stop_asked and the signals */
}

int echo_new(struct echo **out, const struct echo_config *config, struct error *err)
{
    struct echo *echo = memory_new(sizeof(*echo));
    if (!echo)
        return error_set(err, ENOMEM, "make", "an echo server");
    echo->config = *config;
    list_init(&echo->connections);
    list_init(&echo->again);
    echo->acceptor = (struct acceptor){
        .loop = &echo->loop, .on_connection = echo_on_connection, .on_shortage = echo_on_shortage};
    acceptor_init(&echo->acceptor);
    int result = loop_init(&echo->loop, err);
    if (result < 0)
        goto free_echo;
    result = wakeup_init(&echo->wakeup, &echo->loop, echo_on_wakeup, err);
    if (result < 0)
        goto release_loop;
    *out = echo;
    return 0;

release_loop:
    loop_release(&echo->loop);
free_echo:
    memory_free(echo);
    return result;
}

int echo_listen(struct echo *echo, int fd, const struct address *addr, struct error *err)
{
    int number = acceptor_add(&echo->acceptor, fd, addr, (struct acceptor_adopted){0}, err);
    return number < 0 ? number : 0;
}

/* Those that had their turn and may have more. */
static void echo_go_on(struct echo *echo)
{
    struct list now, *node;
    list_init(&now);
    list_take_all(&echo->again, &now);
    while ((node = list_pop(&now)))
        echo_connection_serve(list_entry(node, struct echo_connection, again));
}

/* How long the loop may wait, in milliseconds; -1: for ever. */
static int echo_timeout(struct echo *echo)
{
    uint64_t deadline = acceptor_deadline(&echo->acceptor);
    if (!list_is_empty(&echo->again))
        return 0;
    if (deadline == TIMER_NEVER)
        return -1;
    return deadline > echo->loop.now_ms ? (int)(deadline - echo->loop.now_ms) : 0;
}

/* Returns 0 or -errno. */
static int echo_turn(struct echo *echo)
{
    trace_subject(0, 0);
    int result = loop_wait(&echo->loop, echo_timeout(echo));
    if (result < 0)
        return result;
    loop_update_time(&echo->loop);
    while (loop_dispatch_next(&echo->loop))
        continue;
    echo_go_on(echo);
    acceptor_expire(&echo->acceptor);
    return 0;
}

void echo_stop(struct echo *echo)
{
    /* Release: what the caller did before is seen by the loop; partner: echo_is_done. */
    atomic_store_explicit(&echo->stop_asked, true, memory_order_release);
    wakeup_signal(echo->wakeup.watch.fd);
}

static bool echo_is_done(struct echo *echo)
{
    return atomic_load_explicit(&echo->stop_asked, memory_order_acquire) ||
           (echo->config.handle_signals && signals_stop_asked());
}

/* A listener is closed last: who waits in its queue has the same end as the others. */
static void echo_close(struct echo *echo)
{
    while (!list_is_empty(&echo->connections))
        echo_connection_close(list_entry(echo->connections.next, struct echo_connection, node));
    trace_subject(0, 0);
    acceptor_close(&echo->acceptor);
}

int echo_run(struct echo *echo, struct error *err)
{
    int result = echo->config.handle_signals ? signals_install(echo->wakeup.watch.fd, err) : 0;
    if (result < 0)
        return result;
    loop_update_time(&echo->loop);
    while (result == 0 && !echo_is_done(echo))
        result = echo_turn(echo);
    if (echo->config.handle_signals)
        signals_remove();
    echo_close(echo);
    return result < 0 ? error_set(err, -result, "turn", "the event loop") : 0;
}

void echo_free(struct echo *echo)
{
    echo_close(echo);
    wakeup_release(&echo->wakeup);
    loop_release(&echo->loop);
    memory_free(echo);
}
