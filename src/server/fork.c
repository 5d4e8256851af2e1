#include "server/fork.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "event_loop/signals.h"
#include "server/worker_state.h"
#include "socket/kernel.h"
#include "trace/recorder.h"

/* pthread_atfork(3) hands nothing to its handlers, so the workers of a process are listed here,
 * the mutable globals of this layer. The lock is held across fork, so that the child finds the list
 * whole. */
static pthread_mutex_t fork_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list fork_workers = {&fork_workers, &fork_workers};
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_result;
/* What the forking thread had blocked; guarded by fork_lock. */
static sigset_t fork_mask;

/* A SIGTERM that reaches the child before fork_child has run would be taken by its parent's handler
 * and be lost: it stays pending until the child's own actions are in place. */
static void fork_prepare(void)
{
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    pthread_mutex_lock(&fork_lock);
    pthread_sigmask(SIG_BLOCK, &stops, &fork_mask);
}

/* The last act of both sides. */
static void fork_end(void)
{
    sigset_t mask = fork_mask;
    pthread_mutex_unlock(&fork_lock);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

static void fork_parent(void)
{
    for (struct list *node = fork_workers.next; node != &fork_workers; node = node->next)
        list_entry(node, struct worker, all)->forks++;
    fork_end();
}

/* Close the child's copies only: no shutdown, no epoll_ctl, which would reach the parent's. */
static void worker_forget(struct worker *worker)
{
    for (struct list *node = worker->connections.next; node != &worker->connections;
         node = node->next) {
        struct connection *connection = list_entry(node, struct connection, node);
        kernel_close(connection->watch.fd);
        connection->socket.fd = connection->watch.fd = -1;
    }
    acceptor_forget(&worker->acceptor);
    kernel_close(worker->loop.epoll_fd);
    kernel_close(worker->wakeup.watch.fd);
    worker->loop.epoll_fd = worker->wakeup.watch.fd = -1;
    if (worker->config.handle_signals)
        signals_remove(); /* SIGTERM ends the child, as its parent expects */
    access_log_drop(&worker->access_log);
    worker->forgotten = worker->lead.ended = true;
}

static void fork_child(void)
{
    recorder_forget();
    for (struct list *node = fork_workers.next; node != &fork_workers; node = node->next)
        worker_forget(list_entry(node, struct worker, all));
    fork_end();
}

static void fork_register(void)
{
    fork_result = -pthread_atfork(fork_prepare, fork_parent, fork_child);
}

int fork_watch(struct worker *worker)
{
    pthread_once(&fork_once, fork_register);
    if (fork_result < 0)
        return fork_result;
    pthread_mutex_lock(&fork_lock);
    list_append(&fork_workers, &worker->all);
    pthread_mutex_unlock(&fork_lock);
    return 0;
}

void fork_unwatch(struct worker *worker)
{
    pthread_mutex_lock(&fork_lock);
    list_unlink(&worker->all);
    pthread_mutex_unlock(&fork_lock);
}
