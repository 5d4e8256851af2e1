/* What server/lead.c asks of the system: waiting, waking, and a thread's CPU clock. A test that
 * explores every interleaving links its own instead. */
#ifndef ZOLAL_SERVER_LEAD_SYSTEM_H
#define ZOLAL_SERVER_LEAD_SYSTEM_H

#include <semaphore.h>
#include <stdint.h>
#include <time.h>

/* Where one thread waits and others wake it: a wake-up that comes first is not lost. */
struct lead_gate {
    sem_t opened;
};

enum lead_woken { LEAD_WOKEN, LEAD_TIMED_OUT, LEAD_INTERRUPTED };

typedef clockid_t lead_cpu_clock;

#define LEAD_FOR_EVER UINT64_MAX

/* Returns 0 or -errno. */
int lead_gate_init(struct lead_gate *gate);
void lead_gate_release(struct lead_gate *gate);

/* Wait for lead_gate_open, a signal handler that has run in this thread, or `timeout_ns`. Called
 * without the worker's lock. */
enum lead_woken lead_gate_wait(struct lead_gate *gate, uint64_t timeout_ns);

void lead_gate_open(struct lead_gate *gate);

/* The calling thread's CPU clock, pthread_getcpuclockid(3). Returns 0 or -errno. */
int lead_cpu_clock_here(lead_cpu_clock *clock);

/* Nanoseconds that its thread has run. It must still exist. */
uint64_t lead_cpu_ns(lead_cpu_clock clock);

#endif
