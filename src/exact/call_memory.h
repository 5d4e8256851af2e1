/* What call.c and told.c read of a thread's memory. */
#ifndef ZOLAL_EXACT_CALL_MEMORY_H
#define ZOLAL_EXACT_CALL_MEMORY_H

#include "exact/call.h"

/* A length, 32 bits of it; 0: there is none. */
uint32_t call_read_len(pid_t tid, uint64_t address);

/* The three sets of select(2), each empty where there is none. */
void call_read_sets(pid_t tid, const uint64_t args[6], fd_set sets[3]);

#endif
