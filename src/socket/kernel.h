/* The kernel's socket operations: each system call in exactly one function, which records it. This
 * is the whole door between zolal and the network, besides event_loop/kernel_epoll.h.
 *
 * Every function returns the call's result (>= 0) or -errno, never sets errno for its caller to
 * read, and restarts nothing: -EINTR is a result (kernel_close excepted: see there). -EAGAIN and
 * -EINPROGRESS are results of non-blocking sockets, not failures. */
#ifndef ZOLAL_SOCKET_KERNEL_H
#define ZOLAL_SOCKET_KERNEL_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* A new socket: socket(2). `type` may carry SOCK_NONBLOCK and SOCK_CLOEXEC.
 * Fails: EAFNOSUPPORT, EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES. */
int kernel_socket(int family, int type, int protocol);

/* Two that are connected to each other: socketpair(2). `fds` is not touched on failure. */
int kernel_socketpair(int family, int type, int protocol, int fds[2]);

/* Give it an address: bind(2). Fails: EADDRINUSE, EACCES, EADDRNOTAVAIL, EINVAL, ENOENT. */
int kernel_bind(int fd, const struct sockaddr *addr, socklen_t len);

/* Connect it: connect(2). Fails: EINPROGRESS, ECONNREFUSED, ETIMEDOUT, ENETUNREACH, ... */
int kernel_connect(int fd, const struct sockaddr *addr, socklen_t len);

/* Let it wait for connections: listen(2). The kernel caps `backlog` at net.core.somaxconn. */
int kernel_listen(int fd, int backlog);

/* Take a connection from the queue: accept(2). `addr`, `len` may be NULL. */
int kernel_accept(int fd, struct sockaddr *addr, socklen_t *len);

/* The same with SOCK_NONBLOCK and SOCK_CLOEXEC in `flags`: accept4(2). Fails: EAGAIN, ECONNABORTED,
 * EMFILE, ENFILE, ENOBUFS, ENOMEM; on Linux also errors of the new connection's network. */
int kernel_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);

/* read(2), write(2), close(2) on any descriptor of the server. kernel_close never reports EINTR:
 * the descriptor is gone then, as close(2) says of Linux. */
ssize_t kernel_read(int fd, void *data, size_t len);
ssize_t kernel_write(int fd, const void *data, size_t len);
int kernel_close(int fd);

/* recv(2) (the system call is recvfrom). 0: the peer has ended its side. Fails: EAGAIN, ECONNRESET.
 */
ssize_t kernel_recv(int fd, void *data, size_t len, int flags);

/* The same, and who sent it: recvfrom(2). `*len` is the room in `addr`, then the address's length,
 * 0 where the socket knows none. */
ssize_t kernel_recvfrom(int fd, void *data, size_t len, int flags, struct sockaddr *addr,
                        socklen_t *addr_len);

/* send(2) (the system call is sendto), for one part. Callers pass MSG_NOSIGNAL.
 * Fails: EAGAIN, EPIPE, ECONNRESET. */
ssize_t kernel_send(int fd, const void *data, size_t len, int flags);

/* One part to an address: sendto(2). */
ssize_t kernel_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *addr,
                      socklen_t addr_len);

/* Several parts in one call: sendmsg(2). Returns the bytes taken, maybe fewer than all. */
ssize_t kernel_sendmsg(int fd, const struct iovec *parts, size_t count, int flags);

/* The whole of sendmsg(2) and recvmsg(2): parts, an address, control data. */
ssize_t kernel_sendmsg_message(int fd, const struct msghdr *message, int flags);
ssize_t kernel_recvmsg(int fd, struct msghdr *message, int flags);

/* Bytes of a file: sendfile(2). `*offset` moves by what was sent. 0: the file ended. */
ssize_t kernel_sendfile(int fd, int in_fd, off_t *offset, size_t count);

/* End one side or both: shutdown(2), SHUT_RD, SHUT_WR, SHUT_RDWR. Fails: ENOTCONN. */
int kernel_shutdown(int fd, int how);

/* getsockopt(2), setsockopt(2), getsockname(2), getpeername(2). */
int kernel_getsockopt(int fd, int level, int option, void *value, socklen_t *len);
int kernel_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int kernel_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int kernel_getpeername(int fd, struct sockaddr *addr, socklen_t *len);

/* Wait until one of `fds` is ready: poll(2). `timeout_ms` -1: for ever. Returns how many are, 0
 * when the time is over. */
int kernel_poll(struct pollfd *fds, size_t count, int timeout_ms);

/* A command whose argument is an int (F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, ...): fcntl(2). */
int kernel_fcntl(int fd, int command, int value);

/* O_NONBLOCK on or off: ioctl(2), FIONBIO. */
int kernel_set_nonblocking(int fd, int on);

#endif
