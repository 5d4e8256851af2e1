/* Starting other programs: they find the environment that makes them traced, too. */
#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload/environment.h"
#include "preload/next.h"
#include "preload/process.h"
#include "preload/python_calls.h"

static bool is_traced(char *const *environment)
{
    return process_setting()[0] != '\0' && !environment_refuses(environment);
}

/* The environment for a program: `from` and ours, or `from` as it is. `*made`: to be freed. */
static char *const *with_ours(char *const *from, struct environment **made)
{
    bool is_vforked = process_is_vforked();
    if (!is_vforked)
        python_calls_end(); /* it may be the last that this program does */
    *made = is_traced(from) ? environment_make(from) : NULL;
    if (is_vforked)
        process_thread.left = *made;
    return *made ? environment_entries(*made) : from;
}

/* Elsewhere vfork.S has it. */
#if !defined(__x86_64__) && !defined(__aarch64__)
PRELOAD pid_t vfork(void)
{
    return fork();
}
#endif

/* exec(3) returns only then. */
static int has_failed(int result, struct environment *made)
{
    int code = errno;
    environment_free(made);
    if (process_is_vforked())
        process_thread.left = NULL;
    errno = code;
    return result;
}

PRELOAD int execve(const char *path, char *const argv[], char *const envp[])
{
    struct environment *made;
    int result = NEXT(execve)(path, argv, with_ours(envp, &made));
    return has_failed(result, made);
}

PRELOAD int execv(const char *path, char *const argv[])
{
    return execve(path, argv, environ);
}

PRELOAD int execvpe(const char *file, char *const argv[], char *const envp[])
{
    struct environment *made;
    int result = NEXT(execvpe)(file, argv, with_ours(envp, &made));
    return has_failed(result, made);
}

PRELOAD int execvp(const char *file, char *const argv[])
{
    return execvpe(file, argv, environ);
}

PRELOAD int fexecve(int fd, char *const argv[], char *const envp[])
{
    struct environment *made;
    int result = NEXT(fexecve)(fd, argv, with_ours(envp, &made));
    return has_failed(result, made);
}

/* The arguments of execl(3) and its like, up to NULL, in memory of their own; what comes behind
 * them stays in `list`. NULL: there is no memory. */
static char **gather(const char *first, va_list *list, size_t *size)
{
    va_list counted;
    size_t count = 1;
    va_copy(counted, *list);
    if (first)
        while (va_arg(counted, char *))
            count++;
    va_end(counted);
    *size = (count + 1) * sizeof(char *);
    char **argv = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (argv == MAP_FAILED) {
        errno = ENOMEM;
        return NULL;
    }
    argv[0] = (char *)(uintptr_t)first;
    for (size_t i = 1; first && (argv[i] = va_arg(*list, char *)); i++)
        ;
    return argv;
}

static int gave_up(char **argv, size_t size, int result)
{
    int code = errno;
    if (argv)
        munmap(argv, size);
    errno = code;
    return result;
}

PRELOAD int execl(const char *path, const char *first, ...)
{
    size_t size;
    va_list list;
    va_start(list, first);
    char **argv = gather(first, &list, &size);
    va_end(list);
    return gave_up(argv, size, argv ? execve(path, argv, environ) : -1);
}

PRELOAD int execlp(const char *file, const char *first, ...)
{
    size_t size;
    va_list list;
    va_start(list, first);
    char **argv = gather(first, &list, &size);
    va_end(list);
    return gave_up(argv, size, argv ? execvpe(file, argv, environ) : -1);
}

PRELOAD int execle(const char *path, const char *first, ...)
{
    size_t size;
    va_list list;
    va_start(list, first);
    char **argv = gather(first, &list, &size);
    char *const *envp = argv ? va_arg(list, char *const *) : NULL;
    va_end(list);
    return gave_up(argv, size, argv ? execve(path, argv, envp) : -1);
}

PRELOAD int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    struct environment *made;
    int result = NEXT(posix_spawn)(pid, path, actions, attributes, argv, with_ours(envp, &made));
    environment_free(made);
    return result;
}

PRELOAD int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                         const posix_spawnattr_t *attributes, char *const argv[],
                         char *const envp[])
{
    struct environment *made;
    int result = NEXT(posix_spawnp)(pid, file, actions, attributes, argv, with_ours(envp, &made));
    environment_free(made);
    return result;
}

/* These two start a shell with the environment that `environ` points to. */
static struct environment *put_ours(char ***before)
{
    struct environment *made = is_traced(environ) ? environment_make(environ) : NULL;
    *before = environ;
    if (made)
        environ = (char **)(uintptr_t)environment_entries(made);
    return made;
}

static void put_back(struct environment *made, char **before)
{
    int code = errno;
    /* Another thread may have changed it meanwhile: then its environment stays, and our memory. */
    if (made && environ == (char **)(uintptr_t)environment_entries(made)) {
        environ = before;
        environment_free(made);
    }
    errno = code;
}

PRELOAD int system(const char *command)
{
    char **before;
    struct environment *made = put_ours(&before);
    int result = NEXT(system)(command);
    put_back(made, before);
    return result;
}

PRELOAD FILE *popen(const char *command, const char *mode)
{
    char **before;
    struct environment *made = put_ours(&before);
    FILE *result = NEXT(popen)(command, mode);
    put_back(made, before);
    return result;
}
