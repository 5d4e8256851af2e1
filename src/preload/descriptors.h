/* What the process's descriptors are: of read(2), write(2), close(2) and their like only those on
 * sockets, epolls and eventfds are recorded, or every import of a module would be. */
#ifndef ZOLAL_PRELOAD_DESCRIPTORS_H
#define ZOLAL_PRELOAD_DESCRIPTORS_H

#include <stdbool.h>

enum descriptor_kind {
    DESCRIPTOR_UNKNOWN, /* not looked at since it was closed, or never */
    DESCRIPTOR_OTHER,   /* a file, a pipe, a terminal: not recorded */
    DESCRIPTOR_SOCKET,
    DESCRIPTOR_EVENT, /* epoll, eventfd */
};

/* Its kind, found out by fstat(2) where it is not known. Changes no errno. */
enum descriptor_kind descriptor_kind(int fd);

/* Is it one whose calls are recorded? */
static inline bool descriptor_is_watched(int fd)
{
    return descriptor_kind(fd) >= DESCRIPTOR_SOCKET;
}

/* A call has made it one of this kind; negative numbers are nothing. */
void descriptor_set(int fd, enum descriptor_kind kind);

/* All from `first` to `last` are gone, or may be. */
void descriptors_forget(unsigned first, unsigned last);

#endif
