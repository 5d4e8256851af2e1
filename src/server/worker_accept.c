/* Where a worker's connections come from. */
#include "server/worker.h"

#include "server/worker_state.h"

static int worker_on_connection(struct acceptor *acceptor, int fd, const struct address *peer,
                                unsigned listener)
{
    return connection_open(list_entry(acceptor, struct worker, acceptor), fd, peer, listener);
}

static void worker_on_shortage(struct acceptor *acceptor, const char *text)
{
    worker_message(list_entry(acceptor, struct worker, acceptor), text);
}

void worker_init_acceptor(struct worker *worker)
{
    worker->acceptor = (struct acceptor){.loop = &worker->loop,
                                         .on_connection = worker_on_connection,
                                         .on_shortage = worker_on_shortage};
    acceptor_init(&worker->acceptor);
}

void worker_watch_new(struct worker *worker)
{
    while (!list_is_empty(&worker->unwatched)) {
        struct connection *connection =
            list_entry(worker->unwatched.next, struct connection, unwatched);
        int result = connection_watch(connection);
        if (result < 0)
            acceptor_pause(&worker->acceptor, -result);
    }
}

int worker_listen(struct worker *worker, int fd, const struct address *addr, struct error *err)
{
    return acceptor_add(&worker->acceptor, fd, addr, (struct acceptor_adopted){0}, err);
}

int worker_listen_adopted(struct worker *worker, int fd, const struct address *addr,
                          bool leave_queue, struct error *err)
{
    struct acceptor_adopted adopted = {.file = true, .queue = leave_queue};
    return acceptor_add(&worker->acceptor, fd, addr, adopted, err);
}

int worker_listener_fd(const struct worker *worker, int number)
{
    return acceptor_fd(&worker->acceptor, (unsigned)number);
}

int worker_adopt(struct worker *worker, int fd, const struct address *peer)
{
    return connection_open(worker, fd, peer, 0);
}
