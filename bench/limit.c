/* The limit: what a server cannot be faster than. A bare epoll loop, one recv and one send for what
 * arrived, nothing parsed: requests are told apart by their length, which is always the same. It
 * answers each with the bytes of a file, which are another server's. No error handling beyond
 * ending: it is no server, it is a ruler.
 *
 *   limit PORT FILE LENGTH [CLOSE]     LENGTH: of a request; CLOSE: close after an answer */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 1 << 16, MOST = 16 }; /* MOST: answers in one send */

static struct {
    size_t request; /* bytes of the request that is arriving */
    size_t reply;   /* bytes that are still to be sent */
} connections[MAX_FDS];

static char replies[1 << 25]; /* the reply, MOST times */
static size_t reply_len, request_len;
static int close_after;
static char received[65536];

static void read_reply(const char *path)
{
    FILE *file = fopen(path, "r");
    reply_len = file ? fread(replies, 1, sizeof(replies) / MOST, file) : 0;
    if (reply_len == 0) {
        fprintf(stderr, "limit: cannot read a reply from %s\n", path);
        exit(3);
    }
    fclose(file);
    for (size_t i = 1; i < MOST; i++)
        memcpy(replies + i * reply_len, replies, reply_len);
}

/* The socket options are zolal's. */
static int listen_on(int port)
{
    int one = 1;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 2048) < 0) {
        perror("limit: cannot listen");
        exit(3);
    }
    return fd;
}

/* As much as the kernel takes; the rest when epoll says that it takes more. False: it is closed. */
static bool send_reply(int fd)
{
    size_t left = connections[fd].reply;
    if (left == 0)
        return true;
    /* The last of the bytes to send is the last of the buffer, whatever was sent before. */
    size_t whole = MOST * reply_len;
    size_t most = left <= whole ? left : whole - reply_len + left % reply_len;
    /* Where the end follows, it leaves with the last bytes, as zolal's does. */
    int flags = MSG_NOSIGNAL | (close_after && left <= whole ? MSG_MORE : 0);
    ssize_t sent = send(fd, replies + whole - most, most, flags);
    if (sent < 0)
        return true;
    connections[fd].reply -= (size_t)sent;
    if (!close_after || connections[fd].reply > 0)
        return true;
    close(fd);
    return false;
}

static bool serve(int fd)
{
    ssize_t got = recv(fd, received, sizeof(received), 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        close(fd);
        return false;
    }
    if (got > 0) {
        connections[fd].request += (size_t)got;
        connections[fd].reply += connections[fd].request / request_len * reply_len;
        connections[fd].request %= request_len;
    }
    return send_reply(fd);
}

static void accept_all(int epoll_fd, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
        if (fd >= MAX_FDS)
            exit(3);
        connections[fd].request = connections[fd].reply = 0;
        /* With TCP_DEFER_ACCEPT the request is there already. */
        if (serve(fd))
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void on_event(int fd, unsigned events)
{
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        serve(fd);
    else
        send_reply(fd);
}

int main(int argc, char **argv)
{
    if (argc < 4 || (request_len = (size_t)atoi(argv[3])) == 0) {
        fprintf(stderr, "usage: limit PORT FILE LENGTH [CLOSE]\n");
        return 2;
    }
    read_reply(argv[2]);
    close_after = argc > 4;
    int listener = listen_on(atoi(argv[1]));
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[64], event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, 64, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll_fd, listener);
            else
                on_event(events[i].data.fd, events[i].events);
        }
    }
}
