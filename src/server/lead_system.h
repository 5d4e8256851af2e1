/* What server/lead.c asks of the system: waiting, waking, and a thread's CPU clock. A test that
 * explores every interleaving links its own instead. */
#ifndef ZOLAL_SERVER_LEAD_SYSTEM_H
#define ZOLAL_SERVER_LEAD_SYSTEM_H

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Where one thread waits and others wake it: a wake-up that comes first is not lost. */
struct lead_gate {
    sem_t opened;
};

typedef clockid_t lead_cpu_clock;

#define LEAD_FOR_EVER UINT64_MAX

/* Returns 0 or -errno. */
int lead_gate_init(struct lead_gate *gate);
void lead_gate_release(struct lead_gate *gate);

/* Wait for lead_gate_open, a signal handler that has run in this thread, or `end_ns`, a time of
 * lead_now_ns. Returns false when it was the time. Called without the worker's lock. */
bool lead_gate_wait(struct lead_gate *gate, uint64_t end_ns);

void lead_gate_open(struct lead_gate *gate);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t lead_now_ns(void);

/* The calling thread's CPU clock, pthread_getcpuclockid(3). Returns 0 or -errno. */
int lead_cpu_clock_here(lead_cpu_clock *clock);

/* Nanoseconds that its thread has run. It must still exist. */
uint64_t lead_cpu_ns(lead_cpu_clock clock);

#endif
