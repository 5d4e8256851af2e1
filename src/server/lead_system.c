#include "server/lead_system.h"

#include <errno.h>
#include <pthread.h>

#include "base/clock.h"

#define NS_IN_S 1000000000

int lead_gate_init(struct lead_gate *gate)
{
    return sem_init(&gate->opened, 0, 0) < 0 ? -errno : 0;
}

void lead_gate_release(struct lead_gate *gate)
{
    sem_destroy(&gate->opened);
}

bool lead_gate_wait(struct lead_gate *gate, uint64_t end_ns)
{
    struct timespec end = {(time_t)(end_ns / NS_IN_S), (long)(end_ns % NS_IN_S)};
    int result = end_ns == LEAD_FOR_EVER ? sem_wait(&gate->opened)
                                         : sem_clockwait(&gate->opened, CLOCK_MONOTONIC, &end);
    return result == 0 || errno != ETIMEDOUT;
}

void lead_gate_open(struct lead_gate *gate)
{
    sem_post(&gate->opened);
}

uint64_t lead_now_ns(void)
{
    return clock_monotonic_ns();
}

int lead_cpu_clock_here(lead_cpu_clock *clock)
{
    return -pthread_getcpuclockid(pthread_self(), clock);
}

uint64_t lead_cpu_ns(lead_cpu_clock clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) < 0)
        return 0;
    return (uint64_t)now.tv_sec * NS_IN_S + (uint64_t)now.tv_nsec;
}
