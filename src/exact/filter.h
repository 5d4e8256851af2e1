/* The seccomp(2) filter by which a program stops at the calls that are recorded, and at no others:
 * a program of BPF, made of their numbers. Pure. */
#ifndef ZOLAL_EXACT_FILTER_H
#define ZOLAL_EXACT_FILTER_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

/* The machine that we are for, as seccomp(2) numbers it; and from which number on x86-64 has
 * x32's. */
#if defined(__x86_64__)
#define FILTER_MACHINE 0xC000003Eu /* AUDIT_ARCH_X86_64 */
#define FILTER_X32     0x40000000u
#elif defined(__aarch64__)
#define FILTER_MACHINE 0xC00000B7u /* AUDIT_ARCH_AARCH64 */
#define FILTER_X32     0xFFFFFFFFu
#endif

/* Jumps reach no further. */
enum { FILTER_NUMBERS_MOST = 200, FILTER_MOST = FILTER_NUMBERS_MOST + 16 };

/* Write it: calls with these numbers stop, those of x32 do, and i386's socket(2) and socketcall(2),
 * so that one can say that they are made. Returns how many instructions it has; 0: there are too
 * many numbers. */
size_t filter_build(struct sock_filter filter[FILTER_MOST], const uint32_t *numbers, size_t count);

#endif
