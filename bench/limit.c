/* The limit: what a server cannot be faster than. A bare epoll loop, one recv and one send a
 * request, nothing parsed; it answers each arrival with the bytes of a file. No error handling
 * beyond ending: it is no server, it is a ruler. limit PORT FILE [CLOSE]; CLOSE: close after each
 * answer. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static char reply[1 << 22];
static char received[65536];

static size_t read_reply(const char *path)
{
    FILE *file = fopen(path, "r");
    size_t len = file ? fread(reply, 1, sizeof(reply), file) : 0;
    if (len == 0) {
        fprintf(stderr, "limit: cannot read a reply from %s\n", path);
        exit(3);
    }
    fclose(file);
    return len;
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

static void accept_all(int epoll_fd, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = fd};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void serve(int fd, size_t reply_len, int close_after)
{
    ssize_t got = recv(fd, received, sizeof(received), 0);
    if (got <= 0) {
        close(fd);
        return;
    }
    if (send(fd, reply, reply_len, MSG_NOSIGNAL) < 0 || close_after)
        close(fd);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: limit PORT FILE [CLOSE]\n");
        return 2;
    }
    size_t reply_len = read_reply(argv[2]);
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
                serve(events[i].data.fd, reply_len, argc > 3);
        }
    }
}
