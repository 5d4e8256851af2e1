#include "preload/process.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "preload/environment.h"
#include "preload/next.h"
#include "preload/python_calls.h"
#include "preload/stacks.h"

#define PATH_SIZE    256
#define DEFAULT_SIZE (64u << 20)

enum { BEGINNING_NAPS = 100000 }; /* five seconds at least */

/* One process has one; the library is loaded once. Written by the one thread that begins. */
struct process process_here;
_Thread_local struct process_thread process_thread __attribute__((tls_model("initial-exec")));

static struct {
    char setting[PATH_SIZE]; /* as in the environment */
    char folder[PATH_SIZE];
    char library[PATH_SIZE];
    size_t size;
    struct recording_shared *shared;
    pthread_key_t end_key;
} self;

const char *process_setting(void)
{
    return self.setting;
}

const char *process_library(void)
{
    return self.library;
}

pid_t process_recorded(void)
{
    struct recording *recording = process_here.recording; /* a parent's, in a child with no calls */
    return recording ? (pid_t)recording_header_of(recording)->pid : getppid();
}

static void *map_shared_file(const char *name, size_t size)
{
    char path[PATH_SIZE + 16];
    snprintf(path, sizeof(path), "%s/%s", self.folder, name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEXT(close)(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

/* A page that a forked child finds empty; NULL: there is none to be had. */
static struct process_page *make_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (madvise(memory, size, MADV_WIPEONFORK) == 0)
        return memory;
    munmap(memory, size);
    return NULL;
}

static void write_program(struct recording_header *header)
{
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t len = NEXT(read)(fd, header->program, sizeof(header->program) - 1);
    if (len < 0)
        header->program[0] = '\0';
    NEXT(close)(fd);
}

/* Files that are larger than the program's limit cannot be had. */
static size_t size_most(void)
{
    struct rlimit most;
    if (getrlimit(RLIMIT_FSIZE, &most) < 0 || most.rlim_cur > self.size)
        return self.size;
    return (size_t)most.rlim_cur;
}

static struct recording *make_recording(uint32_t parent)
{
    struct recording *recording =
        recording_create_in(self.folder, (uint32_t)getpid(), parent, size_most(), self.shared);
    if (recording) {
        write_program(recording_header_of(recording));
        stacks_describe(recording_header_of(recording));
    }
    return recording;
}

/* What a forked child has of its parent goes: the parent's file is not written to. Returns whose
 * child it is. */
static uint32_t forget_parent(void)
{
    struct recording *parents = process_here.recording;
    uint32_t parent = (uint32_t)process_recorded();
    recorder_forget();
    process_thread.recorder.recording = NULL;
    process_here.recording = NULL;
    process_here.forks++; /* from here on, places are of another recording */
    if (parents)
        recording_forget(parents);
    stacks_forget();
    python_calls_forget();
    return parent;
}

/* A thread that has left by longjmp(3) never comes back: then there is no recording for good. */
static void wait_for_beginning(struct process_page *page)
{
    struct timespec nap = {.tv_nsec = 50000};
    for (int i = 0; i < BEGINNING_NAPS; i++) {
        if (__atomic_load_n(&page->is_ours, __ATOMIC_ACQUIRE))
            return;
        nanosleep(&nap, NULL);
    }
    __atomic_store_n(&page->is_ours, 1, __ATOMIC_RELEASE);
}

static void begin_anew(struct process_page *page)
{
    int cancelling;
    /* open(2) and nanosleep(2) end a thread that is asked to; the program's call need not. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelling);
    process_thread.is_beginning = true;
    if (__atomic_exchange_n(&page->beginning, 1, __ATOMIC_RELAXED)) {
        wait_for_beginning(page);
    } else {
        uint32_t parent = forget_parent();
        process_here.recording = make_recording(parent);
        /* Release: who comes next sees what was made; partner: process_recording. */
        __atomic_store_n(&page->is_ours, 1, __ATOMIC_RELEASE);
    }
    process_thread.is_beginning = false;
    pthread_setcancelstate(cancelling, NULL);
}

struct recording *process_begin(void)
{
    struct process_page *page = process_here.page;
    if (!page || process_thread.is_beginning)
        return NULL;
    int code = errno;
    begin_anew(page);
    errno = code;
    return process_here.recording;
}

/* For vfork.S: a call of it is about to come. Returns whereto it jumps. */
next_function *process_before_vfork(void) __attribute__((used));

next_function *process_before_vfork(void)
{
    int code = errno;
    if (process_here.page) {
        environment_free(process_thread.left);
        process_thread.left = NULL;
        process_thread.vforks = getpid();
    }
    errno = code;
    return next_find(NEXT_vfork);
}

bool process_may_be_vforked(void)
{
    if (getpid() != process_thread.vforks)
        return true;
    process_thread.vforks = 0; /* the child has gone, and the parent goes on */
    return false;
}

/* A thread's end gives back its part of the recording. */
static void thread_ends(void *unused)
{
    (void)unused;
    if (process_thread.recorder.recording != process_here.recording || !process_here.page->is_ours)
        return;
    python_calls_end();
    recorder_detach();
}

__attribute__((destructor)) static void process_ends(void)
{
    python_calls_end();
}

void process_attach(struct recording *recording)
{
    if (process_thread.recorder.recording == recording)
        return;
    recorder_attach_in(&process_thread.recorder, recording);
    pthread_setspecific(self.end_key, &self); /* one that fails keeps its chunk: a loss of room */
}

/* "FOLDER[:SIZE][:calls]" */
static void read_setting(const char *setting)
{
    snprintf(self.setting, sizeof(self.setting), "%s", setting);
    snprintf(self.folder, sizeof(self.folder), "%s", setting);
    char *colon = strrchr(self.folder, ':');
    if (colon && strcmp(colon, ":calls") == 0) {
        process_here.python_calls = PROCESS_CALLS_WANTED;
        *colon = '\0';
        colon = strrchr(self.folder, ':');
    }
    self.size = DEFAULT_SIZE;
    if (colon) {
        *colon = '\0';
        self.size = strtoull(colon + 1, NULL, 10);
    }
}

__attribute__((constructor)) static void process_start(void)
{
    const char *setting = getenv(PROCESS_VARIABLE);
    Dl_info info;
    if (!setting || strlen(setting) >= sizeof(self.setting) ||
        !dladdr((void *)&process_here, &info) || strlen(info.dli_fname) >= sizeof(self.library))
        return;
    int code = errno;
    const char *recorded = getenv(PROCESS_PARENT_VARIABLE);
    uint32_t parent = recorded ? (uint32_t)strtoul(recorded, NULL, 10) : (uint32_t)getppid();
    strcpy(self.library, info.dli_fname);
    read_setting(setting);
    environment_hide();
    next_find_all();
    struct process_page *page = make_page();
    self.shared = page ? map_shared_file("shared", sizeof(*self.shared)) : NULL;
    if (self.shared && pthread_key_create(&self.end_key, thread_ends) == 0 && stacks_init()) {
        process_here.recording = make_recording(parent);
        page->is_ours = 1;
        process_here.page = page;
    }
    errno = code;
}

PRELOAD const char *zolal_preload_join(uintptr_t begin, uintptr_t end)
{
    process_here.own_begin = begin;
    process_here.own_end = end;
    struct recording *recording = process_recording();
    return recording ? recording_path(recording) : "";
}
