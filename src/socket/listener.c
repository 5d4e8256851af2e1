#include "socket/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "socket/kernel.h"
#include "socket/options.h"
#include "socket/port_owner.h"

static bool address_has_file(const struct address *addr)
{
    return address_is_unix(addr) && addr->un.sun_path[0] != '\0';
}

/* "cannot listen on ADDRESS: why", with what the person can do where we know it. */
static int listener_fail(struct error *err, int code, const struct address *addr)
{
    char text[ADDRESS_TEXT_SIZE], owner[PORT_OWNER_TEXT_SIZE];
    address_print(addr, text);
    if (code == EADDRINUSE && port_owner_find(addr, owner))
        return error_format(err, code, "cannot listen on %s: Address already in use, by %s", text,
                            owner);
    if (code == EACCES && !address_is_unix(addr) && address_port(addr) < 1024)
        return error_format(err, code,
                            "cannot listen on %s: Permission denied: ports below 1024 need root or "
                            "CAP_NET_BIND_SERVICE; take a higher port, 8000 for example",
                            text);
    return error_set(err, code, "listen on", text);
}

/* A UNIX socket's file whose server is gone refuses connections: it may be replaced. unix(7). */
static bool file_is_stale(const struct address *addr)
{
    struct stat status;
    if (lstat(addr->un.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return false;
    int fd = kernel_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool is_stale = kernel_connect(fd, &addr->sa, addr->len) == -ECONNREFUSED;
    kernel_close(fd);
    return is_stale;
}

static int listener_bind(int fd, const struct address *addr, int unix_mode)
{
    int result = kernel_bind(fd, &addr->sa, addr->len);
    if (result == -EADDRINUSE && address_has_file(addr) && file_is_stale(addr)) {
        if (unlink(addr->un.sun_path) < 0)
            return -errno;
        result = kernel_bind(fd, &addr->sa, addr->len);
    }
    /* Before listen nobody can connect, so there is no moment of wider permissions. */
    if (result == 0 && unix_mode > 0 && address_has_file(addr) &&
        chmod(addr->un.sun_path, (mode_t)unix_mode) < 0) {
        result = -errno;
        unlink(addr->un.sun_path);
    }
    return result;
}

static int listener_set_options(int fd, const struct address *addr,
                                const struct listener_options *options)
{
    if (address_is_unix(addr))
        return 0;
    int result = option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (result == 0 && options->reuse_port)
        result = option_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (result == 0 && addr->sa.sa_family == AF_INET6)
        result = option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6_only);
    /* Accepted sockets inherit it, so it costs no call for each of them. tcp(7). */
    if (result == 0)
        result = option_set_nodelay(fd);
    if (result == 0 && options->defer_accept_s > 0)
        result = option_set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, options->defer_accept_s);
    return result;
}

int listener_open(struct address *addr, const struct listener_options *options, struct error *err)
{
    int fd = kernel_socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return listener_fail(err, -fd, addr);
    int result = listener_set_options(fd, addr, options);
    if (result < 0)
        goto close_fd;
    result = listener_bind(fd, addr, options->unix_mode);
    if (result < 0)
        goto close_fd;
    result = kernel_listen(fd, options->backlog);
    if (result < 0)
        goto unlink_file;
    socklen_t len = sizeof(addr->storage);
    struct address bound = *addr;
    if (!address_is_unix(addr) && kernel_getsockname(fd, &bound.sa, &len) == 0)
        address_set(addr, &bound.sa, len);
    return fd;

unlink_file:
    if (address_has_file(addr))
        unlink(addr->un.sun_path);
close_fd:
    kernel_close(fd);
    return listener_fail(err, -result, addr);
}

int listener_adopt(int fd, struct address *addr, struct error *err)
{
    int is_listening = 0, type = 0;
    socklen_t len = sizeof(int);
    int result = kernel_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len);
    if (result == 0)
        result = kernel_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
    if (result == 0 && (!is_listening || type != SOCK_STREAM))
        return error_format(err, EINVAL, "descriptor %d is not a listening stream socket", fd);
    struct address bound;
    len = sizeof(bound.storage);
    if (result == 0)
        result = kernel_getsockname(fd, &bound.sa, &len);
    if (result == 0)
        address_set(addr, &bound.sa, len);
    if (result == 0 && (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
                        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0))
        result = -errno;
    return result < 0 ? error_set(err, -result, "take over", "a listening socket") : 0;
}

int listener_accept(int fd, struct address *peer)
{
    peer->len = sizeof(peer->storage);
    memset(&peer->storage, 0, sizeof(struct sockaddr_in6));
    int accepted = kernel_accept4(fd, &peer->sa, &peer->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (peer->len > sizeof(peer->storage))
        peer->len = sizeof(peer->storage);
    return accepted;
}

void listener_close(int fd, const struct address *addr)
{
    kernel_close(fd);
    if (address_has_file(addr))
        unlink(addr->un.sun_path);
}
