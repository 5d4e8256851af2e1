#include "event_loop/acceptor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/memory.h"
#include "socket/kernel.h"
#include "socket/listener.h"
#include "trace/recorder.h"

#define BATCH    64
#define PAUSE_MS 500

struct listener {
    struct loop_watch watch;
    struct acceptor *acceptor;
    struct list node;
    struct address addr;
    unsigned number;
    bool watched;
    struct acceptor_adopted adopted;
};

void acceptor_init(struct acceptor *acceptor)
{
    list_init(&acceptor->listeners);
    timer_queue_init(&acceptor->pauses, PAUSE_MS);
    timer_init(&acceptor->pause);
}

static struct listener *listener_of(struct list *node)
{
    return list_entry(node, struct listener, node);
}

/* Watch the listeners, or not. */
static void acceptor_watch(struct acceptor *acceptor, bool watch)
{
    struct list *node = acceptor->listeners.next;
    for (; node != &acceptor->listeners; node = node->next) {
        struct listener *listener = listener_of(node);
        if (watch && !listener->watched) {
            listener->watched = loop_add(acceptor->loop, &listener->watch, LOOP_READABLE) == 0;
        } else if (!watch && listener->watched) {
            loop_remove(acceptor->loop, &listener->watch);
            listener->watched = false;
        }
    }
}

static bool acceptor_pauses(const struct acceptor *acceptor)
{
    return list_is_linked(&acceptor->pause.node);
}

void acceptor_pause(struct acceptor *acceptor, int error)
{
    char text[256];
    struct rlimit limit = {0};
    acceptor_watch(acceptor, false);
    timer_start(&acceptor->pauses, &acceptor->pause, acceptor->loop->now_ms);
    if (acceptor->shortage_said)
        return;
    acceptor->shortage_said = true;
    getrlimit(RLIMIT_NOFILE, &limit);
    snprintf(
        text, sizeof(text),
        "cannot accept more connections: %s (%zu open, limit of descriptors %llu); new ones wait "
        "until one closes: raise the limit with ulimit -n",
        strerror(error), acceptor->connections, (unsigned long long)limit.rlim_cur);
    acceptor->on_shortage(acceptor, text);
}

static void acceptor_go_on(struct acceptor *acceptor)
{
    timer_stop(&acceptor->pause);
    if (!acceptor->held)
        acceptor_watch(acceptor, true);
}

void acceptor_resume(struct acceptor *acceptor)
{
    if (acceptor_pauses(acceptor))
        acceptor_go_on(acceptor);
}

uint64_t acceptor_deadline(const struct acceptor *acceptor)
{
    return timer_queue_deadline(&acceptor->pauses);
}

void acceptor_expire(struct acceptor *acceptor)
{
    if (timer_queue_expire(&acceptor->pauses, acceptor->loop->now_ms))
        acceptor_go_on(acceptor);
}

void acceptor_hold(struct acceptor *acceptor, bool hold)
{
    if (acceptor->held == hold)
        return;
    acceptor->held = hold;
    if (hold || !acceptor_pauses(acceptor))
        acceptor_watch(acceptor, !hold);
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

/* Accept a batch. Returns whether the queue may hold more. */
static bool listener_accept_batch(struct listener *listener)
{
    struct acceptor *acceptor = listener->acceptor;
    for (int i = 0; i < BATCH; i++) {
        struct address peer;
        trace_subject(acceptor->connection_ids + 1, 0);
        int fd = listener_accept(listener->watch.fd, &peer);
        if (fd == -EAGAIN) {
            acceptor->shortage_said = false; /* nobody waits: that occasion is over */
            return false;
        }
        if (fd < 0 && accept_error_is_passing(-fd))
            continue;
        int result = fd;
        if (fd < 0)
            trace_subject(0, 0);
        else
            result = acceptor->on_connection(acceptor, fd, &peer, listener->number);
        if (result < 0) {
            acceptor_pause(acceptor, -result);
            return false;
        }
    }
    return true;
}

void acceptor_accept_all(struct acceptor *acceptor)
{
    struct list *node = acceptor->listeners.next;
    for (; node != &acceptor->listeners; node = node->next) {
        struct listener *listener = listener_of(node);
        while (!listener->adopted.queue && listener_accept_batch(listener))
            continue;
    }
}

static void listener_on_ready(struct loop_watch *watch, uint32_t ready)
{
    struct listener *listener = list_entry(watch, struct listener, watch);
    (void)ready;
    if (!listener->acceptor->held)
        listener_accept_batch(listener);
}

int acceptor_add(struct acceptor *acceptor, int fd, const struct address *addr,
                 struct acceptor_adopted adopted, struct error *err)
{
    struct listener *listener = memory_new(sizeof(*listener));
    int result = -ENOMEM;
    if (!listener)
        goto close_fd;
    listener->watch = (struct loop_watch){.fd = fd, .on_ready = listener_on_ready};
    listener->acceptor = acceptor;
    listener->addr = *addr;
    listener->number = acceptor->listener_count;
    listener->watched = true;
    listener->adopted = adopted;
    list_init(&listener->node);
    result = loop_add(acceptor->loop, &listener->watch, LOOP_READABLE);
    if (result < 0)
        goto free_listener;
    list_append(&acceptor->listeners, &listener->node);
    return (int)acceptor->listener_count++;

free_listener:
    memory_free(listener);
close_fd:
    kernel_close(fd);
    return error_set(err, -result, "watch", "a listening socket");
}

int acceptor_fd(const struct acceptor *acceptor, unsigned number)
{
    struct list *node = acceptor->listeners.next;
    for (; node != &acceptor->listeners; node = node->next)
        if (listener_of(node)->number == number)
            return listener_of(node)->watch.fd;
    return -1;
}

void acceptor_close(struct acceptor *acceptor)
{
    struct list *node;
    timer_stop(&acceptor->pause);
    acceptor_watch(acceptor, false); /* others may have the socket, and keep it watched, epoll(7) */
    while ((node = list_pop(&acceptor->listeners))) {
        struct listener *listener = listener_of(node);
        if (listener->adopted.file)
            kernel_close(listener->watch.fd);
        else
            listener_close(listener->watch.fd, &listener->addr);
        memory_free(listener);
    }
}

void acceptor_forget(struct acceptor *acceptor)
{
    struct list *node = acceptor->listeners.next;
    acceptor->held = true;
    for (; node != &acceptor->listeners; node = node->next) {
        struct listener *listener = listener_of(node);
        kernel_close(listener->watch.fd);
        listener->watch.fd = -1;
        listener->adopted.file = true;
    }
}
