/* A TCP echo server in C on zolal's core, without Python: build/examples/echo [ADDRESS] */
#include <stdio.h>

#include "echo/echo.h"
#include "socket/listener.h"

static void on_connection(void *context, const struct address *peer)
{
    char text[ADDRESS_TEXT_SIZE];
    (void)context;
    address_print(peer, text);
    printf("Connection from %s\n", text);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct echo_config config = {.on_connection = on_connection, .handle_signals = true};
    struct listener_options options = {.backlog = 1024};
    struct error err = {0};
    struct address addr;
    struct echo *echo;
    char text[ADDRESS_TEXT_SIZE];
    int fd;
    if (address_parse(&addr, argc > 1 ? argv[1] : "127.0.0.1:9999", &err) < 0 ||
        (fd = listener_open(&addr, &options, &err)) < 0 || echo_new(&echo, &config, &err) < 0 ||
        echo_listen(echo, fd, &addr, &err) < 0) {
        fprintf(stderr, "echo: %s\n", err.text);
        return 3;
    }
    address_print(&addr, text);
    printf("%s\n", text);
    fflush(stdout);
    int result = echo_run(echo, &err);
    echo_free(echo);
    return result < 0 ? 1 : 0;
}
