#include "socket/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMS "give it as host:port, [IPv6]:port, :port or unix:PATH"

void address_set(struct address *addr, const struct sockaddr *sa, socklen_t len)
{
    memset(addr, 0, sizeof(*addr));
    addr->len = len < sizeof(addr->storage) ? len : sizeof(addr->storage);
    memcpy(&addr->storage, sa, addr->len);
}

/* Decimal digits, 0 to 65535; -1 for anything else. */
static int port_parse(const char *text)
{
    long port = 0;
    if (!*text)
        return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        port = port * 10 + (*text - '0');
        if (port > 65535)
            return -1;
    }
    return (int)port;
}

static void address_set_v6(struct address *addr, const struct in6_addr *host, int port)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    in6.sin6_addr = *host;
    address_set(addr, (struct sockaddr *)&in6, sizeof(in6));
}

static void address_set_v4(struct address *addr, uint32_t host, int port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(host);
    address_set(addr, (struct sockaddr *)&in, sizeof(in));
}

/* Does this kernel do IPv6? It lists its IPv6 addresses where it does, proc(5). */
static bool machine_has_v6(void)
{
    return access("/proc/net/if_inet6", F_OK) == 0;
}

/* "unix:PATH", "unix:@name" (abstract, unix(7)). */
static int address_parse_unix(struct address *addr, const char *path, struct error *err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    bool is_abstract = path[0] == '@';
    if (len == 0 || (is_abstract && len == 1))
        return error_format(err, EINVAL, "unix: has no path: %s", FORMS);
    if (len >= sizeof(un.sun_path))
        return error_format(err, ENAMETOOLONG,
                            "the path of a UNIX socket has at most %zu bytes, this one has %zu: "
                            "choose a shorter one, relative to the current folder for example",
                            sizeof(un.sun_path) - 1, len);
    memcpy(un.sun_path, path, len);
    size_t end = is_abstract ? len : len + 1;
    if (is_abstract)
        un.sun_path[0] = '\0';
    address_set(addr, (struct sockaddr *)&un,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + end));
    return 0;
}

/* A name or a numeric address: getaddrinfo(3). */
static int address_resolve(struct address *addr, const char *host, int port, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    char service[16];
    snprintf(service, sizeof(service), "%d", port);
    int failed = getaddrinfo(host, service, &hints, &found);
    if (failed == EAI_MEMORY)
        return error_set(err, ENOMEM, "look up", host);
    if (failed)
        return error_format(err, ENOENT, "cannot find host %s: %s", host, gai_strerror(failed));
    address_set(addr, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

/* The host of "[::1]:80" or "host:80", copied without brackets. Returns its length, or -1. */
static int host_copy(const char *text, const char *colon, char host[256], bool *bracketed)
{
    size_t len = (size_t)(colon - text);
    *bracketed = len >= 2 && text[0] == '[' && colon[-1] == ']';
    if (*bracketed) {
        text++;
        len -= 2;
    }
    if (len > 255 || memchr(text, '[', len) || memchr(text, ']', len))
        return -1;
    memcpy(host, text, len);
    host[len] = '\0';
    return (int)len;
}

static int address_parse_inet(struct address *addr, const char *text, struct error *err)
{
    char host[256];
    bool bracketed;
    const char *colon = strrchr(text, ':');
    if (!colon && port_parse(text) >= 0) {
        address_set_v4(addr, INADDR_LOOPBACK, port_parse(text));
        return 0;
    }
    if (!colon || (colon > text && text[0] == '[' && colon[-1] != ']'))
        return error_format(err, EINVAL, "address %s has no port: %s", text, FORMS);
    int port = port_parse(colon + 1);
    if (port < 0)
        return error_format(
            err, EINVAL, "address %s: the port must be a number from 0 to 65535: %s", text, FORMS);
    int len = host_copy(text, colon, host, &bracketed);
    if (len < 0 || (bracketed && len == 0))
        return error_format(err, EINVAL, "address %s is malformed: %s", text, FORMS);
    if (!bracketed && strchr(host, ':'))
        return error_format(err, EINVAL, "address %s: write IPv6 in brackets: [%s]:%d", text, host,
                            port);
    if (len > 0)
        return address_resolve(addr, host, port, err);
    if (machine_has_v6())
        address_set_v6(addr, &in6addr_any, port);
    else
        address_set_v4(addr, INADDR_ANY, port);
    return 0;
}

int address_parse(struct address *addr, const char *text, struct error *err)
{
    if (strncmp(text, "unix:", 5) == 0)
        return address_parse_unix(addr, text + 5, err);
    return address_parse_inet(addr, text, err);
}

static void address_print_unix(const struct address *addr, char text[ADDRESS_TEXT_SIZE])
{
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t len = addr->len > head ? addr->len - head : 0;
    const char *path = addr->un.sun_path;
    if (len > 0 && path[0] == '\0')
        snprintf(text, ADDRESS_TEXT_SIZE, "unix:@%.*s", (int)len - 1, path + 1);
    else
        snprintf(text, ADDRESS_TEXT_SIZE, "unix:%.*s", (int)strnlen(path, len), path);
}

void address_host(const struct address *addr, char text[ADDRESS_TEXT_SIZE])
{
    text[0] = '\0';
    if (address_is_unix(addr))
        return;
    getnameinfo(&addr->sa, addr->len, text, ADDRESS_TEXT_SIZE, NULL, 0, NI_NUMERICHOST);
}

bool address_set_host(struct address *addr, int family, const char *host)
{
    struct in_addr in = {INADDR_ANY};
    struct in6_addr in6 = in6addr_any;
    if (*host && inet_pton(family, host, family == AF_INET ? (void *)&in : (void *)&in6) != 1)
        return false;
    if (family == AF_INET)
        address_set_v4(addr, ntohl(in.s_addr), 0);
    else
        address_set_v6(addr, &in6, 0);
    return true;
}

void address_host_plain(const struct address *addr, char text[INET6_ADDRSTRLEN])
{
    bool v4 = addr->sa.sa_family == AF_INET;
    const void *host = v4 ? (const void *)&addr->in.sin_addr : (const void *)&addr->in6.sin6_addr;
    text[0] = '\0';
    inet_ntop(addr->sa.sa_family, host, text, INET6_ADDRSTRLEN);
}

void address_print(const struct address *addr, char text[ADDRESS_TEXT_SIZE])
{
    char host[ADDRESS_TEXT_SIZE];
    if (address_is_unix(addr)) {
        address_print_unix(addr, text);
        return;
    }
    address_host(addr, host);
    const char *form = addr->sa.sa_family == AF_INET6 ? "[%.*s]:%u" : "%.*s:%u";
    snprintf(text, ADDRESS_TEXT_SIZE, form, ADDRESS_TEXT_SIZE - 16, host,
             (unsigned)address_port(addr));
}

uint16_t address_port(const struct address *addr)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    switch (addr->sa.sa_family) {
    case AF_INET:
        memcpy(&in, &addr->storage, sizeof(in));
        return ntohs(in.sin_port);
    case AF_INET6:
        memcpy(&in6, &addr->storage, sizeof(in6));
        return ntohs(in6.sin6_port);
    default:
        return 0;
    }
}

/* Behind family and port, which the two families of IP have in the same place. */
enum { HOST_OFFSET = offsetof(struct sockaddr_in, sin_addr) };
_Static_assert(offsetof(struct sockaddr_in6, sin6_flowinfo) == HOST_OFFSET, "as in sockaddr_in");

bool address_host_equal(const struct address *a, const struct address *b)
{
    if (a->sa.sa_family != b->sa.sa_family || a->len != b->len)
        return false;
    if (address_is_unix(a) || a->len < HOST_OFFSET)
        return address_is_unix(a);
    return memcmp((const char *)&a->storage + HOST_OFFSET, (const char *)&b->storage + HOST_OFFSET,
                  a->len - HOST_OFFSET) == 0;
}

uint32_t address_host_hash(const struct address *addr)
{
    uint32_t hash = 0;
    if (address_is_unix(addr))
        return 0;
    for (size_t at = HOST_OFFSET; at + sizeof(uint32_t) <= addr->len; at += sizeof(uint32_t)) {
        uint32_t word;
        memcpy(&word, (const char *)&addr->storage + at, sizeof(word));
        hash = (hash ^ word) * 0x9E3779B1u;
    }
    return hash ^ hash >> 16;
}
