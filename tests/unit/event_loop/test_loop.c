#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "event_loop/kernel_epoll.h"
#include "event_loop/loop.h"
#include "event_loop/signals.h"
#include "event_loop/timers.h"
#include "event_loop/wakeup.h"

/* The errno that the next such call fails with; 0: it is made. */
static int create_fails, ctl_fails, wait_fails, eventfd_fails;

static int fails(int *code)
{
    errno = *code;
    *code = 0;
    return errno;
}

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags);
int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __real_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);

int __wrap_epoll_create1(int flags)
{
    return create_fails && fails(&create_fails) ? -1 : __real_epoll_create1(flags);
}

int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    return ctl_fails && fails(&ctl_fails) ? -1 : __real_epoll_ctl(epoll, operation, fd, event);
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    return wait_fails && fails(&wait_fails) ? -1 : __real_epoll_wait(epoll, events, most, timeout);
}

int __wrap_eventfd(unsigned count, int flags)
{
    return eventfd_fails && fails(&eventfd_fails) ? -1 : __real_eventfd(count, flags);
}

/* A socket pair whose one end is watched. */
struct watched {
    struct loop_watch watch;
    int peer;
    int count;
    uint32_t ready;
    struct loop *inner; /* turned inside on_ready when not NULL */
};

static void on_ready(struct loop_watch *watch, uint32_t ready)
{
    struct watched *watched = (struct watched *)watch;
    watched->count++;
    watched->ready = ready;
    if (watched->inner && loop_wait(watched->inner, 0) > 0)
        while (loop_dispatch_next(watched->inner))
            continue;
}

static void watch_pair(struct loop *loop, struct watched *watched, uint32_t events)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    *watched = (struct watched){.watch = {.fd = pair[0], .on_ready = on_ready}, .peer = pair[1]};
    assert_int_equal(loop_add(loop, &watched->watch, events), 0);
}

static void close_pair(struct watched *watched)
{
    close(watched->watch.fd);
    close(watched->peer);
}

static void turn(struct loop *loop, int timeout_ms)
{
    assert_true(loop_wait(loop, timeout_ms) >= 0);
    while (loop_dispatch_next(loop))
        continue;
}

static void test_an_event_is_told(void **state)
{
    struct loop loop;
    struct watched watched;
    (void)state;
    assert_int_equal(loop_init(&loop, NULL), 0);
    watch_pair(&loop, &watched, LOOP_READABLE);
    turn(&loop, 0);
    assert_int_equal(watched.count, 0);
    assert_int_equal(write(watched.peer, "x", 1), 1);
    turn(&loop, -1);
    turn(&loop, -1); /* level: as long as it is there */
    assert_int_equal(watched.count, 2);
    assert_true(watched.ready & LOOP_READABLE);
    assert_int_equal(loop_change(&loop, &watched.watch, LOOP_READABLE | LOOP_EDGE), 0);
    turn(&loop, 0);
    turn(&loop, 0); /* edge: once */
    assert_int_equal(watched.count, 3);
    loop_remove(&loop, &watched.watch);
    assert_int_equal(write(watched.peer, "x", 1), 1);
    turn(&loop, 0);
    assert_int_equal(watched.count, 3);
    close_pair(&watched);
    loop_release(&loop);
}

/* A turn inside a turn serves what the outer one has not served yet, and each event comes once. */
static void test_a_turn_inside_a_turn(void **state)
{
    struct loop loop;
    struct watched watched[5];
    (void)state;
    assert_int_equal(loop_init(&loop, NULL), 0);
    for (int i = 0; i < 5; i++) {
        watch_pair(&loop, &watched[i], LOOP_READABLE | LOOP_EDGE);
        assert_int_equal(write(watched[i].peer, "x", 1), 1);
        watched[i].inner = i % 2 == 0 ? &loop : NULL;
    }
    turn(&loop, -1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(watched[i].count, 1);
    turn(&loop, 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(watched[i].count, 1);
        close_pair(&watched[i]);
    }
    loop_release(&loop);
}

static void test_failures_of_the_loop(void **state)
{
    struct loop loop;
    struct error err = {0};
    struct loop_watch watch = {.fd = 0, .on_ready = on_ready};
    (void)state;
    create_fails = EMFILE;
    assert_int_equal(loop_init(&loop, &err), -EMFILE);
    assert_non_null(strstr(err.text, "epoll"));
    assert_int_equal(loop_init(&loop, &err), 0);
    ctl_fails = ENOSPC;
    assert_int_equal(loop_add(&loop, &watch, LOOP_READABLE), -ENOSPC);
    wait_fails = EINTR;
    assert_int_equal(loop_wait(&loop, -1), 0); /* a signal is no failure */
    wait_fails = EBADF;
    assert_int_equal(loop_wait(&loop, -1), -EBADF);
    struct wakeup wakeup;
    eventfd_fails = EMFILE;
    assert_int_equal(wakeup_init(&wakeup, &loop, NULL, &err), -EMFILE);
    ctl_fails = ENOMEM;
    assert_int_equal(wakeup_init(&wakeup, &loop, NULL, &err), -ENOMEM);
    loop_release(&loop);
}

static int wakeups;

static void on_wakeup(struct wakeup *wakeup)
{
    (void)wakeup;
    wakeups++;
}

static void *signal_thrice(void *fd)
{
    for (int i = 0; i < 3; i++)
        wakeup_signal(*(int *)fd);
    return NULL;
}

static void test_another_thread_wakes_the_loop(void **state)
{
    struct loop loop;
    struct wakeup wakeup;
    pthread_t thread;
    (void)state;
    loop_init(&loop, NULL);
    assert_int_equal(wakeup_init(&wakeup, &loop, on_wakeup, NULL), 0);
    wakeups = 0;
    assert_int_equal(pthread_create(&thread, NULL, signal_thrice, &wakeup.watch.fd), 0);
    turn(&loop, -1);
    pthread_join(thread, NULL);
    turn(&loop, 0);
    assert_true(wakeups >= 1 && wakeups <= 2);
    int before = wakeups;
    turn(&loop, 0);
    assert_int_equal(wakeups, before);
    errno = ENOENT;
    wakeup_signal(wakeup.watch.fd);
    assert_int_equal(errno, ENOENT);
    wakeup_release(&wakeup);
    loop_release(&loop);
}

static void test_timers_expire_in_order(void **state)
{
    struct timer_queue queue, never;
    struct timer timers[3];
    (void)state;
    timer_queue_init(&queue, 100);
    timer_queue_init(&never, 0);
    assert_int_equal(timer_queue_deadline(&queue), TIMER_NEVER);
    for (int i = 0; i < 3; i++) {
        timer_init(&timers[i]);
        timer_start(&queue, &timers[i], (uint64_t)(1000 + i));
    }
    assert_int_equal(timer_queue_deadline(&queue), 1100);
    timer_start(&queue, &timers[0], 1050); /* again: now it is the last */
    timer_stop(&timers[2]);
    timer_stop(&timers[2]);
    assert_null(timer_queue_expire(&queue, 1100));
    assert_ptr_equal(timer_queue_expire(&queue, 1101), &timers[1]);
    assert_null(timer_queue_expire(&queue, 1149));
    timer_start(&never, &timers[0], 1060); /* off its queue, and it never expires */
    assert_null(timer_queue_expire(&queue, UINT64_MAX));
    assert_null(timer_queue_expire(&never, UINT64_MAX));
    assert_int_equal(timer_queue_deadline(&never), TIMER_NEVER);
}

/* In a child, since signals are the process's. Returns its wait status. */
static int in_child(void (*act)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        act();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static struct loop child_loop;
static struct wakeup child_wakeup;

static void install(void)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (loop_init(&child_loop, NULL) < 0 ||
        wakeup_init(&child_wakeup, &child_loop, on_wakeup, NULL) < 0 ||
        signals_install(child_wakeup.watch.fd, NULL) < 0 || signals_stop_asked())
        _exit(9);
}

static void take_one_signal(void)
{
    install();
    wakeups = 0;
    raise(SIGTERM);
    if (loop_wait(&child_loop, 10000) != 1)
        _exit(2);
    while (loop_dispatch_next(&child_loop))
        continue;
    _exit(wakeups == 1 && signals_stop_asked() ? 0 : 3);
}

static void take_two_signals(void)
{
    install();
    raise(SIGTERM);
    raise(SIGINT);
}

static void take_after_removal(void)
{
    install();
    signals_remove();
    raise(SIGTERM);
}

static void ignore_interrupts(void)
{
    signal(SIGINT, SIG_IGN);
    if (loop_init(&child_loop, NULL) < 0 || signals_install(-1, NULL) < 0)
        _exit(9);
    raise(SIGINT);
    raise(SIGINT);
    _exit(signals_stop_asked());
}

static void test_signals(void **state)
{
    (void)state;
    assert_int_equal(in_child(take_one_signal), 0);
    int status = in_child(take_two_signals);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    status = in_child(take_after_removal);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_int_equal(in_child(ignore_interrupts), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_event_is_told),
        cmocka_unit_test(test_a_turn_inside_a_turn),
        cmocka_unit_test(test_failures_of_the_loop),
        cmocka_unit_test(test_another_thread_wakes_the_loop),
        cmocka_unit_test(test_timers_expire_in_order),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
