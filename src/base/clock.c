#include "base/clock.h"

#include <stdatomic.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* Written once by the constructor below, before any thread runs; read only from then on. */
bool clock_tsc_usable;

/* CPUID 80000007H, EDX bit 8: the TSC ticks at one rate in every power state. */
__attribute__((constructor)) static void clock_look_at_tsc(void)
{
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx))
        clock_tsc_usable = (edx & (1u << 8)) != 0;
}
#endif

static uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_process_cpu_ns(void)
{
    return clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t clock_realtime_ns(void)
{
    return clock_read_ns(CLOCK_REALTIME);
}

bool clock_ticks_are_counter(void)
{
#if defined(__x86_64__)
    return clock_tsc_usable;
#elif defined(__aarch64__)
    return true;
#else
    return false;
#endif
}

#define CALIBRATION_NS 2000000

/* A product of two 64-bit numbers; not ISO C, but in every compiler that we name. */
__extension__ typedef unsigned __int128 wide;

/* Both clocks at one moment: of a few tries the one that took least. */
static void clock_read_both(uint64_t *ticks, uint64_t *monotonic_ns)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        uint64_t before = clock_ticks();
        uint64_t ns = clock_monotonic_ns();
        uint64_t after = clock_ticks();
        if (after - before < best) {
            best = after - before;
            *ticks = before + best / 2;
            *monotonic_ns = ns;
        }
    }
}

static uint64_t clock_measure_rate(void)
{
    struct timespec nap = {.tv_nsec = CALIBRATION_NS};
    uint64_t ticks[2], ns[2];
    clock_read_both(&ticks[0], &ns[0]);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
    clock_read_both(&ticks[1], &ns[1]);
    uint64_t passed = ticks[1] > ticks[0] ? ticks[1] - ticks[0] : 1;
    return (uint64_t)(((wide)(ns[1] - ns[0]) << 32) / passed);
}

void clock_calibrate(struct clock_calibration *calibration)
{
    /* The rate is a fact about the machine, the same whoever measures it: relaxed, partner: itself.
     */
    static _Atomic uint64_t known_rate;
    uint64_t rate = atomic_load_explicit(&known_rate, memory_order_relaxed);
    if (rate == 0) {
        rate = clock_ticks_are_counter() ? clock_measure_rate() : UINT64_C(1) << 32;
        atomic_store_explicit(&known_rate, rate, memory_order_relaxed);
    }
    clock_read_both(&calibration->ticks, &calibration->monotonic_ns);
    calibration->realtime_ns = clock_realtime_ns();
    calibration->ns_per_tick_shift32 = rate;
}

uint64_t clock_ticks_to_ns(const struct clock_calibration *calibration, uint64_t ticks)
{
    return (uint64_t)(((wide)ticks * calibration->ns_per_tick_shift32) >> 32);
}
