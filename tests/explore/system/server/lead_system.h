/* Found before src/server/lead_system.h: the same functions, of threads that the explorer
 * schedules. Their meaning is said there. */
#ifndef ZOLAL_SERVER_LEAD_SYSTEM_H
#define ZOLAL_SERVER_LEAD_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

struct lead_gate {
    unsigned opened;
    unsigned is_there;
};

typedef int lead_cpu_clock; /* the thread's number */

#define LEAD_FOR_EVER UINT64_MAX

/* So that the keeper's ways are shorter. */
#define LEAD_QUIET_LOOKS 2
#define LEAD_LONG_LOOKS  3
#define LEAD_ALERT_LOOKS 1

int lead_gate_init(struct lead_gate *gate);
void lead_gate_release(struct lead_gate *gate);
bool lead_gate_wait(struct lead_gate *gate, uint64_t end_ns);
void lead_gate_open(struct lead_gate *gate);
uint64_t lead_now_ns(void);
int lead_cpu_clock_here(lead_cpu_clock *clock);
uint64_t lead_cpu_ns(lead_cpu_clock clock);

#endif
