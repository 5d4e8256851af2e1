/* Load for an echo server: connections that each send a message, wait for it to come back whole,
 * compare it, and send the next. It never sleeps, so that the server's wake-ups cost what they cost
 * a busy client.
 *
 *   echo_load PORT CONNECTIONS BYTES SECONDS
 *
 * Prints "ready" when the connections are there, begins at a line on standard input, and prints the
 * messages that came back, and those that came back wrong. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    unsigned char number; /* what its messages are made of */
    size_t left;          /* bytes of the message that are still to come */
};

static size_t message_len;
static char *message, *received;
static unsigned long long messages, wrong;

static void fail(const char *what)
{
    perror(what);
    exit(3);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int connect_to(int port)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        fail("echo_load: cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void ask(struct client *client)
{
    memset(message, ++client->number, message_len);
    client->left = message_len;
    if (send(client->fd, message, message_len, MSG_NOSIGNAL) != (ssize_t)message_len)
        fail("echo_load: cannot send");
}

/* True: the message is back, whole. */
static bool take(struct client *client)
{
    ssize_t got = recv(client->fd, received, client->left, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0)
        fail("echo_load: the server has ended");
    for (ssize_t i = 0; i < got; i++)
        wrong += (unsigned char)received[i] != client->number;
    client->left -= (size_t)got;
    messages += client->left == 0;
    return client->left == 0;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: echo_load PORT CONNECTIONS BYTES SECONDS\n");
        return 2;
    }
    size_t count = (size_t)atoi(argv[2]), busy;
    message_len = (size_t)atoi(argv[3]);
    struct client *clients = calloc(count, sizeof(*clients));
    message = malloc(message_len);
    received = malloc(message_len);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || !message || !received || epoll_fd < 0)
        fail("echo_load");
    for (size_t i = 0; i < count; i++) {
        clients[i] = (struct client){.fd = connect_to(atoi(argv[1])), .number = (unsigned char)i};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, clients[i].fd, &event);
    }
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;
    double end = now() + atof(argv[4]);
    for (size_t i = 0; i < count; i++)
        ask(&clients[i]);
    for (busy = count; busy > 0;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll_fd, events, 256, 0);
        bool over = now() >= end;
        for (int i = 0; i < ready; i++) {
            if (!take(events[i].data.ptr))
                continue;
            if (over)
                busy--;
            else
                ask(events[i].data.ptr);
        }
    }
    printf("%llu %llu\n", messages, wrong);
    return 0;
}
