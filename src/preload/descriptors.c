#include "preload/descriptors.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "preload/process.h"

/* Beyond them each is looked at each time. */
enum { KNOWN = 65536 };

/* One byte each, written by whoever makes or closes it. Relaxed throughout: a thread that uses a
 * descriptor has it from the one that made it, by whatever orders that. */
static uint8_t kinds[KNOWN];

static enum descriptor_kind descriptor_look(int fd)
{
    struct stat status;
    int code = errno;
    enum descriptor_kind kind = DESCRIPTOR_UNKNOWN;
    if (fstat(fd, &status) == 0)
        kind = S_ISSOCK(status.st_mode) ? DESCRIPTOR_SOCKET : DESCRIPTOR_OTHER;
    errno = code;
    return kind;
}

enum descriptor_kind descriptor_kind(int fd)
{
    if (fd < 0 || fd >= KNOWN)
        return fd < 0 ? DESCRIPTOR_OTHER : descriptor_look(fd);
    uint8_t kind = __atomic_load_n(&kinds[fd], __ATOMIC_RELAXED);
    if (__builtin_expect(kind == DESCRIPTOR_UNKNOWN, 0)) {
        kind = (uint8_t)descriptor_look(fd);
        __atomic_store_n(&kinds[fd], kind, __ATOMIC_RELAXED);
    }
    return kind;
}

void descriptor_set(int fd, enum descriptor_kind kind)
{
    if (fd >= 0 && fd < KNOWN && !process_is_vforked())
        __atomic_store_n(&kinds[fd], (uint8_t)kind, __ATOMIC_RELAXED);
}

void descriptors_forget(unsigned first, unsigned last)
{
    if (process_is_vforked())
        return;
    for (unsigned fd = first; fd <= last && fd < KNOWN; fd++)
        __atomic_store_n(&kinds[fd], DESCRIPTOR_UNKNOWN, __ATOMIC_RELAXED);
}
