#include "frames/memory.h"

#include <sys/uio.h>

int memory_read_process(const struct frames *frames, uint64_t address, void *into, size_t len)
{
    struct iovec ours = {into, len};
    struct iovec theirs = {(void *)(uintptr_t)address, len};
    ssize_t got = process_vm_readv(frames->pid, &ours, 1, &theirs, 1, 0);
    if (got < 0)
        return -errno;
    return (size_t)got == len ? 0 : -EFAULT;
}
