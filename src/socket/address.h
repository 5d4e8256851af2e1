/* Addresses: the forms that people write, and back. IPv4, IPv6, UNIX (path and abstract). */
#ifndef ZOLAL_SOCKET_ADDRESS_H
#define ZOLAL_SOCKET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"

/* `len` bytes of `sa` count. Any of the kernel's address types that zolal knows fits. */
struct address {
    union {
        struct sockaddr sa;
        struct sockaddr_storage storage;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t len;
};

/* Room for any address_print result with its NUL: "unix:" and a path, or "[ip6%zone]:port". */
#define ADDRESS_TEXT_SIZE 192

/* Parse `text`: "127.0.0.1:8000", "[::1]:8000", "host:8000" (getaddrinfo(3), the first answer),
 * ":8000" (all addresses: [::], or 0.0.0.0 where the machine has no IPv6), "8000" likewise on
 * 127.0.0.1, "unix:/run/z.sock", "unix:@abstract". Returns 0, or -errno with `err` filled, saying
 * what is wrong and what would be right: EINVAL; ENAMETOOLONG (a UNIX path of more than 107 bytes);
 * ENOENT (no such host). */
int address_parse(struct address *addr, const char *text, struct error *err);

/* Fill `addr` from what the kernel gave. */
void address_set(struct address *addr, const struct sockaddr *sa, socklen_t len);

/* The address as address_parse takes it, NUL-terminated. An unnamed UNIX socket is "unix:". */
void address_print(const struct address *addr, char text[ADDRESS_TEXT_SIZE]);

/* Only the host, without brackets or port ("127.0.0.1", "::1"; "" for UNIX): REMOTE_ADDR. */
void address_host(const struct address *addr, char text[ADDRESS_TEXT_SIZE]);

/* Read a numeric host of `family` (AF_INET or AF_INET6; no zone) into `addr`, port 0: inet_pton(3).
 * "" is the wildcard. False: it is a name, or nothing that the family knows. */
bool address_set_host(struct address *addr, int family, const char *host);

/* The numeric host of an IP address, without a zone: inet_ntop(3). */
void address_host_plain(const struct address *addr, char text[INET6_ADDRSTRLEN]);

/* The port, 0 for UNIX. */
uint16_t address_port(const struct address *addr);

/* Do both have the same host, whatever their ports? Equal hosts have equal hashes. */
bool address_host_equal(const struct address *a, const struct address *b);
uint32_t address_host_hash(const struct address *addr);

static inline bool address_is_unix(const struct address *addr)
{
    return addr->sa.sa_family == AF_UNIX;
}

#endif
