/* Sockets: socket(7). */
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "preload/call.h"
#include "preload/descriptors.h"

/* struct sockaddr, cut to what a slot holds. */
enum { ADDRESS_MOST = 48, PARTS_MOST = 6 };

static size_t address_len(const struct sockaddr *addr, size_t len)
{
    size_t found = addr ? len : 0;
    return found < ADDRESS_MOST ? found : ADDRESS_MOST;
}

/* Of an address that the kernel has filled in: it had room for `room` bytes, and says how many it
 * would have taken. */
static size_t found_len(const struct sockaddr *addr, const socklen_t *len, socklen_t room)
{
    return addr && len ? address_len(addr, *len < room ? *len : room) : 0;
}

static socklen_t room_of(const socklen_t *len)
{
    return len ? *len : 0;
}

PRELOAD int socket(int family, int type, int protocol)
{
    struct call call = call_begin();
    int args[3] = {family, type, protocol};
    int fd = NEXT(socket)(family, type, protocol);
    descriptor_set(fd, DESCRIPTOR_SOCKET);
    return (int)call_end(
        &call,
        &(struct call_end){
            .op = TRACE_SOCKET, .fd = fd, .result = fd, .args = args, .args_len = sizeof(args)});
}

PRELOAD int socketpair(int family, int type, int protocol, int fds[2])
{
    struct call call = call_begin();
    int result = NEXT(socketpair)(family, type, protocol, fds);
    int args[5] = {family, type, protocol, result < 0 ? -1 : fds[0], result < 0 ? -1 : fds[1]};
    descriptor_set(args[3], DESCRIPTOR_SOCKET);
    descriptor_set(args[4], DESCRIPTOR_SOCKET);
    return (int)call_end(&call, &(struct call_end){.op = TRACE_SOCKETPAIR,
                                                   .fd = args[3],
                                                   .result = result,
                                                   .args = args,
                                                   .args_len = sizeof(args)});
}

/* A call whose arguments are a descriptor and an address that was given. */
static int end_with_address(const struct call *call, enum trace_operation op, int fd, int result,
                            const struct sockaddr *addr, size_t len)
{
    return (int)call_end(
        call,
        &(struct call_end){.op = op,
                           .fd = fd,
                           .result = result,
                           .args = addr,
                           .args_len = call_has_not_looked(result) ? 0 : address_len(addr, len)});
}

PRELOAD int bind(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
    struct call call = call_begin();
    int result = NEXT(bind)(fd, addr, len);
    return end_with_address(&call, TRACE_BIND, fd, result, addr.__sockaddr__, len);
}

PRELOAD int connect(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
    struct call call = call_begin_waiting(TRACE_CONNECT, fd, 0);
    int result = NEXT(connect)(fd, addr, len);
    return end_with_address(&call, TRACE_CONNECT, fd, result, addr.__sockaddr__, len);
}

PRELOAD int listen(int fd, int backlog)
{
    struct call call = call_begin();
    int result = NEXT(listen)(fd, backlog);
    return (int)call_end(&call, &(struct call_end){.op = TRACE_LISTEN,
                                                   .fd = fd,
                                                   .result = result,
                                                   .argument = (uint64_t)(unsigned)backlog});
}

/* A call that fills an address in: there is one where it has succeeded. */
static int end_with_found(const struct call *call, enum trace_operation op, int fd, int result,
                          const struct sockaddr *addr, const socklen_t *len, socklen_t room)
{
    return end_with_address(call, op, fd, result, addr,
                            result < 0 ? 0 : found_len(addr, len, room));
}

PRELOAD int accept(int fd, __SOCKADDR_ARG addr, socklen_t *restrict len)
{
    struct call call = call_begin_waiting(TRACE_ACCEPT, fd, 0);
    socklen_t room = room_of(len);
    int result = NEXT(accept)(fd, addr, len);
    descriptor_set(result, DESCRIPTOR_SOCKET);
    return end_with_found(&call, TRACE_ACCEPT, fd, result, addr.__sockaddr__, len, room);
}

PRELOAD int accept4(int fd, __SOCKADDR_ARG addr, socklen_t *restrict len, int flags)
{
    struct call call = call_begin_waiting(TRACE_ACCEPT4, fd, (unsigned)flags);
    socklen_t room = room_of(len);
    int result = NEXT(accept4)(fd, addr, len, flags);
    size_t found = result < 0 ? 0 : found_len(addr.__sockaddr__, len, room);
    descriptor_set(result, DESCRIPTOR_SOCKET);
    return (int)call_end(&call, &(struct call_end){.op = TRACE_ACCEPT4,
                                                   .fd = fd,
                                                   .result = result,
                                                   .argument = (uint64_t)(unsigned)flags,
                                                   .args = addr.__sockaddr__,
                                                   .args_len = found});
}

PRELOAD int getsockname(int fd, __SOCKADDR_ARG addr, socklen_t *restrict len)
{
    struct call call = call_begin();
    socklen_t room = room_of(len);
    int result = NEXT(getsockname)(fd, addr, len);
    return end_with_found(&call, TRACE_GETSOCKNAME, fd, result, addr.__sockaddr__, len, room);
}

PRELOAD int getpeername(int fd, __SOCKADDR_ARG addr, socklen_t *restrict len)
{
    struct call call = call_begin();
    socklen_t room = room_of(len);
    int result = NEXT(getpeername)(fd, addr, len);
    return end_with_found(&call, TRACE_GETPEERNAME, fd, result, addr.__sockaddr__, len, room);
}

PRELOAD int shutdown(int fd, int how)
{
    struct call call = call_begin();
    int result = NEXT(shutdown)(fd, how);
    return (int)call_end(&call, &(struct call_end){.op = TRACE_SHUTDOWN,
                                                   .fd = fd,
                                                   .result = result,
                                                   .argument = (uint64_t)(unsigned)how});
}

/* Level, option, and the value where it is a number. */
static int end_with_option(const struct call *call, enum trace_operation op, int fd, int result,
                           int level, int option, const void *value, size_t len)
{
    int args[3] = {level, option, 0};
    bool has_number = value && len >= sizeof(int) && !call_has_not_looked(result);
    if (has_number)
        memcpy(&args[2], value, sizeof(int));
    return (int)call_end(
        call, &(struct call_end){.op = op,
                                 .fd = fd,
                                 .result = result,
                                 .argument = len,
                                 .args = args,
                                 .args_len = has_number ? sizeof(args) : 2 * sizeof(int)});
}

PRELOAD int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    struct call call = call_begin();
    int result = NEXT(setsockopt)(fd, level, option, value, len);
    return end_with_option(&call, TRACE_SETSOCKOPT, fd, result, level, option, value, len);
}

PRELOAD int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict len)
{
    struct call call = call_begin();
    int result = NEXT(getsockopt)(fd, level, option, value, len);
    return end_with_option(&call, TRACE_GETSOCKOPT, fd, result, level, option, value,
                           result < 0 ? 0 : *len);
}

/* Bytes that were received, but stay where they are, or of which not all have come to us, are told
 * of when they are read. */
#define NOT_MOVED (MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE | MSG_OOB)

/* recv(2), recvfrom(2): an address of `addr_len` bytes was filled in. */
static ssize_t end_received(const struct call *call, int fd, ssize_t result, const void *data,
                            size_t len, int flags, const struct sockaddr *addr, size_t addr_len)
{
    return call_end(call,
                    &(struct call_end){.op = TRACE_RECVFROM,
                                       .fd = fd,
                                       .result = result,
                                       .argument = TRACE_LENGTH(len, flags),
                                       .args = addr,
                                       .args_len = result < 0 ? 0 : addr_len,
                                       .moved = data,
                                       .moved_len = flags & NOT_MOVED ? 0 : call_moved(result, len),
                                       .way = TRACE_RECEIVED});
}

PRELOAD ssize_t recv(int fd, void *data, size_t len, int flags)
{
    struct call call = call_begin_waiting(TRACE_RECVFROM, fd, TRACE_LENGTH(len, flags));
    ssize_t result = NEXT(recv)(fd, data, len, flags);
    return end_received(&call, fd, result, data, len, flags, NULL, 0);
}

PRELOAD ssize_t recvfrom(int fd, void *restrict data, size_t len, int flags, __SOCKADDR_ARG addr,
                         socklen_t *restrict addr_len)
{
    struct call call = call_begin_waiting(TRACE_RECVFROM, fd, TRACE_LENGTH(len, flags));
    socklen_t room = room_of(addr_len);
    ssize_t result = NEXT(recvfrom)(fd, data, len, flags, addr, addr_len);
    return end_received(&call, fd, result, data, len, flags, addr.__sockaddr__,
                        found_len(addr.__sockaddr__, addr_len, room));
}

/* What a program that was compiled with -D_FORTIFY_SOURCE calls: `size` is how large `data` is. */
ssize_t __recv_chk(int fd, void *data, size_t len, size_t size, int flags);
ssize_t __recvfrom_chk(int fd, void *restrict data, size_t len, size_t size, int flags,
                       struct sockaddr *restrict addr, socklen_t *restrict addr_len);

PRELOAD ssize_t __recv_chk(int fd, void *data, size_t len, size_t size, int flags)
{
    struct call call = call_begin_waiting(TRACE_RECVFROM, fd, TRACE_LENGTH(len, flags));
    ssize_t result = NEXT(__recv_chk)(fd, data, len, size, flags);
    return end_received(&call, fd, result, data, len, flags, NULL, 0);
}

PRELOAD ssize_t __recvfrom_chk(int fd, void *restrict data, size_t len, size_t size, int flags,
                               struct sockaddr *restrict addr, socklen_t *restrict addr_len)
{
    struct call call = call_begin_waiting(TRACE_RECVFROM, fd, TRACE_LENGTH(len, flags));
    socklen_t room = room_of(addr_len);
    ssize_t result = NEXT(__recvfrom_chk)(fd, data, len, size, flags, addr, addr_len);
    return end_received(&call, fd, result, data, len, flags, addr, found_len(addr, addr_len, room));
}

static ssize_t end_sent(const struct call *call, int fd, ssize_t result, const void *data,
                        size_t len, int flags, const struct sockaddr *addr, size_t addr_len)
{
    return call_end(call, &(struct call_end){.op = TRACE_SENDTO,
                                             .fd = fd,
                                             .result = result,
                                             .argument = TRACE_LENGTH(len, flags),
                                             .args = addr,
                                             .args_len = call_has_not_looked(result)
                                                             ? 0
                                                             : address_len(addr, addr_len),
                                             .moved = data,
                                             .moved_len = call_moved(result, len),
                                             .way = TRACE_SENT});
}

PRELOAD ssize_t send(int fd, const void *data, size_t len, int flags)
{
    struct call call = call_begin_waiting(TRACE_SENDTO, fd, TRACE_LENGTH(len, flags));
    ssize_t result = NEXT(send)(fd, data, len, flags);
    return end_sent(&call, fd, result, data, len, flags, NULL, 0);
}

PRELOAD ssize_t sendto(int fd, const void *data, size_t len, int flags, __CONST_SOCKADDR_ARG addr,
                       socklen_t addr_len)
{
    struct call call = call_begin_waiting(TRACE_SENDTO, fd, TRACE_LENGTH(len, flags));
    ssize_t result = NEXT(sendto)(fd, data, len, flags, addr, addr_len);
    return end_sent(&call, fd, result, data, len, flags, addr.__sockaddr__, addr_len);
}

static ssize_t end_with_message(const struct call *call, enum trace_operation op, int fd,
                                ssize_t result, const struct msghdr *message, int flags)
{
    static const struct msghdr none;
    uint64_t parts[PARTS_MOST];
    if (call_has_not_looked(result))
        message = &none;
    size_t count = message->msg_iovlen < PARTS_MOST ? message->msg_iovlen : PARTS_MOST;
    for (size_t i = 0; i < count; i++)
        parts[i] = message->msg_iov[i].iov_len;
    bool is_moved = count > 0 && (op == TRACE_SENDMSG || !(flags & NOT_MOVED));
    return call_end(call,
                    &(struct call_end){.op = op,
                                       .fd = fd,
                                       .result = result,
                                       .argument = TRACE_LENGTH(message->msg_iovlen, flags),
                                       .args = parts,
                                       .args_len = count * sizeof(*parts),
                                       .moved = is_moved ? message->msg_iov[0].iov_base : NULL,
                                       .moved_len = is_moved ? call_moved(result, parts[0]) : 0,
                                       .way = op == TRACE_RECVMSG ? TRACE_RECEIVED : TRACE_SENT});
}

PRELOAD ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    struct call call = call_begin_waiting(TRACE_RECVMSG, fd, TRACE_LENGTH(0, flags));
    ssize_t result = NEXT(recvmsg)(fd, message, flags);
    return call.t0 ? end_with_message(&call, TRACE_RECVMSG, fd, result, message, flags) : result;
}

PRELOAD ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct call call = call_begin_waiting(TRACE_SENDMSG, fd, TRACE_LENGTH(0, flags));
    ssize_t result = NEXT(sendmsg)(fd, message, flags);
    return call.t0 ? end_with_message(&call, TRACE_SENDMSG, fd, result, message, flags) : result;
}

static int end_with_messages(const struct call *call, enum trace_operation op, int fd, int result,
                             unsigned count, int flags)
{
    return (int)call_end(
        call, &(struct call_end){
                  .op = op, .fd = fd, .result = result, .argument = TRACE_LENGTH(count, flags)});
}

PRELOAD int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                     struct timespec *timeout)
{
    struct call call = call_begin_waiting(TRACE_RECVMMSG, fd, TRACE_LENGTH(count, flags));
    int result = NEXT(recvmmsg)(fd, messages, count, flags, timeout);
    return end_with_messages(&call, TRACE_RECVMMSG, fd, result, count, flags);
}

PRELOAD int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    struct call call = call_begin_waiting(TRACE_SENDMMSG, fd, TRACE_LENGTH(count, flags));
    int result = NEXT(sendmmsg)(fd, messages, count, flags);
    return end_with_messages(&call, TRACE_SENDMMSG, fd, result, count, flags);
}
