#include "preload/process.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload/environment.h"
#include "preload/next.h"
#include "preload/python_calls.h"
#include "preload/stacks.h"

#define PATH_SIZE    256
#define DEFAULT_SIZE (64u << 20)

/* One process has one; the library is loaded once. Written by who begins, below `beginning`. */
struct process process_here;
_Thread_local struct process_thread process_thread __attribute__((tls_model("initial-exec")));

static struct {
    char setting[PATH_SIZE]; /* as in the environment */
    char folder[PATH_SIZE];
    char library[PATH_SIZE];
    size_t size;
    struct process_shared *shared;
    _Atomic uint32_t beginning; /* a thread is at it */
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

/* FOLDER/PID.N.trace: N counts the programs that this process has been. */
static struct recording *make_recording(uint32_t parent, struct error *err)
{
    struct recording *recording = NULL;
    int result = -EEXIST;
    for (int n = 0; result == -EEXIST && n < 1000; n++) {
        char path[PATH_SIZE + 32];
        snprintf(path, sizeof(path), "%s/%d.%d.trace", self.folder, (int)getpid(), n);
        result = recording_create_growing(&recording, path, self.size, &self.shared->budget, parent,
                                          err);
    }
    if (result == 0) {
        write_program(recording_header_of(recording));
        stacks_describe(recording_header_of(recording));
        return recording;
    }
    /* Relaxed: counts for people. */
    atomic_fetch_add_explicit(&self.shared->failures, 1, memory_order_relaxed);
    atomic_store_explicit(&self.shared->failure, (uint32_t)-result, memory_order_relaxed);
    return NULL;
}

/* What a forked child has of its parent goes: the parent's file is not written to. Returns whose
 * child it is. */
static uint32_t forget_parent(void)
{
    struct recording *parents = process_here.recording;
    uint32_t parent = parents ? recording_header_of(parents)->pid : (uint32_t)getppid();
    recorder_forget();
    process_thread.recorder.recording = NULL;
    process_here.recording = NULL;
    if (parents)
        recording_forget(parents);
    stacks_forget();
    python_calls_forget();
    return parent;
}

struct recording *process_begin(void)
{
    uint32_t nobody = 0;
    int code = errno;
    /* Acquire, release: who comes next sees what was made. One that comes meanwhile goes on without
     * a recording. */
    if (!self.shared ||
        !atomic_compare_exchange_strong_explicit(&self.beginning, &nobody, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return NULL;
    if (process_here.page && !process_here.page->is_ours) {
        process_thread.inside = (uintptr_t)&nobody;
        uint32_t parent = forget_parent();
        process_here.recording = make_recording(parent, NULL);
        process_here.page->is_ours = 1;
        process_thread.inside = 0;
    }
    atomic_store_explicit(&self.beginning, 0, memory_order_release);
    errno = code;
    return process_here.page ? process_here.recording : NULL;
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

static bool thread_attach(struct recording *recording)
{
    recorder_attach_in(&process_thread.recorder, recording);
    pthread_setspecific(self.end_key, &self); /* one that fails keeps its chunk: a loss of room */
    return true;
}

bool process_enter(struct recording *recording)
{
    struct process_thread *thread = &process_thread;
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0);
    /* One that was left by longjmp(3) out of a signal handler stands lower than we do. */
    if (thread->inside != 0 && thread->inside >= stack) {
        /* Relaxed: a count for people. */
        atomic_fetch_add_explicit(&recording_header_of(recording)->dropped, 1,
                                  memory_order_relaxed);
        return false;
    }
    thread->inside = stack;
    return thread->recorder.recording == recording || thread_attach(recording);
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
    strcpy(self.library, info.dli_fname);
    read_setting(setting);
    environment_hide();
    struct process_page *page = make_page();
    self.shared = page ? map_shared_file("shared", sizeof(*self.shared)) : NULL;
    if (self.shared && pthread_key_create(&self.end_key, thread_ends) == 0 && stacks_init()) {
        process_thread.inside = (uintptr_t)&info;
        process_here.recording = make_recording((uint32_t)getppid(), NULL);
        page->is_ours = 1;
        process_here.page = page;
        process_thread.inside = 0;
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
