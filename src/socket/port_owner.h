/* Who listens on an address, as far as /proc tells: proc(5), /proc/net/tcp, /proc/net/unix. */
#ifndef ZOLAL_SOCKET_PORT_OWNER_H
#define ZOLAL_SOCKET_PORT_OWNER_H

#include <stdbool.h>

#include "socket/address.h"

#define PORT_OWNER_TEXT_SIZE 64

/* Write "process 123 (python3)" for a process that listens on the port, or the path, of `addr`.
 * False when none is found: it may be another user's, or in another namespace. Looks at each
 * process once. */
bool port_owner_find(const struct address *addr, char text[PORT_OWNER_TEXT_SIZE]);

#endif
