#include "frames/memory.h"

#include <sys/syscall.h>
#include <sys/uio.h>

static int read_process(const struct frames *frames, uint64_t address, void *into, size_t len)
{
    struct iovec ours = {into, len};
    struct iovec theirs = {(void *)(uintptr_t)address, len};
    ssize_t got = process_vm_readv(frames->pid, &ours, 1, &theirs, 1, 0);
    if (got < 0)
        return -errno;
    return (size_t)got == len ? 0 : -EFAULT;
}

static size_t page_place(uint64_t page)
{
    return page / FRAMES_PAGE_SIZE % FRAMES_PAGES;
}

void frames_read_pages(struct frames *frames, struct frames_pages *pages, pid_t of)
{
    struct iovec ours[FRAMES_PAGES], theirs[FRAMES_PAGES];
    size_t count = 0;
    frames->pages = pages;
    for (size_t place = 0; place < FRAMES_PAGES; place++) {
        uint64_t page = pages->addresses[place];
        pages->addresses[place] = 0;
        if (page == 0 || pages->of != of || !pages->is_used[place])
            continue;
        ours[count] = (struct iovec){pages->bytes[place], FRAMES_PAGE_SIZE};
        theirs[count++] = (struct iovec){(void *)(uintptr_t)page, FRAMES_PAGE_SIZE};
    }
    pages->of = of;
    /* It ends at the first that is not there any more. */
    ssize_t got = count > 0 ? process_vm_readv(frames->pid, ours, count, theirs, count, 0) : 0;
    for (size_t i = 0; i < count && (ssize_t)((i + 1) * FRAMES_PAGE_SIZE) <= got; i++) {
        size_t place = page_place((uintptr_t)theirs[i].iov_base);
        pages->addresses[place] = (uintptr_t)theirs[i].iov_base;
        pages->is_used[place] = false;
    }
}

/* The copy of the page there; NULL: it cannot be read. */
static const unsigned char *page_at(const struct frames *frames, uint64_t page)
{
    struct frames_pages *pages = frames->pages;
    size_t place = page_place(page);
    pages->is_used[place] = true;
    if (pages->addresses[place] == page)
        return pages->bytes[place];
    pages->addresses[place] = 0;
    if (page == 0 || read_process(frames, page, pages->bytes[place], FRAMES_PAGE_SIZE) < 0)
        return NULL;
    pages->addresses[place] = page;
    return pages->bytes[place];
}

int memory_read_process(const struct frames *frames, uint64_t address, void *into, size_t len)
{
    if (!frames->pages)
        return read_process(frames, address, into, len);
    for (size_t done = 0; done < len;) {
        uint64_t at = address + done;
        size_t offset = at % FRAMES_PAGE_SIZE, part = FRAMES_PAGE_SIZE - offset;
        const unsigned char *page = page_at(frames, at - offset);
        if (!page)
            return read_process(frames, address, into, len); /* for its error */
        part = part < len - done ? part : len - done;
        memcpy((char *)into + done, page + offset, part);
        done += part;
    }
    return 0;
}

/* Pages are at least so large, and begin at multiples of it. */
#define PAGE UINT64_C(4096)

/* What rt_sigprocmask(2) says to a set of signals at `page` and no known thing to do with it: it
 * reads the set first, and fails with EFAULT where it cannot. Not through the C library, which
 * reads it too, sets errno, and may be wrapped. */
static long ask_kernel(uint64_t page)
{
    enum { NOTHING_KNOWN = -1, SET_SIZE = 8 };
#if defined(__x86_64__)
    long result;
    register long size __asm__("r10") = SET_SIZE;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_rt_sigprocmask), "D"((long)NOTHING_KNOWN), "S"(page), "d"(0L),
                       "r"(size)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long call __asm__("x8") = SYS_rt_sigprocmask;
    register long how __asm__("x0") = NOTHING_KNOWN;
    register uint64_t set __asm__("x1") = page;
    register long old_set __asm__("x2") = 0;
    register long size __asm__("x3") = SET_SIZE;
    __asm__ volatile("svc #0"
                     : "+r"(how)
                     : "r"(call), "r"(set), "r"(old_set), "r"(size)
                     : "memory");
    return how;
#else
    return -EFAULT;
#endif
}

/* Copy what can be read, whatever it is: a sanitizer may know it as freed. */
__attribute__((no_sanitize("address", "undefined"))) static void copy_anything(void *into,
                                                                               uint64_t address,
                                                                               size_t len)
{
    size_t at = 0;
    for (; at + 8 <= len; at += 8) {
        uint64_t word = *(const volatile uint64_t *)(uintptr_t)(address + at);
        memcpy((char *)into + at, &word, 8);
    }
    for (; at < len; at++)
        ((char *)into)[at] = *(const volatile char *)(uintptr_t)(address + at);
}

static int read_guarded(const struct frames *frames, uint64_t address, void *into, size_t len)
{
    struct memory_guard *guard = (struct memory_guard *)(uintptr_t)frames;
    if (address < PAGE || address + len < address) /* NULL would be no set */
        return -EFAULT;
    for (uint64_t page = address & ~(PAGE - 1); page < address + len; page += PAGE) {
        uint64_t *known = &guard->pages[page / PAGE % MEMORY_GUARD_PAGES];
        if (*known == page)
            continue;
        if (ask_kernel(page) == -EFAULT)
            return -EFAULT;
        *known = page;
    }
    copy_anything(into, address, len);
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
