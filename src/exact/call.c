#include "exact/call.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "exact/call_memory.h"

enum { LINE_LOOK = 2048 };

/* Is it a socket, an epoll, an eventfd; or can that not be told? */
static bool is_watched(pid_t tid, uint64_t fd)
{
    static const char *const watched[] = {"socket:", "anon_inode:[eventpoll]",
                                          "anon_inode:[eventfd"};
    char target[32];
    int result = tracee_descriptor(tid, (int)fd, target, sizeof(target));
    if (result < 0)
        return result != -ENOENT;
    for (size_t i = 0; i < sizeof(watched) / sizeof(*watched); i++)
        if (strncmp(target, watched[i], strlen(watched[i])) == 0)
            return true;
    return false;
}

bool call_is_watched(const struct call *call, pid_t tid)
{
    const uint64_t *args = call->entered.args;
    if (!call->kind->is_on_any || is_watched(tid, args[0]))
        return true;
    bool replaces = call->kind->op == TRACE_DUP2 || call->kind->op == TRACE_DUP3;
    return replaces && is_watched(tid, args[1]);
}

static int32_t milliseconds(int64_t seconds, int64_t nanoseconds)
{
    if (seconds >= INT_MAX / 1000)
        return INT_MAX;
    return (int32_t)(seconds * 1000 + (nanoseconds + 999999) / 1000000);
}

/* Of a struct timespec, or of a struct timeval: `unit` nanoseconds. */
static int32_t read_timeout(pid_t tid, uint64_t address, int64_t unit)
{
    int64_t given[2];
    if (address == 0 || tracee_read(tid, address, given, sizeof(given)) < 0)
        return -1;
    return milliseconds(given[0], given[1] * unit);
}

void call_read_sets(pid_t tid, const uint64_t args[6], fd_set sets[3])
{
    /* Of sets that are larger than fd_set, only so much is looked at. */
    int count = (int)args[0];
    size_t bits = count < 0 ? 0 : count < FD_SETSIZE ? (size_t)count : FD_SETSIZE;
    size_t len = (bits + NFDBITS - 1) / NFDBITS * sizeof(fd_mask);
    memset(sets, 0, 3 * sizeof(*sets));
    for (int i = 0; i < 3; i++)
        if (args[i + 1] != 0 && tracee_read(tid, args[i + 1], &sets[i], len) < 0)
            memset(&sets[i], 0, sizeof(*sets));
}

uint32_t call_read_len(pid_t tid, uint64_t address)
{
    uint32_t room = 0;
    return address != 0 && tracee_read(tid, address, &room, sizeof(room)) == 0 ? room : 0;
}

/* Each text as its argument's position, itself, and a NUL; the last may be cut. */
static void read_texts(struct call *call, pid_t tid)
{
    struct call_texts *texts = &call->before.texts;
    const struct call_name *name = call_name_of(call->entered.number);
    texts->len = 0;
    for (uint8_t at = 0; name && at < 6; at++) {
        size_t room = sizeof(texts->bytes) - texts->len;
        if (!(name->texts >> at & 1) || room < 4)
            continue;
        ssize_t len =
            tracee_read_text(tid, call->entered.args[at], texts->bytes + texts->len + 1, room - 1);
        if (len < 0)
            continue;
        texts->bytes[texts->len] = (char)at;
        /* Of a text that was cut, its NUL is not kept. */
        texts->len += (size_t)len < room - 1 ? (size_t)len + 2 : room - 1;
    }
}

void call_begin(struct call *call, pid_t tid)
{
    const uint64_t *args = call->entered.args;
    switch (call->kind->shape) {
    case CALL_FOUND_ADDRESS:
        call->before.room = call_read_len(tid, args[2]);
        break;
    case CALL_RECEIVE:
        call->before.room = call_read_len(tid, args[5]);
        break;
    case CALL_POLL:
        call->before.timeout_ms =
            call->kind->op == TRACE_POLL ? (int32_t)args[2] : read_timeout(tid, args[2], 1);
        break;
    case CALL_SELECT:
        call->before.select.timeout_ms =
            read_timeout(tid, args[4], call->kind->op == TRACE_SELECT ? 1000 : 1);
        call_read_sets(tid, args, call->before.select.sets);
        break;
    case CALL_EPOLL_WAIT:
        call->before.timeout_ms =
            call->kind->op == TRACE_EPOLL_PWAIT2 ? read_timeout(tid, args[3], 1) : (int32_t)args[3];
        break;
    case CALL_OTHER:
        read_texts(call, tid);
        break;
    default:
        break;
    }
}

static bool is_on_socket(const struct call *call, pid_t tid)
{
    char target[32];
    return !call->kind->is_on_any ||
           (tracee_descriptor(tid, (int)call->entered.args[0], target, sizeof(target)) == 0 &&
            strncmp(target, "socket:", 7) == 0);
}

size_t call_first_line(const struct call *call, struct call_told *told, pid_t tid,
                       char line[FIRST_LINE_SIZE])
{
    char bytes[LINE_LOOK];
    size_t len = told->moved_len < sizeof(bytes) ? told->moved_len : sizeof(bytes);
    if (len == 0 || !is_on_socket(call, tid) || tracee_read(tid, told->moved, bytes, len) < 0)
        return 0;
    struct slice moved = slice_of(bytes, len);
    told->outside.flags = first_line_is_tls(moved) ? TRACE_ENCRYPTED : 0;
    return first_line(moved, line);
}
