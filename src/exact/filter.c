#include "exact/filter.h"

#include <linux/seccomp.h>

/* Of i386, whose calls an x86-64 kernel takes, too. */
static const uint32_t others[] = {102 /* socketcall */, 359 /* socket */};

enum { OTHERS = sizeof(others) / sizeof(*others) };

static struct sock_filter load(size_t offset)
{
    return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset);
}

static struct sock_filter jump(unsigned how, uint32_t value, size_t if_so, size_t if_not)
{
    return (struct sock_filter)BPF_JUMP(BPF_JMP | how | BPF_K, value, (uint8_t)if_so,
                                        (uint8_t)if_not);
}

static struct sock_filter answer(uint32_t value)
{
    return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, value);
}

/* Compare the number with each of these: the last instruction is `stop`, that before it `allow`. */
static size_t compare(struct sock_filter *filter, size_t at, const uint32_t *numbers, size_t count,
                      size_t stop)
{
    for (size_t i = 0; i < count; i++, at++)
        filter[at] = jump(BPF_JEQ, numbers[i], stop - at - 1, 0);
    return at;
}

size_t filter_build(struct sock_filter filter[FILTER_MOST], const uint32_t *numbers, size_t count)
{
    if (count > FILTER_NUMBERS_MOST)
        return 0;
    size_t at = 0, behind_others = 4 + OTHERS, stop = behind_others + 2 + count + 1;
    filter[at++] = load(offsetof(struct seccomp_data, arch));
    filter[at] = jump(BPF_JEQ, FILTER_MACHINE, behind_others - at - 1, 0);
    at++;
    filter[at++] = load(offsetof(struct seccomp_data, nr));
    at = compare(filter, at, others, OTHERS, stop);
    filter[at++] = answer(SECCOMP_RET_ALLOW);
    filter[at++] = load(offsetof(struct seccomp_data, nr));
    filter[at] = jump(BPF_JGE, FILTER_X32, stop - at - 1, 0);
    at = compare(filter, at + 1, numbers, count, stop);
    filter[at++] = answer(SECCOMP_RET_ALLOW);
    filter[at++] = answer(SECCOMP_RET_TRACE);
    return at;
}
