/* Clocks. The only place that reads the processor's counter (TSC on x86-64, CNTVCT on aarch64).
 * The core's pure layers (http/) get their time handed in. */
#ifndef ZOLAL_BASE_CLOCK_H
#define ZOLAL_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds (clock_gettime(2)). */
uint64_t clock_monotonic_ns(void);

/* CLOCK_PROCESS_CPUTIME_ID: what all threads of this process have run, in nanoseconds. */
uint64_t clock_process_cpu_ns(void);

/* CLOCK_REALTIME in nanoseconds since 1970 (clock_gettime(2)). */
uint64_t clock_realtime_ns(void);

/* Are ticks the processor's counter? True on aarch64, and on x86-64 where CPUID says that the TSC
 * is invariant; else clock_ticks() is clock_monotonic_ns(). The answer never changes in a process.
 */
bool clock_ticks_are_counter(void);

/* A number that grows steadily: some nanoseconds to read. Convert with a calibration. */
#if defined(__x86_64__)
#include <x86intrin.h>
extern bool clock_tsc_usable; /* set once, before main, by a constructor in clock.c */
static inline uint64_t clock_ticks(void)
{
    return __builtin_expect(clock_tsc_usable, 1) ? __rdtsc() : clock_monotonic_ns();
}
#elif defined(__aarch64__)
static inline uint64_t clock_ticks(void)
{
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
}
#else
static inline uint64_t clock_ticks(void)
{
    return clock_monotonic_ns();
}
#endif

/* How ticks relate to the clocks: at `ticks`, CLOCK_MONOTONIC was `monotonic_ns` and CLOCK_REALTIME
 * `realtime_ns`; one tick lasts ns_per_tick_shift32 / 2^32 nanoseconds. */
struct clock_calibration {
    uint64_t ticks;
    uint64_t monotonic_ns;
    uint64_t realtime_ns;
    uint64_t ns_per_tick_shift32;
};

/* Measure, at a cost of about 2 ms of sleeping the first time in a process where ticks are a
 * counter; the rate is remembered. */
void clock_calibrate(struct clock_calibration *calibration);

/* `ticks` (a difference) in nanoseconds. */
uint64_t clock_ticks_to_ns(const struct clock_calibration *calibration, uint64_t ticks);

#endif
