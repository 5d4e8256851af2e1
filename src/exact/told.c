/* What is told of a call, as trace/event.h says. */
#include "exact/call.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "exact/call_memory.h"

enum { ADDRESS_MOST = 48, PARTS_MOST = 6, POLLED_MOST = 5, READY_MOST = 6 };

/* Bytes that were received, but stay where they are, or of which not all have come, are told of
 * when they are read. */
#define NOT_MOVED (MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE | MSG_OOB)

static void put(struct call_told *told, const void *data, size_t len)
{
    memcpy(told->args + told->args_len, data, len);
    told->args_len += len;
}

static void put_number(struct call_told *told, uint64_t number)
{
    int32_t value = (int32_t)number;
    put(told, &value, sizeof(value));
}

/* A struct sockaddr of `len` bytes, cut to what a slot holds. */
static void put_address(struct call_told *told, pid_t tid, uint64_t address, uint64_t len)
{
    size_t used = len < ADDRESS_MOST ? (size_t)len : ADDRESS_MOST;
    if (address != 0 && tracee_read(tid, address, told->args + told->args_len, used) == 0)
        told->args_len += used;
}

/* One that the kernel has filled in: there was room for `room` bytes, and it says how many it would
 * have taken. */
static void put_found(struct call_told *told, pid_t tid, uint64_t address, uint64_t len_address,
                      uint32_t room)
{
    uint32_t len = call_read_len(tid, len_address);
    if (told->outside.result >= 0)
        put_address(told, tid, address, len < room ? len : room);
}

static void tell_moved(struct call_told *told, uint64_t address, uint64_t len, enum trace_way way)
{
    int64_t result = told->outside.result;
    told->moved = address;
    told->moved_len = result <= 0 ? 0 : (uint64_t)result < len ? (size_t)result : (size_t)len;
    told->way = way;
}

static void tell_parts(struct call_told *told, pid_t tid, uint64_t parts, uint64_t count,
                       enum trace_way way)
{
    struct iovec found[PARTS_MOST];
    size_t used = count < PARTS_MOST ? (size_t)count : PARTS_MOST;
    if (used == 0 || tracee_read(tid, parts, found, used * sizeof(*found)) < 0)
        return;
    for (size_t i = 0; i < used; i++) {
        uint64_t len = found[i].iov_len;
        put(told, &len, sizeof(len));
    }
    tell_moved(told, (uintptr_t)found[0].iov_base, found[0].iov_len, way);
}

static void tell_message(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    struct msghdr message;
    bool is_received = told->outside.op == TRACE_RECVMSG;
    told->outside.argument = TRACE_LENGTH(0u, args[2]);
    if (tracee_read(tid, args[1], &message, sizeof(message)) < 0)
        return;
    told->outside.argument = TRACE_LENGTH(message.msg_iovlen, args[2]);
    tell_parts(told, tid, (uintptr_t)message.msg_iov, message.msg_iovlen,
               is_received ? TRACE_RECEIVED : TRACE_SENT);
    if (is_received && (args[2] & NOT_MOVED))
        told->moved_len = 0;
}

/* Level, option, and the value where it is a number. */
static void tell_option(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    bool is_set = told->outside.op == TRACE_SETSOCKOPT;
    uint32_t len = is_set                      ? (uint32_t)args[4]
                   : told->outside.result >= 0 ? call_read_len(tid, args[4])
                                               : 0;
    int32_t value;
    told->outside.argument = len;
    put_number(told, args[1]);
    put_number(told, args[2]);
    if (len >= sizeof(value) && args[3] != 0 &&
        tracee_read(tid, args[3], &value, sizeof(value)) == 0)
        put(told, &value, sizeof(value));
}

static void tell_sendfile(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    uint64_t offset = 0;
    if (args[2] != 0 && tracee_read(tid, args[2], &offset, sizeof(offset)) == 0 &&
        told->outside.result > 0)
        offset -= (uint64_t)told->outside.result; /* the kernel has moved it on */
    put(told, &args[3], sizeof(args[3]));
    put(told, &offset, sizeof(offset));
    put_number(told, args[1]);
}

static void tell_fcntl(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    told->outside.argument = args[1];
    if (args[1] == F_SETFD || args[1] == F_SETFL || args[1] == F_DUPFD ||
        args[1] == F_DUPFD_CLOEXEC)
        put_number(told, args[2]);
}

static void tell_ioctl(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    int32_t value = 0;
    told->outside.argument = args[1];
    if (args[1] != FIONBIO)
        return;
    if (told->outside.result >= 0)
        tracee_read(tid, args[2], &value, sizeof(value));
    put(told, &value, sizeof(value));
}

static void tell_poll(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    struct pollfd fds[POLLED_MOST];
    size_t used = args[1] < POLLED_MOST ? (size_t)args[1] : POLLED_MOST;
    told->outside.fd = -1;
    told->outside.argument = args[1];
    put_number(told, (uint64_t)call->before.timeout_ms);
    if (used == 0 || tracee_read(tid, args[0], fds, used * sizeof(*fds)) < 0)
        return;
    for (size_t i = 0; i < used; i++)
        fds[i].revents = told->outside.result < 0 ? 0 : fds[i].revents;
    put(told, fds, used * sizeof(*fds));
}

static int16_t sets_events(const fd_set sets[3], int fd)
{
    return (int16_t)((FD_ISSET(fd, &sets[0]) ? POLLIN : 0) |
                     (FD_ISSET(fd, &sets[1]) ? POLLOUT : 0) |
                     (FD_ISSET(fd, &sets[2]) ? POLLPRI : 0));
}

/* As poll(2) would have it. */
static void tell_select(struct call_told *told, pid_t tid, const struct call *call)
{
    const fd_set *before = call->before.select.sets;
    fd_set after[3] = {0};
    size_t all = 0;
    if (told->outside.result >= 0)
        call_read_sets(tid, call->entered.args, after);
    put_number(told, (uint64_t)call->before.select.timeout_ms);
    for (int fd = 0; fd < (int)call->entered.args[0] && fd < FD_SETSIZE; fd++) {
        struct pollfd polled = {fd, sets_events(before, fd), sets_events(after, fd)};
        if (polled.events != 0 && all++ < POLLED_MOST)
            put(told, &polled, sizeof(polled));
    }
    told->outside.fd = -1;
    told->outside.argument = all;
}

static void tell_epoll_ctl(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    uint32_t events = 0;
    put_number(told, args[1]);
    put_number(told, args[2]);
    if (args[3] != 0 && args[1] != EPOLL_CTL_DEL)
        tracee_read(tid, args[3], &events, sizeof(events));
    put_number(told, events);
}

static void tell_epoll_wait(struct call_told *told, pid_t tid, const struct call *call)
{
    struct epoll_event ready[READY_MOST];
    int64_t result = told->outside.result;
    size_t used = result < 0 ? 0 : result < READY_MOST ? (size_t)result : READY_MOST;
    told->outside.argument = (uint64_t)(int64_t)call->before.timeout_ms;
    if (used == 0 || tracee_read(tid, call->entered.args[1], ready, used * sizeof(*ready)) < 0)
        return;
    for (size_t i = 0; i < used; i++) {
        put_number(told, (uint64_t)ready[i].data.fd);
        put_number(told, ready[i].events);
    }
}

static void tell_socketpair(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    int32_t fds[2] = {-1, -1};
    if (told->outside.result >= 0)
        tracee_read(tid, args[3], fds, sizeof(fds));
    for (int i = 0; i < 3; i++)
        put_number(told, args[i]);
    put(told, fds, sizeof(fds));
    told->outside.fd = fds[0];
}

static void tell_bytes(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    bool is_received = told->outside.op == TRACE_READ;
    told->outside.argument = args[2];
    tell_moved(told, args[1], args[2], is_received ? TRACE_RECEIVED : TRACE_SENT);
}

static void tell_received(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    told->outside.argument = TRACE_LENGTH(args[2], args[3]);
    put_found(told, tid, args[4], args[5], call->before.room);
    tell_moved(told, args[1], args[3] & NOT_MOVED ? 0 : args[2], TRACE_RECEIVED);
}

static void tell_sent(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    told->outside.argument = TRACE_LENGTH(args[2], args[3]);
    put_address(told, tid, args[4], args[5]);
    tell_moved(told, args[1], args[2], TRACE_SENT);
}

/* Those that make a descriptor, and have none. */
static void tell_made(struct call_told *told, pid_t tid, const struct call *call)
{
    told->outside.fd = (int)told->outside.result;
    told->outside.argument = call->entered.args[0];
}

static void tell_eventfd(struct call_told *told, pid_t tid, const struct call *call)
{
    told->outside.fd = (int)told->outside.result;
    told->outside.argument = call->entered.args[1];
    put_number(told, call->entered.args[0]);
}

static void tell_socket(struct call_told *told, pid_t tid, const struct call *call)
{
    told->outside.fd = (int)told->outside.result;
    for (int i = 0; i < 3; i++)
        put_number(told, call->entered.args[i]);
}

static void tell_address(struct call_told *told, pid_t tid, const struct call *call)
{
    put_address(told, tid, call->entered.args[1], call->entered.args[2]);
}

static void tell_found_address(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    told->outside.argument = told->outside.op == TRACE_ACCEPT4 ? (uint32_t)args[3] : 0;
    put_found(told, tid, args[1], args[2], call->before.room);
}

static void tell_messages(struct call_told *told, pid_t tid, const struct call *call)
{
    told->outside.argument = TRACE_LENGTH((uint32_t)call->entered.args[2], call->entered.args[3]);
}

static void tell_vector(struct call_told *told, pid_t tid, const struct call *call)
{
    const uint64_t *args = call->entered.args;
    told->outside.argument = args[2];
    tell_parts(told, tid, args[1], args[2],
               told->outside.op == TRACE_READV ? TRACE_RECEIVED : TRACE_SENT);
}

static void tell_splice(struct call_told *told, pid_t tid, const struct call *call)
{
    told->outside.argument = call->entered.args[4];
    put_number(told, call->entered.args[2]);
    put_number(told, call->entered.args[5]);
}

static void tell_descriptor(struct call_told *told, pid_t tid, const struct call *call) {}

static void tell_number(struct call_told *told, pid_t tid, const struct call *call)
{
    told->outside.argument = (uint32_t)call->entered.args[1];
}

static void tell_range(struct call_told *told, pid_t tid, const struct call *call)
{
    tell_number(told, tid, call);
    put_number(told, call->entered.args[2]);
}

static void tell_ring(struct call_told *told, pid_t tid, const struct call *call)
{
    tell_range(told, tid, call);
    put_number(told, call->entered.args[3]);
}

/* The caller adds its name. */
static void tell_other(struct call_told *told, pid_t tid, const struct call *call)
{
    const struct call_name *name = call_name_of(call->entered.number);
    if (!name || !name->has_descriptor)
        told->outside.fd = -1;
    told->outside.argument = call->entered.number;
    put(told, call->entered.args, sizeof(call->entered.args));
    put(told, call->before.texts.bytes, call->before.texts.len);
}

static void (*const tellers[])(struct call_told *told, pid_t tid, const struct call *call) = {
    [CALL_SOCKET] = tell_socket,       [CALL_SOCKETPAIR] = tell_socketpair,
    [CALL_ADDRESS] = tell_address,     [CALL_FOUND_ADDRESS] = tell_found_address,
    [CALL_NUMBER] = tell_number,       [CALL_OPTION] = tell_option,
    [CALL_RECEIVE] = tell_received,    [CALL_SEND] = tell_sent,
    [CALL_MESSAGE] = tell_message,     [CALL_MESSAGES] = tell_messages,
    [CALL_BYTES] = tell_bytes,         [CALL_PARTS] = tell_vector,
    [CALL_SENDFILE] = tell_sendfile,   [CALL_SPLICE] = tell_splice,
    [CALL_RANGE] = tell_range,         [CALL_DESCRIPTOR] = tell_descriptor,
    [CALL_FCNTL] = tell_fcntl,         [CALL_IOCTL] = tell_ioctl,
    [CALL_POLL] = tell_poll,           [CALL_SELECT] = tell_select,
    [CALL_MAKE] = tell_made,           [CALL_EVENTFD] = tell_eventfd,
    [CALL_EPOLL_CTL] = tell_epoll_ctl, [CALL_EPOLL_WAIT] = tell_epoll_wait,
    [CALL_RING] = tell_ring,           [CALL_OTHER] = tell_other,
};

void call_tell(const struct call *call, pid_t tid, int64_t result, struct call_told *told)
{
    told->outside = (struct trace_outside){
        .op = call->kind->op,
        .fd = (int)call->entered.args[0],
        .result = result,
        .t0 = call->t0,
    };
    told->args_len = told->moved_len = 0;
    tellers[call->kind->shape](told, tid, call);
}
