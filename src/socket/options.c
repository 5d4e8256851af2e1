#include "socket/options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "socket/kernel.h"

int option_set(int fd, int level, int option, int value)
{
    return kernel_setsockopt(fd, level, option, &value, sizeof(value));
}

int option_set_nodelay(int fd)
{
    return option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}
