/* An HTTP server in C on zolal's core, without Python: build/examples/hello [ADDRESS] */
#include <stdio.h>

#include "server/worker.h"
#include "socket/listener.h"

static void on_request(void *worker, struct exchange *exchange)
{
    struct http_field type = {SLICE("Content-Type"), SLICE("text/plain")};
    struct response_fields facts = {0};
    struct slice body = SLICE("Hello, world\n");
    (void)worker;
    response_field_check(&facts, type.name, type.value);
    if (exchange_send_head(exchange, 200, SLICE("OK"), &type, 1, &facts, (int64_t)body.len) == 0)
        exchange_send(exchange, body, (struct lender){0});
    exchange_finish(exchange);
}

/* Everything is answered in on_request, so nothing is ever kept. */
static void on_nothing(void *worker, struct exchange *exchange)
{
    (void)worker;
    (void)exchange;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct address addr;
    struct worker *worker;
    struct listener_options options = {.backlog = 1024};
    struct worker_config config = {
        .limits = limits_default,
        .handler = {on_request, on_nothing, on_nothing, NULL},
        .access_log_fd = -1,
        .handle_signals = true,
    };
    char text[ADDRESS_TEXT_SIZE];
    int fd;
    if (address_parse(&addr, argc > 1 ? argv[1] : "127.0.0.1:8000", &err) < 0 ||
        (fd = listener_open(&addr, &options, &err)) < 0 || worker_new(&worker, &config, &err) < 0 ||
        worker_listen(worker, fd, &addr, &err) < 0) {
        fprintf(stderr, "hello: %s\n", err.text);
        return 3;
    }
    address_print(&addr, text);
    printf("http://%s\n", text);
    fflush(stdout);
    int result = worker_run(worker, &err);
    worker_free(worker);
    return result < 0 ? 1 : 0;
}
