/* What programs do that a recorder must bear: one a word, which is the argument. Each prints what
 * it has seen, the same whether it is traced or not. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int pair[2];
static void *volatile nowhere = (void *)8; /* an address that is nobody's */

static void make_pair(void)
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        exit(100);
}

static void talk(void)
{
    char text[8];
    if (send(pair[0], "hello", 5, 0) != 5 || recv(pair[1], text, sizeof(text), 0) != 5)
        exit(101);
}

/* ------------------------------------------------------------------------------------- threads */

static void *talk_often(void *count)
{
    int own[2];
    char byte;
    socketpair(AF_UNIX, SOCK_STREAM, 0, own);
    for (int i = 0; i < *(int *)count; i++)
        if (send(own[0], "x", 1, 0) != 1 || recv(own[1], &byte, 1, 0) != 1)
            exit(102);
    close(own[0]);
    close(own[1]);
    return NULL;
}

/* Eight threads, 10,000 calls each. */
static int threads(void)
{
    pthread_t ids[8];
    int count = 5000;
    for (int i = 0; i < 8; i++)
        pthread_create(&ids[i], NULL, talk_often, &count);
    for (int i = 0; i < 8; i++)
        pthread_join(ids[i], NULL);
    return 0;
}

/* Threads with the smallest stack there may be. */
static int small_stacks(void)
{
    pthread_t id;
    pthread_attr_t attributes;
    int count = 100;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)))
        return 1;
    for (int i = 0; i < 20; i++) {
        if (pthread_create(&id, &attributes, talk_often, &count))
            return 2;
        pthread_join(id, NULL);
    }
    return 0;
}

/* More threads than a recording has room for, one after another. */
static int many_threads(void)
{
    pthread_t ids[16];
    int count = 3;
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 16; i++)
            pthread_create(&ids[i], NULL, talk_often, &count);
        for (int i = 0; i < 16; i++)
            pthread_join(ids[i], NULL);
    }
    return 0;
}

static void *receive_for_ever(void *unused)
{
    char byte;
    (void)unused;
    while (recv(pair[0], &byte, 1, 0) >= 0)
        ;
    return NULL;
}

static int cancel(void)
{
    make_pair();
    for (int i = 0; i < 200; i++) {
        pthread_t id;
        void *outcome;
        pthread_create(&id, NULL, receive_for_ever, NULL);
        if (i % 2)
            usleep(100);
        pthread_cancel(id);
        pthread_join(id, &outcome);
        if (outcome != PTHREAD_CANCELED)
            return 1;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------- signals */

static volatile sig_atomic_t interruptions;
static sigjmp_buf before;

static void talk_in_between(int number)
{
    int code = errno;
    (void)number;
    interruptions++;
    if (send(pair[0], "s", 1, MSG_DONTWAIT) == 1) {
        char byte;
        recv(pair[1], &byte, 1, MSG_DONTWAIT);
    }
    errno = code;
}

static void every_100_us(void)
{
    struct itimerval timer = {{0, 100}, {0, 100}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void stop_timer(void)
{
    struct itimerval timer = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* Handlers that make calls, on a stack of their own; standard error tells how many calls there
 * were. */
static int handlers(void)
{
    static char stack[16384];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_handler = talk_in_between, .sa_flags = SA_RESTART | SA_ONSTACK};
    make_pair();
    sigaltstack(&alternate, NULL);
    sigaction(SIGALRM, &action, NULL);
    every_100_us();
    long others = 0;
    for (; interruptions < 300; others++)
        shutdown(-1, SHUT_RD);
    stop_timer();
    fprintf(stderr, "%d %ld\n", (int)interruptions, others);
    return 0;
}

static void leave(int number)
{
    (void)number;
    interruptions++;
    siglongjmp(before, 1);
}

/* A handler that never returns, from the middle of whatever it was. */
static int longjmps(void)
{
    struct sigaction action = {.sa_handler = leave, .sa_flags = SA_NODEFER};
    sigaction(SIGALRM, &action, NULL);
    every_100_us();
    while (interruptions < 300) {
        sigsetjmp(before, 1);
        while (interruptions < 300)
            shutdown(-1, SHUT_RD);
    }
    stop_timer();
    make_pair();
    for (int i = 0; i < 5000; i++)
        talk();
    return 0;
}

/* ----------------------------------------------------------------------------------- processes */

static int wait_for(pid_t pid)
{
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A vfork(2) child closes what its parent has, and tells it something by its memory, as glibc's
 * manual forbids and programs do. */
static int vforks(void)
{
    volatile int told = 0;
    make_pair();
    pid_t pid = vfork();
    if (pid == 0) {
        close(pair[0]);
        execl("/nowhere", "nowhere", (char *)NULL);
        told = errno;
        _exit(7);
    }
    printf("%d\n", wait_for(pid));
    printf("%d\n", told);
    talk();
    return 0;
}

static void *fork_here(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            int count = 10;
            pthread_t id;
            talk_often(&count);
            pthread_create(&id, NULL, talk_often, &count);
            pthread_join(id, NULL);
            _exit(0);
        }
        if (wait_for(pid) != 0)
            exit(103);
    }
    return NULL;
}

/* Forks in a thread while others record. */
static int fork_in_threads(void)
{
    pthread_t ids[4];
    int count = 20000;
    for (int i = 0; i < 4; i++)
        pthread_create(&ids[i], NULL, i % 2 ? fork_here : talk_often, &count);
    for (int i = 0; i < 4; i++)
        pthread_join(ids[i], NULL);
    return 0;
}

/* ------------------------------------------------------------------------------------ the rest */

/* errno is what the call has left there, and what it was before where the call is good. */
static int errors(void)
{
    make_pair();
    errno = 77;
    talk();
    printf("%d\n", errno);
    printf("%d %d\n", recv(-1, NULL, 0, 0) < 0, errno);
    printf("%d %d\n", recv(pair[0], NULL, 1, MSG_DONTWAIT) < 0, errno);
    printf("%d %d\n", connect(-1, nowhere, 16) < 0, errno);
    printf("%d %d\n", bind(pair[0], nowhere, 16) < 0, errno);
    printf("%d %d\n", recvmsg(pair[0], nowhere, 0) < 0, errno);
    printf("%d %d\n", sendmsg(pair[0], nowhere, 0) < 0, errno);
    printf("%d %d\n", writev(pair[0], nowhere, 2) < 0, errno);
    printf("%d %d\n", poll(nowhere, 1, 0) < 0, errno);
    printf("%d %d\n", epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, pair[0], nowhere) < 0, errno);
    printf("%d %d\n", setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, nowhere, 4) < 0, errno);
    printf("%d %d\n", close(-1), errno);
    errno = 77;
    char text[4];
    FILE *stream = fmemopen(text, sizeof(text), "w");
    printf("%d", fclose(stream));
    printf(" %d\n", errno);
    return 0;
}

/* A part of a datagram, of which the whole length is told. */
static int truncated(void)
{
    char large[4096],
        *small = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(small + 4096, 4096, PROT_NONE);
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    memset(large, 'G', sizeof(large));
    send(pair[0], large, sizeof(large), 0);
    printf("%zd\n", recv(pair[1], small + 4090, 6, MSG_TRUNC));
    return 0;
}

/* What programs do that were compiled with -D_FORTIFY_SOURCE=2. */
static int fortified(void)
{
    char text[64];
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    volatile size_t size = 16; /* not known to the compiler */
    make_pair();
    struct pollfd polled[2] = {{pair[1], POLLIN, 0}, {pair[0], POLLIN, 0}};
    for (int i = 0; i < 4; i++)
        send(pair[0], "hello", 5, 0);
    printf("%zd\n", read(pair[1], text, size - 11));
    printf("%zd\n", recv(pair[1], text, size - 11, 0));
    printf("%zd\n", recvfrom(pair[1], text, size - 11, 0, (struct sockaddr *)&from, &len));
    printf("%d\n", poll(polled, size - 14, 0));
    printf("%d\n", ppoll(polled, size - 14, &(struct timespec){0, 0}, NULL));
    return 0;
}

/* Calls by their number. */
static int raw(void)
{
    char byte;
    int fds[2];
    syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, fds);
    printf("%ld\n", syscall(SYS_sendto, fds[0], "x", 1, 0, NULL, 0));
    printf("%ld\n", syscall(SYS_read, fds[1], &byte, 1));
    printf("%ld %d\n", syscall(SYS_close, fds[1]), errno);
    printf("%ld", syscall(SYS_close, -1));
    printf(" %d\n", errno);
    return 0;
}

static int all(void)
{
    make_pair();
    talk();
    for (int fd = 0; fd < 4096; fd++)
        close(fd);
    int first = socket(AF_INET, SOCK_STREAM, 0);
    make_pair();
    talk();
    return first == 0 && pair[0] == 1 && pair[1] == 2 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } programs[] = {
        {"threads", threads},
        {"small_stacks", small_stacks},
        {"many_threads", many_threads},
        {"cancel", cancel},
        {"handlers", handlers},
        {"longjmps", longjmps},
        {"vforks", vforks},
        {"fork_in_threads", fork_in_threads},
        {"errors", errors},
        {"truncated", truncated},
        {"fortified", fortified},
        {"raw", raw},
        {"closes_all", all},
    };
    for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++)
        if (argc > 1 && strcmp(argv[1], programs[i].name) == 0)
            return programs[i].run();
    return 99;
}
