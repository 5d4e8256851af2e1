#include "frames/memory.h"

#include <sys/time.h>
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

/* Pages are at least so large, and begin at multiples of it. */
#define PAGE UINT64_C(4096)

/* setitimer(2) reads what it is given, and fails with EFAULT where it cannot, before it sees that
 * there is no such timer: of the calls that only look, the cheapest, and no program's libraries
 * wrap it. */
static bool is_readable(uint64_t page)
{
    return setitimer((__itimer_which_t)-1, (const void *)(uintptr_t)page, NULL) == 0 ||
           errno != EFAULT;
}

static int read_guarded(const struct frames *frames, uint64_t address, void *into, size_t len)
{
    struct memory_guard *guard = (struct memory_guard *)(uintptr_t)frames;
    if (address < PAGE || address + len < address) /* NULL would be no value to setitimer */
        return -EFAULT;
    for (uint64_t page = address & ~(PAGE - 1); page < address + len; page += PAGE) {
        uint64_t *known = &guard->pages[page / PAGE % MEMORY_GUARD_PAGES];
        if (*known == page)
            continue;
        if (!is_readable(page))
            return -EFAULT;
        *known = page;
    }
    memcpy(into, (const void *)(uintptr_t)address, len);
    return 0;
}

const struct frames *memory_guarded(struct memory_guard *guard, const struct frames *frames)
{
    if (frames->read || frames->running_state() != frames->thread_state())
        return frames;
    guard->frames = *frames;
    guard->frames.read = read_guarded;
    memset(guard->pages, 0, sizeof(guard->pages));
    return &guard->frames;
}
