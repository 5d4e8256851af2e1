#include "socket/options.h"

#include "socket/kernel.h"

int option_set(int fd, int level, int option, int value)
{
    return kernel_setsockopt(fd, level, option, &value, sizeof(value));
}
