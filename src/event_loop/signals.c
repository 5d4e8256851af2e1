#include "event_loop/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

#include "event_loop/wakeup.h"

/* A signal handler is handed nothing but the signal's number: what it needs is here. Written by
 * signals_install before the handlers are in place. */
static const int stop_signals[] = {SIGTERM, SIGINT};
#define STOP_SIGNALS (sizeof(stop_signals) / sizeof(stop_signals[0]))
static struct sigaction before[STOP_SIGNALS];
static volatile sig_atomic_t wakeup;
static volatile sig_atomic_t stop_asked;
static volatile sig_atomic_t installed;

/* The next one ends the process. sigaction(2) is in the list of signal-safety(7). */
static void on_stop_signal(int number)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    int saved = errno;
    (void)number;
    for (size_t i = 0; i < STOP_SIGNALS; i++)
        sigaction(stop_signals[i], &standard, NULL);
    stop_asked = 1;
    wakeup_signal(wakeup);
    errno = saved;
}

int signals_install(int wakeup_fd, struct error *err)
{
    struct sigaction action = {.sa_handler = on_stop_signal};
    wakeup = wakeup_fd;
    stop_asked = 0;
    for (size_t i = 0; i < STOP_SIGNALS; i++) {
        if (sigaction(stop_signals[i], NULL, &before[i]) < 0)
            return error_set(err, errno, "read", "a signal's action");
        /* A job started in the background with SIGINT ignored stays deaf to it. */
        if (before[i].sa_handler == SIG_IGN)
            continue;
        if (sigaction(stop_signals[i], &action, NULL) < 0)
            return error_set(err, errno, "set", "a signal's action");
    }
    installed = 1;
    sigset_t stops;
    sigemptyset(&stops);
    for (size_t i = 0; i < STOP_SIGNALS; i++)
        sigaddset(&stops, stop_signals[i]);
    pthread_sigmask(SIG_UNBLOCK, &stops, NULL); /* the caller may have held them up until now */
    return 0;
}

bool signals_stop_asked(void)
{
    return stop_asked != 0;
}

void signals_remove(void)
{
    if (!installed)
        return;
    for (size_t i = 0; i < STOP_SIGNALS; i++)
        sigaction(stop_signals[i], &before[i], NULL);
    installed = 0;
}
