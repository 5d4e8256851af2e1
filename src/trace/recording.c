#include "trace/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "trace/growth.h"
#include "trace/recording_state.h"

/* Where recordings lie: a folder of this user's alone if there is one, else shared memory. */
static const char *recording_folder(void)
{
    struct stat status;
    const char *folder = getenv("XDG_RUNTIME_DIR");
    if (folder && folder[0] == '/' && stat(folder, &status) == 0 && S_ISDIR(status.st_mode) &&
        status.st_uid == geteuid())
        return folder;
    return "/dev/shm";
}

/* A new file of `size` bytes, all of them allocated: a write to a sparse mapping on a full file
 * system would be SIGBUS. Returns the descriptor, or -errno. A file that an earlier process of our
 * number left is replaced. */
static int recording_open(char *path, size_t path_size, size_t size)
{
    int len = snprintf(path, path_size, "%s/zolal-%ld.trace", recording_folder(), (long)getpid());
    if (len < 0 || (size_t)len >= path_size)
        return -ENAMETOOLONG;
    unlink(path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int failed = posix_fallocate(fd, 0, (off_t)size);
    if (!failed)
        return fd;
    close(fd);
    unlink(path);
    return -failed;
}

static void *recording_map(int fd, size_t size)
{
    int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Map the file, or anonymous memory where there is none. Returns 0 or -ENOMEM. */
static int recording_get_memory(struct recording *recording, struct error *err)
{
    int fd = recording_open(recording->path, sizeof(recording->path), recording->size);
    if (fd >= 0) {
        recording->header = recording_map(fd, recording->size);
        int code = errno;
        close(fd);
        if (recording->header)
            return 0;
        unlink(recording->path);
        fd = -code;
    }
    error_set(err, -fd, "make the recording's file", recording->path);
    recording->path[0] = '\0';
    recording->header = recording_map(-1, recording->size);
    return recording->header ? 0 : -ENOMEM;
}

/* `front`: bytes before the chunks. */
static void recording_write_header(struct recording *recording, size_t front)
{
    struct recording_header *header = recording->header;
    header->version = TRACE_VERSION;
    header->pid = (uint32_t)getpid();
    header->chunks = (uint32_t)((recording->size - front) / RECORDING_CHUNK_SIZE);
    header->chunk_size = RECORDING_CHUNK_SIZE;
    header->names_offset = RECORDING_HEADER_SIZE;
    header->names_size = (uint32_t)front - RECORDING_HEADER_SIZE;
    header->chunks_offset = (uint32_t)front;
    header->ticks_are_counter = clock_ticks_are_counter();
    clock_calibrate(&header->calibration);
    memcpy(header->magic, RECORDING_MAGIC, sizeof(header->magic));
    /* Release: whoever sees LIVE sees the header; partner: reader_open. */
    atomic_store_explicit(&header->state, RECORDING_LIVE, memory_order_release);
}

/* How large it will be, of `size` bytes that were asked for. */
static size_t recording_size(size_t size, size_t front)
{
    size_t least = front + 2 * RECORDING_CHUNK_SIZE;
    if (size > RECORDING_SIZE_MOST)
        size = RECORDING_SIZE_MOST;
    if (size < least)
        size = least;
    return size - (size - front) % RECORDING_CHUNK_SIZE;
}

/* A recording without memory yet, or NULL. */
static struct recording *recording_new(size_t size, size_t front)
{
    struct recording *recording = memory_new(sizeof(*recording));
    if (!recording)
        return NULL;
    recording->size = recording_size(size, front);
    atomic_init(&recording->users, 1);
    return recording;
}

/* The same for one that grows: mapped, since whoever makes it may have been interrupted in
 * malloc(3).
 */
static struct recording *recording_new_growing(size_t size, size_t front)
{
    size = recording_size(size, front);
    size_t mapped = sizeof(struct recording) + (size - front) / RECORDING_CHUNK_SIZE;
    struct recording *recording =
        mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (recording == MAP_FAILED)
        return NULL;
    recording->size = size;
    recording->mapped = mapped;
    recording->filled = (_Atomic uint8_t *)(recording + 1);
    atomic_init(&recording->users, 1);
    return recording;
}

static void recording_delete(struct recording *recording)
{
    if (recording->mapped)
        munmap(recording, recording->mapped);
    else
        memory_free(recording);
}

int recording_create(struct recording **out, size_t size, struct error *err)
{
    const size_t front = RECORDING_HEADER_SIZE + RECORDING_NAMES_SIZE;
    struct recording *recording = recording_new(size ? size : RECORDING_DEFAULT_SIZE, front);
    if (!recording)
        return error_set(err, ENOMEM, "make", "a recording");
    if (recording_get_memory(recording, err) < 0) {
        memory_free(recording);
        return error_set(err, ENOMEM, "make", "a recording");
    }
    recording_write_header(recording, front);
    recording->front_mapped = recording->size;
    for (size_t at = front, i = 0; at < recording->size; at += RECORDING_SEGMENT_SIZE)
        atomic_init(&recording->segments[i++], (char *)recording->header + at);
    atomic_init(&recording->names_ready, recording->header->names_size);
    *out = recording;
    return 0;
}

/* A new file at recording->path, all holes, mapped up to the end of its first segment. Returns 0 or
 * -errno. */
static int recording_map_holes(struct recording *recording, size_t front)
{
    struct rlimit most;
    /* More than that would be SIGXFSZ. */
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < recording->size)
        return -EFBIG;
    int fd = open(recording->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    recording->front_mapped = front + growth_segment_size(recording, front, 0);
    recording->header = ftruncate(fd, (off_t)recording->size) == 0
                            ? recording_map(fd, recording->front_mapped)
                            : NULL;
    int code = errno;
    close(fd);
    atomic_init(&recording->segments[0], (char *)recording->header + front);
    if (recording->header)
        return 0;
    unlink(recording->path);
    return -code;
}

/* The header, and room for the first names. */
static int recording_fill_front(struct recording *recording, size_t front)
{
    int result = growth_fill(recording->header, RECORDING_CHUNK_SIZE);
    if (result < 0)
        return result;
    recording_write_header(recording, front);
    atomic_init(&recording->names_ready, RECORDING_CHUNK_SIZE - RECORDING_HEADER_SIZE);
    return 0;
}

int recording_create_growing(struct recording **out, const char *path, size_t size,
                             _Atomic int64_t *budget, uint32_t parent, struct error *err)
{
    /* Header and names; whole chunks of them, whose beginnings are pages' on every machine. */
    size_t front = size / 8 > RECORDING_NAMES_MOST ? RECORDING_NAMES_MOST : size / 8;
    front -= front % RECORDING_CHUNK_SIZE;
    if (front == 0)
        front = RECORDING_CHUNK_SIZE;
    struct recording *recording = recording_new_growing(size, front);
    if (!recording)
        return error_set(err, ENOMEM, "make", path);
    recording->budget = budget;
    int len = snprintf(recording->path, sizeof(recording->path), "%s", path);
    int result = (size_t)len < sizeof(recording->path) ? 0 : -ENAMETOOLONG;
    if (result == 0)
        result = recording_map_holes(recording, front);
    if (result == 0) {
        result = recording_fill_front(recording, front);
        if (result < 0) {
            unlink(recording->path);
            munmap(recording->header, recording->front_mapped);
        }
    }
    if (result < 0) {
        recording_delete(recording);
        return error_set(err, -result, "make the recording's file", path);
    }
    recording->header->parent = parent;
    *out = recording;
    return 0;
}

struct recording *recording_create_in(const char *folder, uint32_t pid, uint32_t parent,
                                      size_t size, struct recording_shared *shared)
{
    struct recording *recording = NULL;
    int result = -EEXIST;
    for (int n = 0; result == -EEXIST && n < 1000; n++) {
        char path[sizeof(recording->path)];
        int len = snprintf(path, sizeof(path), "%s/%u.%d.trace", folder, pid, n);
        result =
            (size_t)len < sizeof(path)
                ? recording_create_growing(&recording, path, size, &shared->budget, parent, NULL)
                : -ENAMETOOLONG;
    }
    if (result == 0) {
        recording->header->pid = pid;
        return recording;
    }
    /* Relaxed: counts for people. */
    atomic_fetch_add_explicit(&shared->failures, 1, memory_order_relaxed);
    atomic_store_explicit(&shared->failure, (uint32_t)-result, memory_order_relaxed);
    return NULL;
}

struct recording_header *recording_header_of(struct recording *recording)
{
    return recording->header;
}

const char *recording_path(const struct recording *recording)
{
    return recording->path;
}

void recording_forget(struct recording *recording)
{
    size_t front = recording->header->chunks_offset;
    for (uint32_t i = 1; recording->filled && i < RECORDING_SEGMENTS_MOST; i++)
        if (recording->segments[i])
            munmap(recording->segments[i], growth_segment_size(recording, front, i));
    munmap(recording->header, recording->front_mapped);
    recording_delete(recording);
}

void recording_use(struct recording *recording)
{
    /* Relaxed: who hands the recording over to a thread orders that. */
    atomic_fetch_add_explicit(&recording->users, 1, memory_order_relaxed);
}

void recording_leave(struct recording *recording)
{
    /* Acquire and release: whatever a user wrote comes before the last one unmaps; its partner is
     * itself. */
    if (atomic_fetch_sub_explicit(&recording->users, 1, memory_order_acq_rel) == 1)
        recording_forget(recording);
}

void recording_close(struct recording *recording, bool remove)
{
    /* Release: the last events are seen before the end; partner: reader_next. */
    atomic_store_explicit(&recording->header->state, RECORDING_ENDED, memory_order_release);
    if (remove && recording->path[0] != '\0')
        unlink(recording->path);
    recording_leave(recording);
}
