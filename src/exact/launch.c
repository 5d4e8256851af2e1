#include "exact/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exact/call.h"
#include "exact/filter.h"
#include "exact/tracer.h"

enum { EXIT_NOT_RUN = 127 };

/* Set by the handler of SIGTERM in the tracer's process, which has one: signal(7) leaves it no
 * other way. */
static volatile sig_atomic_t has_to_stop;

static void on_stop(int signal)
{
    (void)signal;
    has_to_stop = 1;
}

/* ------------------------------------------------------------------------------ what is shared */

static void *map_shared(int fd, size_t size)
{
    int flags = MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static struct recording_shared *open_shared(const char *folder)
{
    char path[512];
    if ((size_t)snprintf(path, sizeof(path), "%s/shared", folder) >= sizeof(path))
        return NULL;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    struct recording_shared *shared = map_shared(fd, sizeof(*shared));
    close(fd);
    return shared;
}

const char *launch_failure(const struct tracer_page *page, int *code)
{
    *code = page->seize_code ? page->seize_code : page->exec_code;
    return page->seize_code ? "trace" : page->exec_code ? "run" : NULL;
}

bool launch_has_ended(const struct tracer_page *page, int *status)
{
    *status = page->status;
    return page->has_ended;
}

void launch_end(struct tracer_page *page)
{
    munmap(page, sizeof(*page));
}

/* --------------------------------------------------------------------- the child, up to exec(3) */

/* Only root may have one without giving set-uid programs up. */
static int install_filter(void)
{
    struct sock_filter filter[FILTER_MOST];
    uint32_t numbers[FILTER_NUMBERS_MOST];
    size_t count = call_numbers(numbers, FILTER_NUMBERS_MOST);
    struct sock_fprog program = {.len = (unsigned short)filter_build(filter, numbers, count),
                                 .filter = filter};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
        return 0;
    if (errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
        return 0;
    return errno;
}

/* Become the program, as soon as the tracer is ours: it closes `go` when it is not. */
static void become_program(const struct launch *launch, struct tracer_page *page, int go)
{
    char byte;
    /* Where only ancestors may trace (the Linux Security Module Yama), for that moment any may. */
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    if (read(go, &byte, 1) != 1)
        _exit(EXIT_NOT_RUN);
    prctl(PR_SET_PTRACER, 0, 0, 0, 0);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            signal(number, SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &launch->mask, NULL);
    if (!launch->has_all)
        page->filter_code = install_filter();
    execve(launch->path, launch->argv, launch->envp);
    page->exec_code = errno;
    _exit(EXIT_NOT_RUN);
}

/* --------------------------------------------------------------------------------- the tracer */

/* Nothing of its parent's is kept open, no terminal's signals come; `kept` alone stays. Returns
 * what that is from now on. */
static int stand_apart(int kept)
{
    sigset_t all;
    setsid();
    if (chdir("/") < 0 || (kept = fcntl(kept, F_DUPFD, 3)) < 0)
        _exit(0);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGCHLD, SIG_DFL);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd);
    if (kept > 3)
        syscall(SYS_close_range, 3u, (unsigned)kept - 1, 0u);
    syscall(SYS_close_range, (unsigned)kept + 1, ~0u, 0u);
    return kept;
}

static struct tracer tracer_of(const struct launch *launch, struct tracer_page *page)
{
    return (struct tracer){
        .page = page,
        .has_all = launch->has_all,
        .all = {.folder = launch->folder,
                .size = launch->size,
                .shared = open_shared(launch->folder)},
    };
}

static void trace_program(const struct launch *launch, struct tracer_page *page, pid_t pid, int go)
{
    go = stand_apart(go);
    struct tracer tracer = tracer_of(launch, page);
    tracer.is_filtered = !launch->has_all;
    int result = tracer.all.shared ? tracer_seize(&tracer, pid) : -EIO;
    page->seize_code = -result;
    if (result == 0 && write(go, "", 1) == 1) {
        close(go);
        tracer_run(&tracer, pid);
    }
    _exit(0);
}

static void trace_running(const struct launch *launch, struct tracer_page *page, pid_t pid,
                          int said)
{
    said = stand_apart(said);
    struct sigaction action = {.sa_handler = on_stop};
    sigset_t stop;
    sigaction(SIGTERM, &action, NULL);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_UNBLOCK, &stop, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    struct tracer tracer = tracer_of(launch, page);
    tracer.has_to_stop = &has_to_stop;
    int result = tracer.all.shared ? tracer_seize_all(&tracer, pid) : -EIO;
    page->seize_code = -result;
    close(said);
    if (result < 0)
        has_to_stop = 1; /* those that are ours already are let go */
    tracer_run(&tracer, pid);
    _exit(0);
}

/* ---------------------------------------------------------------------------------- beginning */

/* The page, and the pipe by which the two processes wait for one another. */
static int prepare(struct tracer_page **page, int pipe_fds[2], struct error *err)
{
    *page = map_shared(-1, sizeof(**page));
    if (!*page)
        return error_set(err, errno, "begin", "a trace");
    if (pipe2(pipe_fds, O_CLOEXEC) == 0)
        return 0;
    int result = error_set(err, errno, "begin", "a trace");
    launch_end(*page);
    return result;
}

/* fork(2); in the parent an error is told. */
static pid_t begin_child(struct tracer_page *page, const int pipe_fds[2], struct error *err)
{
    pid_t pid = fork();
    if (pid >= 0)
        return pid;
    int result = error_set(err, errno, "begin", "a trace");
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    launch_end(page);
    return result;
}

pid_t launch_program(const struct launch *launch, struct tracer_page **page, struct error *err)
{
    int fds[2];
    int result = prepare(page, fds, err);
    if (result < 0)
        return result;
    pid_t program = begin_child(*page, fds, err);
    if (program < 0)
        return program;
    if (program == 0) {
        close(fds[1]);
        become_program(launch, *page, fds[0]);
    }
    pid_t tracer = begin_child(*page, fds, err);
    if (tracer == 0) {
        close(fds[0]);
        trace_program(launch, *page, program, fds[1]);
    }
    if (tracer < 0) {
        waitpid(program, NULL, 0); /* it finds the pipe closed */
        return tracer;
    }
    close(fds[0]);
    close(fds[1]);
    return program;
}

pid_t launch_attach(const struct launch *launch, pid_t pid, struct tracer_page **page,
                    struct error *err)
{
    int fds[2];
    int result = prepare(page, fds, err);
    if (result < 0)
        return result;
    pid_t tracer = begin_child(*page, fds, err);
    if (tracer < 0)
        return tracer;
    if (tracer == 0) {
        close(fds[0]);
        trace_running(launch, *page, pid, fds[1]);
    }
    char byte;
    close(fds[1]);
    while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
        ; /* until it is closed: all threads are traced, or none */
    close(fds[0]);
    return tracer;
}
