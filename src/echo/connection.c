#include "echo/connection.h"

#include <errno.h>

#include "base/memory.h"
#include "trace/recorder.h"

#define WATCHED (LOOP_READABLE | LOOP_PEER_ENDED | LOOP_URGENT | LOOP_EDGE)

static void connection_free(struct echo_connection *connection)
{
    struct echo *echo = connection->echo;
    list_unlink(&connection->node);
    list_unlink(&connection->again);
    buffer_release(&connection->waiting);
    memory_free(connection);
    echo->acceptor.connections--;
    acceptor_resume(&echo->acceptor);
}

/* `reason`: 0 after the client's own end; -errno. A client that is there, and has not got all, must
 * not take it for all. */
static void connection_end(struct echo_connection *connection, ssize_t reason)
{
    bool is_gone = reason == -ECONNRESET || reason == -EPIPE;
    if (reason == 0)
        stream_shutdown(&connection->stream);
    if (reason == 0 || is_gone)
        stream_close(&connection->stream);
    else
        stream_reset(&connection->stream);
    connection_free(connection);
}

void echo_connection_close(struct echo_connection *connection)
{
    trace_subject(connection->id, 0);
    connection_end(connection, buffer_len(&connection->waiting) > 0 ? -ECANCELED : 0);
}

/* Send `bytes`. Returns how many the kernel has taken, 0: none now; or -errno. */
static ssize_t connection_send(struct echo_connection *connection, struct slice bytes)
{
    struct iovec part = {(void *)bytes.data, bytes.len};
    ssize_t sent;
    do
        sent = stream_send(&connection->stream, &part, 1, false);
    while (sent == -EINTR); /* no edge would tell that it is to be tried again */
    return sent == -EAGAIN ? 0 : sent;
}

/* Send what waits. Returns 1 or -errno. */
static ssize_t connection_flush(struct echo_connection *connection)
{
    ssize_t sent = connection_send(connection, buffer_slice(&connection->waiting));
    if (sent < 0)
        return sent;
    buffer_consume(&connection->waiting, (size_t)sent);
    if (buffer_len(&connection->waiting) == 0)
        buffer_release(&connection->waiting);
    return 1;
}

/* From now on, be told of room, too. Only who did not read in time needs that: others would be told
 * of it when they come, and on UNIX sockets whenever they read. Returns 0 or -errno. */
static int connection_watch_room(struct echo_connection *connection)
{
    if (connection->watches_room)
        return 0;
    connection->watches_room = true;
    return loop_change(&connection->echo->loop, &connection->watch, WATCHED | LOOP_WRITABLE);
}

/* Send what was received, and keep the rest. Returns 0 or -errno. */
static ssize_t connection_echo(struct echo_connection *connection, size_t len)
{
    struct slice bytes = slice_of(connection->echo->received, len);
    ssize_t sent = connection_send(connection, bytes);
    if (sent < 0)
        return sent;
    if ((size_t)sent == len)
        return 0;
    int result =
        buffer_append(&connection->waiting, slice_of(bytes.data + sent, bytes.len - (size_t)sent));
    return result < 0 ? result : connection_watch_room(connection);
}

/* Read once, and echo that. Returns 1; 0: the client has ended; -errno. */
static ssize_t connection_step(struct echo_connection *connection)
{
    struct echo *echo = connection->echo;
    ssize_t len = stream_recv(&connection->stream, echo->received, sizeof(echo->received));
    if (len == 0)
        return 0;
    /* A short read has taken all there was, epoll(7), or stands before urgent data; and an end that
     * was told already comes by no other edge. */
    if (len == -EAGAIN ||
        (len > 0 && (size_t)len < sizeof(echo->received) && !connection->reads_on))
        connection->readable = false;
    if (len < 0)
        return len == -EAGAIN || len == -EINTR ? 1 : len;
    ssize_t result = connection_echo(connection, (size_t)len);
    return result < 0 ? result : 1;
}

void echo_connection_serve(struct echo_connection *connection)
{
    ssize_t result = 1;
    trace_subject(connection->id, 0);
    if (buffer_len(&connection->waiting) > 0)
        result = connection_flush(connection);
    for (int i = 0; i < ECHO_TURN && result > 0; i++) {
        if (!connection->readable || buffer_len(&connection->waiting) > 0)
            return;
        result = connection_step(connection);
    }
    if (result <= 0)
        connection_end(connection, result);
    else if (!list_is_linked(&connection->again))
        list_append(&connection->echo->again, &connection->again);
}

static void connection_on_ready(struct loop_watch *watch, uint32_t ready)
{
    struct echo_connection *connection = list_entry(watch, struct echo_connection, watch);
    if (ready & (LOOP_PEER_ENDED | LOOP_URGENT | LOOP_BROKEN))
        connection->readable = connection->reads_on = true;
    if (ready & LOOP_READABLE)
        connection->readable = true;
    echo_connection_serve(connection);
}

int echo_connection_open(struct echo *echo, int fd)
{
    struct echo_connection *connection = memory_new(sizeof(*connection));
    struct stream stream;
    int result = -ENOMEM;
    stream_init_socket(&stream, fd);
    if (!connection)
        goto close_stream;
    connection->watch = (struct loop_watch){.fd = fd, .on_ready = connection_on_ready};
    connection->stream = stream;
    connection->echo = echo;
    connection->id = echo->acceptor.connection_ids + 1;
    list_init(&connection->node);
    list_init(&connection->again);
    buffer_init(&connection->waiting, ECHO_RECEIVE_SIZE);
    result = loop_add(&echo->loop, &connection->watch, WATCHED);
    if (result < 0)
        goto free_connection;
    list_append(&echo->connections, &connection->node);
    echo->acceptor.connection_ids++;
    echo->acceptor.connections++;
    return 0;

free_connection:
    memory_free(connection);
close_stream:
    stream_close(&stream);
    return result;
}
