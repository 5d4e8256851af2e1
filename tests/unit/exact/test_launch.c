/* Programs that are traced for real, while system calls of the tracer fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exact/launch.h"
#include "trace/reader.h"
#include "trace/recording.h"

enum { EXIT_CODE = 7, CALLS = 4 };

/* Which call of a function fails, counted down; 0: none. In the tracer's process it is the
 * tracer's.
 */
static int fails[9];
enum { FORK, PIPE, MMAP, CALLOC, LOOK, SEIZE, READ, OPEN, LINK };
static bool has_no_filter;
static char folder[] = "/tmp/zolal-launch-XXXXXX", path[64];

static bool is_to_fail(int which, int code)
{
    if (fails[which] == 0 || --fails[which] > 0)
        return false;
    errno = code;
    return true;
}

pid_t __real_fork(void);
pid_t __wrap_fork(void);
int __real_pipe2(int fds[2], int flags);
int __wrap_pipe2(int fds[2], int flags);
void *__real_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t offset);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
long __real_ptrace(int request, pid_t pid, void *addr, void *data);
long __wrap_ptrace(int request, pid_t pid, void *addr, void *data);
ssize_t __real_process_vm_readv(pid_t pid, const struct iovec *ours, unsigned long count,
                                const struct iovec *theirs, unsigned long more,
                                unsigned long flags);
ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *ours, unsigned long count,
                                const struct iovec *theirs, unsigned long more,
                                unsigned long flags);
int __real_open64(const char *name, int flags, ...);
int __wrap_open64(const char *name, int flags, ...);
ssize_t __real_readlink(const char *name, char *into, size_t size);
ssize_t __wrap_readlink(const char *name, char *into, size_t size);
int __real_prctl(int what, ...);
int __wrap_prctl(int what, unsigned long a, unsigned long b, unsigned long c, unsigned long d);

pid_t __wrap_fork(void)
{
    return is_to_fail(FORK, EAGAIN) ? -1 : __real_fork();
}

int __wrap_pipe2(int fds[2], int flags)
{
    return is_to_fail(PIPE, EMFILE) ? -1 : __real_pipe2(fds, flags);
}

void *__wrap_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t offset)
{
    return is_to_fail(MMAP, ENOMEM) ? MAP_FAILED
                                    : __real_mmap64(addr, len, protection, flags, fd, offset);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return is_to_fail(CALLOC, ENOMEM) ? NULL : __real_calloc(count, size);
}

long __wrap_ptrace(int request, pid_t pid, void *addr, void *data)
{
    bool asks = request == PTRACE_GET_SYSCALL_INFO || request == PTRACE_GETEVENTMSG;
    if ((asks && is_to_fail(LOOK, ESRCH)) || (request == PTRACE_SEIZE && is_to_fail(SEIZE, EPERM)))
        return -1;
    return __real_ptrace(request, pid, addr, data);
}

ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *ours, unsigned long count,
                                const struct iovec *theirs, unsigned long more, unsigned long flags)
{
    return is_to_fail(READ, EPERM) ? -1
                                   : __real_process_vm_readv(pid, ours, count, theirs, more, flags);
}

int __wrap_open64(const char *name, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    int mode = flags & O_CREAT ? va_arg(list, int) : 0;
    va_end(list);
    return is_to_fail(OPEN, EMFILE) ? -1 : __real_open64(name, flags, mode);
}

ssize_t __wrap_readlink(const char *name, char *into, size_t size)
{
    return is_to_fail(LINK, EACCES) ? -1 : __real_readlink(name, into, size);
}

int __wrap_prctl(int what, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    if (what == PR_SET_SECCOMP && has_no_filter) {
        errno = EINVAL;
        return -1;
    }
    return __real_prctl(what, a, b, c, d);
}

/* The program: what it calls, and how it ends, is the same whatever fails. */
static int talk(void)
{
    int pair[2];
    char got[4];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || send(pair[0], "abc", 3, 0) != 3 ||
        recv(pair[1], got, 3, 0) != 3)
        return 1;
    pid_t child = __real_fork();
    if (child == 0)
        _exit(close(pair[0]) == 0 ? 0 : 1);
    int status;
    return waitpid(child, &status, 0) == child && status == 0 && close(pair[1]) == 0 ? EXIT_CODE
                                                                                     : 2;
}

static int make_folder(void **state)
{
    struct recording_shared shared = {.budget = 1 << 30};
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/shared", folder);
    int fd = __real_open64(path, O_RDWR | O_CREAT, 0600);
    ssize_t written = write(fd, &shared, sizeof(shared));
    close(fd);
    return written == sizeof(shared) ? 0 : -1;
}

/* How many calls have been recorded of process `pid`; then its file goes. */
static int take_calls(pid_t pid)
{
    struct reader *reader;
    struct reader_event event;
    int count = 0;
    snprintf(path, sizeof(path), "%s/%d.0.trace", folder, (int)pid);
    if (reader_open(&reader, path, 0, NULL) < 0)
        return 0;
    while (reader_next(reader, &event) == 1)
        count += event.event.kind == TRACE_CALL;
    reader_close(reader);
    return count;
}

static int remove_folder(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static pid_t launch(struct tracer_page **page, struct error *err, const char *program)
{
    /* LeakSanitizer looks by ptrace(2), too, and cannot in who is traced. */
    char *argv[] = {(char[]){"program"}, (char[]){"talk"}, NULL},
         *envp[] = {(char[]){"ASAN_OPTIONS=detect_leaks=0"}, NULL};
    struct launch launch = {
        .folder = folder, .size = 1 << 20, .path = program, .argv = argv, .envp = envp};
    sigemptyset(&launch.mask);
    return launch_program(&launch, page, err);
}

static int end_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Run it. Returns how many calls have been recorded. */
static int run(void)
{
    struct tracer_page *page;
    struct error err;
    int code;
    pid_t pid = launch(&page, &err, "/proc/self/exe");
    assert_true(pid > 0);
    assert_int_equal(end_of(pid), EXIT_CODE);
    assert_null(launch_failure(page, &code));
    launch_end(page);
    memset(fails, 0, sizeof(fails));
    return take_calls(pid);
}

static void test_a_program(void **state)
{
    (void)state;
    assert_int_equal(run(), CALLS); /* its child has a recording of its own */
}

static void test_without_a_filter(void **state)
{
    (void)state;
    has_no_filter = true;
    assert_int_equal(run(), CALLS);
    has_no_filter = false;
}

/* Whatever fails in the tracer, the program runs as it would. */
static void test_what_fails_while_it_runs(void **state)
{
    static const int all[] = {LOOK, READ, LINK};
    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        for (int nth = 1; nth < 12; nth++) {
            fails[all[i]] = nth;
            assert_true((unsigned)run() <= CALLS + 1); /* what a descriptor is was not known once */
        }
}

/* Of a program: it has not been run. */
static void check_refused(int code, const char *what)
{
    struct tracer_page *page;
    struct error err;
    int found, status;
    pid_t pid = launch(&page, &err, "/proc/self/exe");
    memset(fails, 0, sizeof(fails));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) ? WEXITSTATUS(status) == 127 : WTERMSIG(status) == SIGKILL);
    assert_string_equal(launch_failure(page, &found), what);
    assert_int_equal(found, code);
    launch_end(page);
}

static void test_what_cannot_be_begun(void **state)
{
    struct tracer_page *page;
    struct error err;
    (void)state;
    for (int which = FORK; which <= MMAP; which++) {
        fails[which] = 1;
        assert_true(launch(&page, &err, "/proc/self/exe") < 0);
        assert_non_null(strstr(err.text, "cannot begin a trace"));
    }
    fails[FORK] = 2;
    assert_int_equal(launch(&page, &err, "/proc/self/exe"), -EAGAIN);
    fails[SEIZE] = 1;
    check_refused(EPERM, "trace");
    fails[CALLOC] = 1;
    check_refused(ENOMEM, "trace");
    fails[OPEN] = 2; /* after /dev/null, `shared` */
    check_refused(EIO, "trace");
}

static void test_what_is_no_program(void **state)
{
    struct tracer_page *page;
    struct error err;
    int code;
    (void)state;
    pid_t pid = launch(&page, &err, "/nowhere");
    assert_int_equal(end_of(pid), 127);
    assert_string_equal(launch_failure(page, &code), "run");
    assert_int_equal(code, ENOENT);
    launch_end(page);
}

/* A thread that there is no memory for is not recorded, and lives. */
static void test_memory_that_is_not_there(void **state)
{
    (void)state;
    for (int nth = 3; nth < 6; nth++) {
        fails[CALLOC] = nth;
        assert_true((unsigned)run() <= CALLS);
    }
    for (int nth = 3; nth < 12; nth++) {
        fails[MMAP] = nth;
        run();
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_program),
        cmocka_unit_test(test_without_a_filter),
        cmocka_unit_test(test_what_fails_while_it_runs),
        cmocka_unit_test(test_what_cannot_be_begun),
        cmocka_unit_test(test_what_is_no_program),
        cmocka_unit_test(test_memory_that_is_not_there),
    };
    if (argc > 1 && strcmp(argv[1], "talk") == 0)
        return talk();
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
