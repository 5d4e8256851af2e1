/* What an event of the recording costs: nanoseconds for a call with its two looks at the clock. */
#include <inttypes.h>
#include <stdio.h>

#include "trace/recorder.h"

#define EVENTS 2000000

static double ns_per_event(void)
{
    uint64_t begin = clock_monotonic_ns();
    for (int i = 0; i < EVENTS; i++) {
        uint64_t t0 = trace_start();
        trace_call(TRACE_RECVFROM, 7, 65536, i, t0);
    }
    return (double)(clock_monotonic_ns() - begin) / EVENTS;
}

int main(void)
{
    struct recording *recording;
    struct error err = {0};
    printf("without a recorder  %6.1f ns\n", ns_per_event());
    if (recording_create(&recording, 0, &err) < 0 || recorder_attach(recording) < 0) {
        fprintf(stderr, "recorder: %s\n", err.text);
        return 1;
    }
    ns_per_event();
    printf("with a recorder     %6.1f ns\n", ns_per_event());
    recorder_detach();
    recording_close(recording, true);
    return 0;
}
