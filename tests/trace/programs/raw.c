/* Programs without a C library, or that do what one does not: `raw WORD` does one of them. Calls
 * are made by the machine's own instruction. */
#if defined(__x86_64__)
static long call(long number, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

/* socket(2) as a 32-bit program makes it. */
static long call_32(long number, int a, int b, int c)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}
#else
#error "of x86-64"
#endif

#include <sys/syscall.h>

static int is(const char *word, const char *wanted)
{
    while (*word && *word == *wanted)
        word++, wanted++;
    return *word == *wanted;
}

static void talk(void)
{
    int pair[2];
    char got[16];
    call(SYS_socketpair, 1, 1, 0, (long)pair, 0);
    call(SYS_write, pair[0], (long)"GET / HTTP/1.1\r\n", 16, 0, 0);
    call(SYS_read, pair[1], (long)got, 16, 0, 0);
    call(SYS_write, 1, (long)"hello\n", 6, 0, 0);
}

/* io_uring_setup(2), of struct io_uring_params; then nothing is asked for. */
static void ring(void)
{
    long params[15] = {0};
    long fd = call(425, 2, (long)params, 0, 0, 0);
    call(426, fd, 0, 0, 0, 0);
}

static void end(int code)
{
    for (;;)
        call(SYS_exit_group, code, 0, 0, 0, 0);
}

void begin(long *stack) __attribute__((used));

void begin(long *stack)
{
    const char *word = stack[0] > 1 ? (const char *)stack[2] : "";
    if (is(word, "talk"))
        talk();
    else if (is(word, "ring"))
        ring();
    else if (is(word, "old"))
        end(call_32(359, 1, 1, 0) >= 0 ? 0 : 1);
    else if (is(word, "x32"))
        end(call(0x40000000 | SYS_getpid, 0, 0, 0, 0, 0) == -38 ? 0 : 1);
    else if (is(word, "trace"))
        end(call(SYS_ptrace, 0, 0, 0, 0, 0) == -1 ? 0 : 1);
    end(0);
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
