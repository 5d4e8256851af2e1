/* Socket options: setsockopt(2) with an int. */
#ifndef ZOLAL_SOCKET_OPTIONS_H
#define ZOLAL_SOCKET_OPTIONS_H

/* Set an option whose value is an int: socket(7), tcp(7), ipv6(7). Returns 0 or -errno. */
int option_set(int fd, int level, int option, int value);

/* Have small segments sent at once: TCP_NODELAY of tcp(7). Returns 0 or -errno. */
int option_set_nodelay(int fd);

#endif
