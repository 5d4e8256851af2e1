/* A socketpair that a byte goes through, for `./dev bench trace`: what a call of the C library
 * costs. Prints, for each of ROUNDS rounds, nanoseconds of CPU a call. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

static double cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 20, calls = argc > 2 ? atoi(argv[2]) : 2000, fds[2];
    char byte = 'x';
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        return 1;
    for (int round = 0; round < rounds; round++) {
        double begin = cpu_ns();
        for (int i = 0; i < calls / 2; i++)
            if (send(fds[0], &byte, 1, 0) != 1 || recv(fds[1], &byte, 1, 0) != 1)
                return 2;
        printf("%.1f\n", (cpu_ns() - begin) / calls);
        fflush(stdout);
    }
    return 0;
}
