#include "exact/tracee.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_SIZE = 64, PAGE = 4096 };

static int request(enum __ptrace_request what, pid_t tid, uintptr_t address, uintptr_t data)
{
    long result = ptrace(what, tid, (void *)address, (void *)data);
    return result < 0 ? -errno : (int)result;
}

int tracee_seize(pid_t tid, bool dies_with_us)
{
    unsigned options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEEXEC |
                       PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
    return request(PTRACE_SEIZE, tid, 0, options | (dies_with_us ? PTRACE_O_EXITKILL : 0));
}

int tracee_interrupt(pid_t tid)
{
    return request(PTRACE_INTERRUPT, tid, 0, 0);
}

int tracee_go(pid_t tid, enum tracee_way way, int signal)
{
    static const enum __ptrace_request requests[] = {
        [TRACEE_FREE] = PTRACE_CONT,
        [TRACEE_TO_CALL] = PTRACE_SYSCALL,
        [TRACEE_STOPPED] = PTRACE_LISTEN,
        [TRACEE_DETACHED] = PTRACE_DETACH,
    };
    return request(requests[way], tid, 0, (uintptr_t)signal);
}

int tracee_message(pid_t tid, unsigned long *message)
{
    return request(PTRACE_GETEVENTMSG, tid, 0, (uintptr_t)message);
}

int tracee_look(pid_t tid, struct tracee_call *call)
{
    struct __ptrace_syscall_info info = {0};
    int result = request(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), (uintptr_t)&info);
    if (result < 0)
        return result;
    *call = (struct tracee_call){
        .stage = TRACEE_NO_CALL,
        .machine = info.arch,
        .instruction = info.instruction_pointer,
        .stack = info.stack_pointer,
    };
    if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
        call->stage = TRACEE_LEAVES;
        call->result = info.exit.rval;
    } else if (info.op != PTRACE_SYSCALL_INFO_NONE) { /* ENTRY and SECCOMP begin alike */
        call->stage = TRACEE_ENTERS;
        call->number = info.entry.nr;
        memcpy(call->args, info.entry.args, sizeof(call->args));
    }
    return 0;
}

pid_t tracee_wait(int *status)
{
    pid_t tid = waitpid(-1, status, __WALL);
    return tid < 0 ? -errno : tid;
}

int tracee_read(pid_t tid, uint64_t address, void *into, size_t len)
{
    struct iovec ours = {into, len}, theirs = {(void *)(uintptr_t)address, len};
    ssize_t got = process_vm_readv(tid, &ours, 1, &theirs, 1, 0);
    if (got < 0)
        return -errno;
    return (size_t)got == len ? 0 : -EFAULT;
}

/* A read that goes beyond a page may fail for what is behind the text. */
ssize_t tracee_read_text(pid_t tid, uint64_t address, char *into, size_t size)
{
    size_t len = 0;
    while (len < size - 1) {
        size_t part = PAGE - (address + len) % PAGE;
        part = part < size - 1 - len ? part : size - 1 - len;
        int result = tracee_read(tid, address + len, into + len, part);
        if (result < 0)
            return result;
        const char *end = memchr(into + len, '\0', part);
        if (end)
            return end - into;
        len += part;
    }
    into[len] = '\0';
    return (ssize_t)size;
}

ssize_t tracee_file(pid_t tid, const char *name, char *into, size_t size)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = read(fd, into, size - 1);
    ssize_t result = got < 0 ? -errno : got;
    close(fd);
    if (result >= 0)
        into[result] = '\0';
    return result;
}

/* Behind the name; NULL: there is none. */
static const char *find_status(pid_t tid, const char *name, char text[PAGE])
{
    char wanted[32];
    int len = snprintf(wanted, sizeof(wanted), "\n%s:\t", name);
    if (tracee_file(tid, "status", text, PAGE) < 0)
        return NULL;
    const char *found = strstr(text, wanted);
    return found ? found + len : NULL;
}

int64_t tracee_status(pid_t tid, const char *name, int base)
{
    char text[PAGE];
    const char *found = find_status(tid, name, text);
    return found ? (int64_t)strtoull(found, NULL, base) : -1;
}

pid_t tracee_own_number(pid_t tid)
{
    char text[PAGE];
    const char *found = find_status(tid, "NSpid", text);
    /* The innermost stands last. */
    while (found && *found != '\0' && *found != '\n') {
        char *end;
        tid = (pid_t)strtol(found, &end, 10);
        found = *end == '\t' ? end + 1 : NULL;
    }
    return tid;
}

int tracee_descriptor(pid_t tid, int fd, char *into, size_t size)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)tid, fd);
    ssize_t len = readlink(path, into, size - 1);
    if (len < 0)
        return -errno;
    into[len] = '\0';
    return 0;
}

int tracee_threads(pid_t pid, void (*each)(void *context, pid_t tid), void *context)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *folder = opendir(path);
    if (!folder)
        return -errno;
    for (const struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.')
            each(context, (pid_t)strtol(entry->d_name, NULL, 10));
    closedir(folder);
    return 0;
}
