/* The echo service (RFC 862) over TCP and UNIX sockets: what a client sends comes back, until it
 * ends its side and has all of it. One thread turns its loop.
 *
 * A connection costs no buffer while it is idle. What the kernel does not take is kept, at most
 * 64 KiB of a connection, and no more is read from that one until it has taken it. */
#ifndef ZOLAL_ECHO_ECHO_H
#define ZOLAL_ECHO_ECHO_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "socket/address.h"

/* Both callbacks may be NULL; they are called in echo_run, by its thread. */
struct echo_config {
    /* A connection was accepted. */
    void (*on_connection)(void *context, const struct address *peer);
    /* A line for the operator: descriptors are short. */
    void (*on_message)(void *context, const char *text);
    void *context;
    bool handle_signals; /* SIGTERM and SIGINT end echo_run (event_loop/signals.h) */
};

struct echo;

/* Returns 0 and sets `*echo`, owned by the caller (echo_free); -errno with `err` filled. */
int echo_new(struct echo **echo, const struct echo_config *config, struct error *err);

/* Take connections from the listening socket `fd` (listener_open), which is owned from now on, also
 * when this fails. Returns 0 or -errno with `err` filled. */
int echo_listen(struct echo *echo, int fd, const struct address *addr, struct error *err);

/* Serve until a signal (handle_signals) or echo_stop; then listeners and connections are closed.
 * Returns 0 or -errno with `err` filled. */
int echo_run(struct echo *echo, struct error *err);

/* Have echo_run end. From any thread, also before it has begun. */
void echo_stop(struct echo *echo);

/* Close what is open. Not while echo_run runs. */
void echo_free(struct echo *echo);

#endif
