/* Taking connections from the listeners. */
#include "server/worker.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/memory.h"
#include "server/worker_state.h"
#include "socket/kernel.h"
#include "socket/listener.h"
#include "trace/recorder.h"

#define ACCEPT_BATCH 64

/* Watch the listeners, or not: while descriptors are short, and at the end. */
static void worker_watch_listeners(struct worker *worker, bool watch)
{
    for (struct list *node = worker->listeners.next; node != &worker->listeners;
         node = node->next) {
        struct worker_listener *listener = list_entry(node, struct worker_listener, node);
        if (watch && !listener->watched)
            listener->watched = loop_add(&worker->loop, &listener->watch, LOOP_READABLE) == 0;
        else if (!watch && listener->watched) {
            loop_remove(&worker->loop, &listener->watch);
            listener->watched = false;
        }
    }
}

/* No descriptor or memory for another connection: those there are go on, the kernel's queue keeps
 * the others, and we look again when one has closed or after a while. */
static void worker_pause_accepting(struct worker *worker, int error)
{
    char text[256];
    struct rlimit limit = {0};
    worker_watch_listeners(worker, false);
    timer_start(&worker->accept_pauses, &worker->accept_pause, worker->loop.now_ms);
    if (worker->descriptors_said)
        return;
    worker->descriptors_said = true;
    getrlimit(RLIMIT_NOFILE, &limit);
    snprintf(
        text, sizeof(text),
        "cannot accept more connections: %s (%zu open, limit of descriptors %llu); new ones wait "
        "until one closes: raise the limit with ulimit -n",
        strerror(error), worker->connection_count, (unsigned long long)limit.rlim_cur);
    worker_message(worker, text);
}

void worker_watch_new(struct worker *worker)
{
    while (!list_is_empty(&worker->unwatched)) {
        struct connection *connection =
            list_entry(worker->unwatched.next, struct connection, unwatched);
        int result = connection_watch(connection);
        if (result < 0)
            worker_pause_accepting(worker, -result);
    }
}

void worker_resume_accepting(struct worker *worker)
{
    timer_stop(&worker->accept_pause);
    if (!worker->stopping && !worker->saturated)
        worker_watch_listeners(worker, true);
}

void worker_set_saturated(struct worker *worker, bool saturated)
{
    if (worker->saturated == saturated)
        return;
    worker->saturated = saturated;
    if (saturated)
        worker_watch_listeners(worker, false);
    else if (!list_is_linked(&worker->accept_pause.node))
        worker_resume_accepting(worker);
}

void worker_connection_closed(struct worker *worker)
{
    if (list_is_linked(&worker->accept_pause.node))
        worker_resume_accepting(worker);
}

/* Is this accept4(2) error the new connection's own, so that the next may be fine? */
static bool accept_error_is_passing(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
    case EPERM:
        return true;
    default:
        return false;
    }
}

/* Accept at most `most` connections. Returns whether the queue may hold more. */
static bool worker_accept(struct worker *worker, struct worker_listener *listener, int most)
{
    for (int i = 0; i < most; i++) {
        struct address peer;
        trace_subject(worker->connection_ids + 1, 0);
        int fd = listener_accept(listener->watch.fd, &peer);
        if (fd == -EAGAIN) {
            worker->descriptors_said = false; /* nobody waits: that occasion is over */
            return false;
        }
        if (fd < 0 && accept_error_is_passing(-fd))
            continue;
        if (fd < 0) {
            trace_subject(0, 0);
            worker_pause_accepting(worker, -fd);
            return false;
        }
        int result = connection_open(worker, fd, &peer, listener->number);
        if (result < 0) {
            worker_pause_accepting(worker, -result);
            return false;
        }
    }
    return true;
}

void worker_accept_all(struct worker *worker)
{
    struct list *node = worker->listeners.next;
    for (; node != &worker->listeners; node = node->next) {
        struct worker_listener *listener = list_entry(node, struct worker_listener, node);
        while (!listener->leave_queue && worker_accept(worker, listener, ACCEPT_BATCH))
            continue;
    }
}

static void worker_on_connection(struct loop_watch *watch, uint32_t ready)
{
    struct worker_listener *listener = list_entry(watch, struct worker_listener, watch);
    (void)ready;
    if (!listener->worker->forgotten)
        worker_accept(listener->worker, listener, ACCEPT_BATCH);
}

static int worker_add_listener(struct worker *worker, int fd, const struct address *addr,
                               bool adopted, bool leave_queue, struct error *err)
{
    struct worker_listener *listener = memory_new(sizeof(*listener));
    int result = -ENOMEM;
    if (!listener)
        goto close_fd;
    listener->watch = (struct loop_watch){.fd = fd, .on_ready = worker_on_connection};
    listener->worker = worker;
    listener->addr = *addr;
    listener->number = (uint16_t)worker->listener_count;
    listener->watched = true;
    listener->adopted = adopted;
    listener->leave_queue = leave_queue;
    list_init(&listener->node);
    result = loop_add(&worker->loop, &listener->watch, LOOP_READABLE);
    if (result < 0)
        goto free_listener;
    list_append(&worker->listeners, &listener->node);
    return (int)worker->listener_count++;

free_listener:
    memory_free(listener);
close_fd:
    kernel_close(fd);
    return error_set(err, -result, "watch", "a listening socket");
}

int worker_listen(struct worker *worker, int fd, const struct address *addr, struct error *err)
{
    return worker_add_listener(worker, fd, addr, false, false, err);
}

int worker_listen_adopted(struct worker *worker, int fd, const struct address *addr,
                          bool leave_queue, struct error *err)
{
    return worker_add_listener(worker, fd, addr, true, leave_queue, err);
}

int worker_listener_fd(const struct worker *worker, int number)
{
    const struct list *node = worker->listeners.next;
    for (; node != &worker->listeners; node = node->next) {
        const struct worker_listener *listener = list_entry(node, struct worker_listener, node);
        if (listener->number == number)
            return listener->watch.fd;
    }
    return -1;
}

int worker_adopt(struct worker *worker, int fd, const struct address *peer)
{
    return connection_open(worker, fd, peer, 0);
}

void worker_close_listeners(struct worker *worker)
{
    struct list *node;
    while ((node = list_pop(&worker->listeners))) {
        struct worker_listener *listener = list_entry(node, struct worker_listener, node);
        if (worker->forgotten || listener->adopted)
            kernel_close(listener->watch.fd); /* the file of a UNIX socket is somebody else's */
        else
            listener_close(listener->watch.fd, &listener->addr);
        memory_free(listener);
    }
}
