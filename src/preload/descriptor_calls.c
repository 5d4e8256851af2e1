/* Calls on descriptors of any kind: recorded where they are on one that is watched. */
#include <assert.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "preload/call.h"
#include "preload/descriptors.h"

enum { PARTS_MOST = 6 };

static ssize_t end_with_bytes(const struct call *call, enum trace_operation op, int fd,
                              ssize_t result, const void *data, size_t len)
{
    return call_end(call,
                    &(struct call_end){.op = op,
                                       .fd = fd,
                                       .result = result,
                                       .argument = len,
                                       .moved = data,
                                       .moved_len = call_moved(result, len),
                                       .way = op == TRACE_READ ? TRACE_RECEIVED : TRACE_SENT});
}

PRELOAD ssize_t read(int fd, void *data, size_t len)
{
    struct call call = call_begin_waiting_on(TRACE_READ, fd, len);
    ssize_t result = NEXT(read)(fd, data, len);
    return end_with_bytes(&call, TRACE_READ, fd, result, data, len);
}

PRELOAD ssize_t write(int fd, const void *data, size_t len)
{
    struct call call = call_begin_waiting_on(TRACE_WRITE, fd, len);
    ssize_t result = NEXT(write)(fd, data, len);
    return end_with_bytes(&call, TRACE_WRITE, fd, result, data, len);
}

/* What a program that was compiled with -D_FORTIFY_SOURCE calls. */
ssize_t __read_chk(int fd, void *data, size_t len, size_t room);

PRELOAD ssize_t __read_chk(int fd, void *data, size_t len, size_t room)
{
    struct call call = call_begin_waiting_on(TRACE_READ, fd, len);
    ssize_t result = NEXT(__read_chk)(fd, data, len, room);
    return end_with_bytes(&call, TRACE_READ, fd, result, data, len);
}

static ssize_t end_with_parts(const struct call *call, enum trace_operation op, int fd,
                              ssize_t result, const struct iovec *parts, int count)
{
    uint64_t lengths[PARTS_MOST];
    size_t used = 0;
    int known = call_has_not_looked(result) || (result < 0 && errno == EINVAL) ? 0 : count;
    for (; used < PARTS_MOST && (int)used < known; used++)
        lengths[used] = parts[used].iov_len;
    return call_end(call,
                    &(struct call_end){.op = op,
                                       .fd = fd,
                                       .result = result,
                                       .argument = (uint64_t)count,
                                       .args = lengths,
                                       .args_len = used * sizeof(*lengths),
                                       .moved = used > 0 ? parts[0].iov_base : NULL,
                                       .moved_len = used > 0 ? call_moved(result, lengths[0]) : 0,
                                       .way = op == TRACE_READV ? TRACE_RECEIVED : TRACE_SENT});
}

PRELOAD ssize_t readv(int fd, const struct iovec *parts, int count)
{
    struct call call = call_begin_waiting_on(TRACE_READV, fd, count);
    ssize_t result = NEXT(readv)(fd, parts, count);
    return call.t0 ? end_with_parts(&call, TRACE_READV, fd, result, parts, count) : result;
}

PRELOAD ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct call call = call_begin_waiting_on(TRACE_WRITEV, fd, count);
    ssize_t result = NEXT(writev)(fd, parts, count);
    return call.t0 ? end_with_parts(&call, TRACE_WRITEV, fd, result, parts, count) : result;
}

static ssize_t end_sendfile(const struct call *call, int fd, ssize_t result, int in_fd,
                            uint64_t offset, size_t count)
{
    struct {
        uint64_t count, offset;
        int32_t in_fd;
    } args = {count, offset, in_fd};
    return call_end(
        call, &(struct call_end){
                  .op = TRACE_SENDFILE, .fd = fd, .result = result, .args = &args, .args_len = 20});
}

/* Where it began to send: the kernel has moved the offset on. */
static uint64_t offset_before(const off64_t *offset, ssize_t result)
{
    if (!offset || call_has_not_looked(result))
        return 0;
    return (uint64_t)*offset - (result > 0 ? (uint64_t)result : 0);
}

static_assert(sizeof(off_t) == sizeof(off64_t), "64-bit Linux: they are one type");

PRELOAD ssize_t sendfile(int fd, int in_fd, off_t *offset, size_t count)
{
    struct call call = call_begin_waiting(TRACE_SENDFILE, fd, 0);
    ssize_t result = NEXT(sendfile)(fd, in_fd, offset, count);
    return end_sendfile(&call, fd, result, in_fd, offset_before(offset, result), count);
}

PRELOAD ssize_t sendfile64(int fd, int in_fd, off64_t *offset, size_t count)
{
    struct call call = call_begin_waiting(TRACE_SENDFILE, fd, 0);
    ssize_t result = NEXT(sendfile64)(fd, in_fd, offset, count);
    return end_sendfile(&call, fd, result, in_fd, offset_before(offset, result), count);
}

PRELOAD ssize_t splice(int in_fd, off64_t *in_offset, int fd, off64_t *offset, size_t len,
                       unsigned flags)
{
    struct call call = call_begin_waiting(TRACE_SPLICE, in_fd, len);
    ssize_t result = NEXT(splice)(in_fd, in_offset, fd, offset, len, flags);
    int args[2] = {fd, (int)flags};
    return call_end(&call, &(struct call_end){.op = TRACE_SPLICE,
                                              .fd = in_fd,
                                              .result = result,
                                              .argument = len,
                                              .args = args,
                                              .args_len = sizeof(args)});
}

PRELOAD int close(int fd)
{
    struct call call = call_begin_on(fd);
    descriptors_forget((unsigned)fd, (unsigned)fd);
    int result = NEXT(close)(fd);
    return (int)call_end(&call, &(struct call_end){.op = TRACE_CLOSE, .fd = fd, .result = result});
}

/* The C library closes the stream's descriptor by itself. */
PRELOAD int fclose(FILE *stream)
{
    int code = errno;
    int fd = fileno_unlocked(stream);
    errno = code; /* a stream in memory has none */
    struct call call = call_begin_on(fd);
    if (fd >= 0)
        descriptors_forget((unsigned)fd, (unsigned)fd);
    int result = NEXT(fclose)(stream);
    return (int)call_end(&call, &(struct call_end){.op = TRACE_CLOSE, .fd = fd, .result = result});
}

PRELOAD int close_range(unsigned first, unsigned last, int flags)
{
    struct call call = call_begin();
    if (!(flags & CLOSE_RANGE_CLOEXEC))
        descriptors_forget(first, last);
    int result = NEXT(close_range)(first, last, flags);
    int args[1] = {flags};
    return (int)call_end(&call, &(struct call_end){.op = TRACE_CLOSE_RANGE,
                                                   .fd = (int)first,
                                                   .result = result,
                                                   .argument = last,
                                                   .args = args,
                                                   .args_len = sizeof(args)});
}

PRELOAD void closefrom(int first)
{
    struct call call = call_begin();
    descriptors_forget(first < 0 ? 0 : (unsigned)first, ~0u);
    NEXT(closefrom)(first);
    int args[1] = {0};
    call_end(&call, &(struct call_end){.op = TRACE_CLOSE_RANGE,
                                       .fd = first,
                                       .argument = ~0u,
                                       .args = args,
                                       .args_len = sizeof(args)});
}

/* `made`: the new descriptor, which is of the old one's kind. */
static int end_with_copy(const struct call *call, enum trace_operation op, int fd, int made,
                         uint64_t argument, const int *args, size_t args_len)
{
    descriptor_set(made, descriptor_kind(fd));
    return (int)call_end(call, &(struct call_end){.op = op,
                                                  .fd = fd,
                                                  .result = made,
                                                  .argument = argument,
                                                  .args = args,
                                                  .args_len = args_len});
}

PRELOAD int dup(int fd)
{
    struct call call = call_begin_on(fd);
    int made = NEXT(dup)(fd);
    return end_with_copy(&call, TRACE_DUP, fd, made, 0, NULL, 0);
}

/* It may close a socket: that is worth a record, too. */
static struct call begin_on_either(int fd, int other)
{
    return descriptor_is_watched(other) ? call_begin() : call_begin_on(fd);
}

PRELOAD int dup2(int fd, int wanted)
{
    struct call call = begin_on_either(fd, wanted);
    int made = NEXT(dup2)(fd, wanted);
    return end_with_copy(&call, TRACE_DUP2, fd, made, (uint64_t)(unsigned)wanted, NULL, 0);
}

PRELOAD int dup3(int fd, int wanted, int flags)
{
    struct call call = begin_on_either(fd, wanted);
    int made = NEXT(dup3)(fd, wanted, flags);
    return end_with_copy(&call, TRACE_DUP3, fd, made, (uint64_t)(unsigned)wanted, &flags,
                         sizeof(flags));
}

/* `value`: a number or a pointer, as the command wants. */
static int end_fcntl(const struct call *call, int fd, int result, int command, void *value)
{
    int args[1] = {(int)(intptr_t)value};
    bool is_copy = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    if (is_copy)
        return end_with_copy(call, TRACE_FCNTL, fd, result, (uint64_t)command, args, sizeof(args));
    bool has_number = command == F_SETFD || command == F_SETFL;
    return (int)call_end(call, &(struct call_end){.op = TRACE_FCNTL,
                                                  .fd = fd,
                                                  .result = result,
                                                  .argument = (uint64_t)command,
                                                  .args = args,
                                                  .args_len = has_number ? sizeof(args) : 0});
}

PRELOAD int fcntl(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *value = va_arg(list, void *);
    va_end(list);
    struct call call = call_begin_on(fd);
    int result = NEXT(fcntl)(fd, command, value);
    return end_fcntl(&call, fd, result, command, value);
}

PRELOAD int fcntl64(int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *value = va_arg(list, void *);
    va_end(list);
    struct call call = call_begin_on(fd);
    int result = NEXT(fcntl64)(fd, command, value);
    return end_fcntl(&call, fd, result, command, value);
}

PRELOAD int ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    va_start(list, request);
    void *value = va_arg(list, void *);
    va_end(list);
    struct call call = call_begin_on(fd);
    int result = NEXT(ioctl)(fd, request, value);
    int args[1] = {request == FIONBIO && result >= 0 ? *(int *)value : 0};
    return (int)call_end(&call,
                         &(struct call_end){.op = TRACE_IOCTL,
                                            .fd = fd,
                                            .result = result,
                                            .argument = request,
                                            .args = args,
                                            .args_len = request == FIONBIO ? sizeof(args) : 0});
}

PRELOAD int eventfd(unsigned count, int flags)
{
    struct call call = call_begin();
    int fd = NEXT(eventfd)(count, flags);
    descriptor_set(fd, DESCRIPTOR_EVENT);
    int args[1] = {(int)count};
    return (int)call_end(&call, &(struct call_end){.op = TRACE_EVENTFD2,
                                                   .fd = fd,
                                                   .result = fd,
                                                   .argument = (uint64_t)flags,
                                                   .args = args,
                                                   .args_len = sizeof(args)});
}
