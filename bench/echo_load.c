/* The client of an echo server. It never sleeps while it measures, so that no wake-up of it lands
 * in the server's send(): it is to have a core of its own.
 *
 *   echo_load [--connections N] [--size BYTES] [--seconds S] [--churn] [--tls] PORT
 *
 * Opens its connections, has a message echoed on each, prints "ready N" (so many were) and waits
 * for a line. Then one message is in flight on each connection for so many seconds. With --churn
 * there are no open connections: each is connected, has one message echoed, ends its side and waits
 * for the server's end. Prints a line of JSON: messages (or connections) that came back whole,
 * wrong ones, lost connections. Every byte is compared. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_OPENSSL
#include <openssl/ssl.h>
#endif

enum { MAX_SIZE = 65536, PATIENCE_S = 10, SOURCES = 200 };

struct connection {
    int fd;         /* -1: closed */
    size_t got;     /* bytes of the echo so far */
    uint64_t count; /* of its message, which begins with it */
    bool ending;    /* --churn: the echo is whole, the end is waited for */
    char *message;
#ifdef HAVE_OPENSSL
    SSL *ssl;
#endif
};

static struct {
    unsigned connections, size;
    double seconds;
    bool churn, tls;
    int port;
} options = {.connections = 16, .size = 1024, .seconds = 1};

static struct connection *connections;
static int epoll_fd;
static bool over;
static uint64_t whole, wrong, lost, opened;
static char received[MAX_SIZE];
#ifdef HAVE_OPENSSL
static SSL_CTX *tls;
#endif

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "echo_load: %s: %s\n", what, strerror(errno));
    exit(3);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ----------------------------------------------------------------------------- one connection */

/* Bytes, 0 at the end, -1 when there are none now, -2 when it is broken. */
static ssize_t receive(struct connection *connection)
{
#ifdef HAVE_OPENSSL
    if (connection->ssl) {
        int got = SSL_read(connection->ssl, received, sizeof(received));
        if (got > 0)
            return got;
        int why = SSL_get_error(connection->ssl, got);
        return why == SSL_ERROR_WANT_READ ? -1 : why == SSL_ERROR_ZERO_RETURN ? 0 : -2;
    }
#endif
    ssize_t got = recv(connection->fd, received, sizeof(received), 0);
    return got >= 0 ? got : errno == EAGAIN ? -1 : -2;
}

/* A message fits the socket's buffer, as nothing else is in it. */
static void send_message(struct connection *connection)
{
    ssize_t sent;
    connection->count++;
    connection->got = 0;
    memcpy(connection->message, &connection->count, sizeof(connection->count));
#ifdef HAVE_OPENSSL
    if (connection->ssl)
        sent = SSL_write(connection->ssl, connection->message, (int)options.size);
    else
#endif
        sent = send(connection->fd, connection->message, options.size, MSG_NOSIGNAL);
    if (sent != (ssize_t)options.size)
        lost++;
}

/* Ports of connections that ended rest for a minute: other addresses of this machine have others.
 */
static void take_source(int fd)
{
    int one = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(opened++ % SOURCES));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
        fail("bind");
}

static void start_tls(struct connection *connection)
{
#ifdef HAVE_OPENSSL
    connection->ssl = SSL_new(tls);
    SSL_set_fd(connection->ssl, connection->fd);
    if (SSL_connect(connection->ssl) != 1)
        fail("the handshake");
#else
    (void)connection;
#endif
}

static void open_one(struct connection *connection)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (fd < 0)
        fail("socket");
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    take_source(fd);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        fail("connect");
    connection->fd = fd;
    connection->ending = false;
    if (options.tls)
        start_tls(connection);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    send_message(connection);
}

static void close_one(struct connection *connection)
{
    close(connection->fd);
    connection->fd = -1;
    if (options.churn && !over)
        open_one(connection);
}

static void message_is_back(struct connection *connection)
{
    if (options.churn) {
        connection->ending = true;
        shutdown(connection->fd, SHUT_WR);
        return;
    }
    whole++;
    if (!over)
        send_message(connection);
}

static void take(struct connection *connection, size_t len)
{
    size_t left = options.size - connection->got;
    if (connection->ending || len > left ||
        memcmp(received, connection->message + connection->got, len) != 0) {
        wrong++;
        return;
    }
    connection->got += len;
    if (connection->got == options.size)
        message_is_back(connection);
}

static void on_event(struct connection *connection)
{
    ssize_t got;
    while (connection->fd >= 0 && (got = receive(connection)) != -1) {
        if (got > 0) {
            take(connection, (size_t)got);
            if (!options.tls)
                return; /* level-triggered: what is more comes with the next turn */
            continue;
        }
        if (got == 0 && connection->ending)
            whole++;
        else
            lost++;
        close_one(connection);
        return;
    }
}

/* ------------------------------------------------------------------------------------ the runs */

static void turn(void)
{
    struct epoll_event events[256];
    int count = epoll_wait(epoll_fd, events, 256, 0);
    for (int i = 0; i < count; i++)
        on_event(events[i].data.ptr);
}

/* A message on each, one after the other. Returns how many came back. */
static uint64_t open_all(void)
{
    over = true; /* one message each */
    for (unsigned i = 0; i < options.connections; i++) {
        double until = now_s() + PATIENCE_S;
        open_one(&connections[i]);
        while (whole + lost + wrong <= i && now_s() < until)
            turn();
    }
    over = false;
    return whole;
}

static bool busy(void)
{
    for (unsigned i = 0; i < options.connections; i++)
        if (connections[i].fd >= 0 && (options.churn || connections[i].got < options.size))
            return true;
    return false;
}

static void run(void)
{
    whole = wrong = lost = 0;
    for (unsigned i = 0; i < options.connections; i++) {
        if (options.churn)
            open_one(&connections[i]);
        else if (connections[i].fd >= 0)
            send_message(&connections[i]);
    }
    double until = now_s() + options.seconds;
    while (now_s() < until)
        turn();
    over = true;
    until = now_s() + PATIENCE_S;
    while (busy() && now_s() < until)
        turn();
    printf("{\"messages\": %llu, \"wrong\": %llu, \"lost\": %llu, \"unanswered\": %s}\n",
           (unsigned long long)whole, (unsigned long long)wrong, (unsigned long long)lost,
           busy() ? "true" : "false");
}

static const struct option names[] = {
    {"connections", required_argument, NULL, 'c'},
    {"size", required_argument, NULL, 's'},
    {"seconds", required_argument, NULL, 't'},
    {"churn", no_argument, NULL, 'x'},
    {"tls", no_argument, NULL, 'e'},
    {NULL, 0, NULL, 0},
};

static void read_options(int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0) {
        if (option == 'c')
            options.connections = (unsigned)atoi(optarg);
        else if (option == 's')
            options.size = (unsigned)atoi(optarg);
        else if (option == 't')
            options.seconds = atof(optarg);
        else if (option == 'x')
            options.churn = true;
        else if (option == 'e')
            options.tls = true;
    }
    if (argc - optind != 1 || options.connections == 0 || options.size > MAX_SIZE ||
        options.size < sizeof(uint64_t)) {
        fputs("usage: echo_load [--connections N] [--size BYTES] [--seconds S] [--churn] [--tls] "
              "PORT\n",
              stderr);
        exit(2);
    }
    options.port = atoi(argv[optind]);
}

static void prepare_tls(void)
{
#ifdef HAVE_OPENSSL
    tls = SSL_CTX_new(TLS_client_method());
    if (!tls)
        fail("TLS");
#else
    fputs("echo_load: was built without OpenSSL\n", stderr);
    exit(4);
#endif
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    if (options.tls)
        prepare_tls();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc(options.connections, sizeof(*connections));
    if (epoll_fd < 0 || !connections)
        fail("memory");
    for (unsigned i = 0; i < options.connections; i++) {
        connections[i].fd = -1;
        connections[i].message = malloc(options.size);
        if (!connections[i].message)
            fail("memory");
        for (unsigned j = 0; j < options.size; j++)
            connections[i].message[j] = (char)(i * 31 + j * 7);
    }
    printf("ready %llu\n", (unsigned long long)(options.churn ? 0 : open_all()));
    fflush(stdout);
    if (getchar() != EOF)
        run();
    return 0;
}
