#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "event_loop/acceptor.h"
#include "socket/listener.h"

static struct loop loop;
static struct acceptor acceptor;
static struct address addr;
static int accepted, answer, shortages;
static unsigned from;

/* Takes it and closes it; `answer` says that there was no room. */
static int on_connection(struct acceptor *own, int fd, const struct address *peer,
                         unsigned listener)
{
    assert_ptr_equal(own, &acceptor);
    assert_int_equal(peer->sa.sa_family, addr.sa.sa_family);
    close(fd);
    accepted++;
    from = listener;
    return answer;
}

static void on_shortage(struct acceptor *own, const char *text)
{
    (void)own;
    assert_non_null(strstr(text, "Too many open files (7 open"));
    shortages++;
}

static void connect_one(void)
{
    int fd = socket(addr.sa.sa_family, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, &addr.sa, addr.len), 0);
    close(fd);
}

/* Serve what is ready. Returns how many were accepted by it. */
static int turn(void)
{
    int before = accepted;
    assert_true(loop_wait(&loop, 0) >= 0);
    while (loop_dispatch_next(&loop))
        continue;
    return accepted - before;
}

static int add(struct acceptor_adopted adopted)
{
    struct listener_options options = {.backlog = 200};
    char text[ADDRESS_TEXT_SIZE];
    snprintf(text, sizeof(text), "unix:/tmp/zolal-test-acceptor-%d", (int)getpid());
    assert_int_equal(address_parse(&addr, text, NULL), 0);
    int fd = listener_open(&addr, &options, NULL);
    assert_true(fd >= 0);
    return acceptor_add(&acceptor, fd, &addr, adopted, NULL);
}

static int set_up(void **state)
{
    (void)state;
    accepted = answer = shortages = 0;
    acceptor = (struct acceptor){.loop = &loop,
                                 .on_connection = on_connection,
                                 .on_shortage = on_shortage,
                                 .connections = 7};
    acceptor_init(&acceptor);
    return loop_init(&loop, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    acceptor_close(&acceptor);
    loop_release(&loop);
    return 0;
}

static void test_a_turn_takes_a_batch(void **state)
{
    (void)state;
    assert_int_equal(add((struct acceptor_adopted){0}), 0);
    for (int i = 0; i < 100; i++)
        connect_one();
    assert_int_equal(turn(), 64);
    assert_int_equal(turn(), 36);
    assert_int_equal(turn(), 0);
}

static void test_a_hold_leaves_them_in_the_queue(void **state)
{
    (void)state;
    add((struct acceptor_adopted){0});
    acceptor_hold(&acceptor, true);
    connect_one();
    assert_int_equal(turn(), 0);
    acceptor_hold(&acceptor, false);
    assert_int_equal(turn(), 1);
}

static void test_a_shortage_is_said_once_and_passes(void **state)
{
    (void)state;
    add((struct acceptor_adopted){0});
    assert_true(acceptor_deadline(&acceptor) == TIMER_NEVER);
    answer = -EMFILE;
    for (int i = 0; i < 3; i++)
        connect_one();
    assert_int_equal(turn(), 1);
    assert_int_equal(turn(), 0); /* nobody is taken, nothing spins */
    acceptor_resume(&acceptor);
    assert_int_equal(turn(), 1);
    assert_int_equal(shortages, 1);
    answer = 0;
    acceptor_expire(&acceptor);
    assert_int_equal(turn(), 0);
    loop.now_ms = acceptor_deadline(&acceptor);
    acceptor_expire(&acceptor);
    assert_int_equal(turn(), 1);
    answer = -EMFILE; /* another occasion */
    connect_one();
    assert_int_equal(turn(), 1);
    assert_int_equal(shortages, 2);
}

static void test_a_shortage_in_a_hold_does_not_end_it(void **state)
{
    (void)state;
    add((struct acceptor_adopted){0});
    acceptor_hold(&acceptor, true);
    acceptor_pause(&acceptor, EMFILE);
    connect_one();
    acceptor_resume(&acceptor);
    assert_int_equal(turn(), 0);
    acceptor_pause(&acceptor, EMFILE);
    acceptor_hold(&acceptor, false);
    assert_int_equal(turn(), 0);
    acceptor_resume(&acceptor);
    assert_int_equal(turn(), 1);
}

static void test_what_is_left_at_the_end(void **state)
{
    (void)state;
    assert_int_equal(add((struct acceptor_adopted){.file = true, .queue = true}), 0);
    connect_one();
    acceptor_accept_all(&acceptor);
    assert_int_equal(accepted, 0);
    assert_int_equal(acceptor_fd(&acceptor, 1), -1);
    acceptor_close(&acceptor);
    assert_int_equal(access(addr.un.sun_path, F_OK), 0);
    assert_int_equal(unlink(addr.un.sun_path), 0);
    assert_int_equal(add((struct acceptor_adopted){0}), 1);
    assert_true(acceptor_fd(&acceptor, 1) >= 0);
    connect_one();
    acceptor_accept_all(&acceptor);
    assert_int_equal(accepted, 1);
    assert_int_equal(from, 1);
    acceptor_close(&acceptor);
    assert_int_equal(access(addr.un.sun_path, F_OK), -1);
}

/* As a reloader's child, whose parent keeps the socket. */
static void test_a_socket_that_others_keep_is_not_watched_on(void **state)
{
    (void)state;
    add((struct acceptor_adopted){.file = true, .queue = true});
    int kept = dup(acceptor_fd(&acceptor, 0));
    connect_one();
    assert_int_equal(loop_wait(&loop, 0), 1);
    acceptor_close(&acceptor);
    assert_true(loop_dispatch_next(&loop)); /* of nobody */
    assert_int_equal(accepted, 0);
    assert_int_equal(loop_wait(&loop, 0), 0);
    close(kept);
    unlink(addr.un.sun_path);
}

static void test_a_forked_child_touches_nothing(void **state)
{
    (void)state;
    add((struct acceptor_adopted){0});
    acceptor_forget(&acceptor);
    assert_int_equal(acceptor_fd(&acceptor, 0), -1);
    acceptor_close(&acceptor);
    assert_int_equal(unlink(addr.un.sun_path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_turn_takes_a_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_hold_leaves_them_in_the_queue, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_shortage_is_said_once_and_passes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_shortage_in_a_hold_does_not_end_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_left_at_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_socket_that_others_keep_is_not_watched_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_forked_child_touches_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
