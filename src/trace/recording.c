#include "trace/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
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

static void recording_write_header(struct recording *recording)
{
    struct recording_header *header = recording->header;
    size_t front = RECORDING_HEADER_SIZE + RECORDING_NAMES_SIZE;
    header->version = TRACE_VERSION;
    header->pid = (uint32_t)getpid();
    header->chunks = (uint32_t)((recording->size - front) / RECORDING_CHUNK_SIZE);
    header->chunk_size = RECORDING_CHUNK_SIZE;
    header->names_offset = RECORDING_HEADER_SIZE;
    header->names_size = RECORDING_NAMES_SIZE;
    header->chunks_offset = (uint32_t)front;
    header->ticks_are_counter = clock_ticks_are_counter();
    clock_calibrate(&header->calibration);
    memcpy(header->magic, RECORDING_MAGIC, sizeof(header->magic));
    /* Release: whoever sees LIVE sees the header; partner: reader_open. */
    atomic_store_explicit(&header->state, RECORDING_LIVE, memory_order_release);
}

int recording_create(struct recording **out, size_t size, struct error *err)
{
    size_t front = RECORDING_HEADER_SIZE + RECORDING_NAMES_SIZE;
    size_t least = front + 2 * RECORDING_CHUNK_SIZE;
    if (size == 0)
        size = RECORDING_DEFAULT_SIZE;
    if (size > UINT32_MAX / 2)
        size = UINT32_MAX / 2; /* offsets are 32 bits wide */
    if (size < least)
        size = least;
    size -= (size - front) % RECORDING_CHUNK_SIZE;
    struct recording *recording = memory_new(sizeof(*recording));
    if (!recording)
        return error_set(err, ENOMEM, "make", "a recording");
    recording->size = size;
    atomic_init(&recording->users, 1);
    if (recording_get_memory(recording, err) < 0) {
        memory_free(recording);
        return error_set(err, ENOMEM, "make", "a recording");
    }
    recording_write_header(recording);
    *out = recording;
    return 0;
}

const char *recording_path(const struct recording *recording)
{
    return recording->path;
}

void recording_forget(struct recording *recording)
{
    munmap(recording->header, recording->size);
    memory_free(recording);
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

static struct recording_chunk *recording_chunk_at(const struct recording *recording, uint64_t i)
{
    char *base = (char *)recording->header + recording->header->chunks_offset;
    return (struct recording_chunk *)(base + i * RECORDING_CHUNK_SIZE);
}

static struct trace_event *chunk_slots(struct recording_chunk *chunk)
{
    return (struct trace_event *)(chunk + 1);
}

void recording_give_chunk(struct recorder *recorder)
{
    struct recording_chunk *chunk = recorder->chunk;
    if (!chunk)
        return;
    struct recording_header *header = recorder->recording->header;
    struct recording_chunk *first = recording_chunk_at(recorder->recording, 0);
    uint32_t number = (uint32_t)(((char *)chunk - (char *)first) / RECORDING_CHUNK_SIZE);
    bool has_room = recorder->next < recorder->end;
    chunk->used = (uint64_t)(recorder->next - chunk_slots(chunk));
    recorder->chunk = NULL;
    recorder->next = recorder->end = NULL;
    /* Release: our slots come before the next holder's; partner: chunk_take. */
    atomic_store_explicit(&chunk->thread, 0, memory_order_release);
    if (has_room)
        atomic_store_explicit(&header->spare, number + 1, memory_order_relaxed); /* a hint */
}

/* Make the chunk ours, if nobody has it. */
static bool chunk_take(struct recording_chunk *chunk, uint32_t thread)
{
    uint32_t nobody = 0;
    /* Acquire: partner of the release in recording_give_chunk. */
    return atomic_compare_exchange_strong_explicit(&chunk->thread, &nobody, thread,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Begin to write in a chunk that is ours now. Sequence numbers go on where its last holder's full
 * generation would have ended, so that no slot ever repeats one. */
static void recorder_enter_chunk(struct recorder *recorder, struct recording_chunk *chunk,
                                 uint64_t order, uint32_t thread)
{
    uint64_t generation =
        atomic_load_explicit(&chunk->generation, memory_order_relaxed); /* ours alone now */
    chunk->first_thread = thread;
    /* Release: a reader that sees the new order sees the new thread; partner: reader_look. */
    atomic_store_explicit(&chunk->order, order, memory_order_release);
    atomic_store_explicit(&chunk->generation, generation + 1, memory_order_release);
    recorder->chunk = chunk;
    recorder->next = chunk_slots(chunk);
    recorder->end = recorder->next + RECORDING_CHUNK_SLOTS;
    recorder->seq = generation * RECORDING_CHUNK_SLOTS * 2 + 2;
}

/* Say that the slots from here on are ours. */
static void recorder_sign(struct recorder *recorder)
{
    struct trace_event *slot = recorder->next++;
    /* As recorder_begin and recorder_commit do. */
    __atomic_store_n(&slot->seq, recorder->seq | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    slot->t0 = slot->t1 = recorder->last;
    slot->result = 0;
    slot->request = 0;
    slot->argument = recorder->thread;
    slot->name = 0;
    slot->fd = -1;
    slot->op = 0;
    slot->kind = TRACE_THREAD;
    slot->flags = 0;
    slot->connection = 0;
    __atomic_store_n(&slot->seq, recorder->seq, __ATOMIC_RELEASE);
    recorder->seq += 2;
}

/* Go on in the chunk that was given back last, if it has room for more than a signature. */
static bool recording_take_spare(struct recorder *recorder)
{
    struct recording_header *header = recorder->recording->header;
    /* Relaxed: a hint. Whoever takes the chunk sees what is in it. */
    uint32_t spare = atomic_exchange_explicit(&header->spare, 0, memory_order_relaxed);
    if (spare == 0)
        return false;
    struct recording_chunk *chunk = recording_chunk_at(recorder->recording, spare - 1);
    if (!chunk_take(chunk, recorder->thread))
        return false;
    if (chunk->used + 2 > RECORDING_CHUNK_SLOTS) {
        /* It was used up since. Release: as in recording_give_chunk. */
        atomic_store_explicit(&chunk->thread, 0, memory_order_release);
        return false;
    }
    uint64_t generation =
        atomic_load_explicit(&chunk->generation, memory_order_relaxed); /* ours alone now */
    recorder->chunk = chunk;
    recorder->next = chunk_slots(chunk) + chunk->used;
    recorder->end = chunk_slots(chunk) + RECORDING_CHUNK_SLOTS;
    recorder->seq = ((generation - 1) * RECORDING_CHUNK_SLOTS + chunk->used) * 2 + 2;
    recorder_sign(recorder);
    return true;
}

bool recording_take_chunk(struct recorder *recorder)
{
    struct recording_header *header = recorder->recording->header;
    uint32_t thread = recorder->thread;
    if (!recorder->chunk && recording_take_spare(recorder))
        return true;
    recording_give_chunk(recorder);
    for (uint32_t tries = 0; tries < header->chunks; tries++) {
        /* Relaxed: the number is all that is wanted, chunk_take orders the rest. */
        uint64_t order = atomic_fetch_add_explicit(&header->next_chunk, 1, memory_order_relaxed);
        struct recording_chunk *chunk =
            recording_chunk_at(recorder->recording, order % header->chunks);
        if (chunk_take(chunk, thread)) {
            recorder_enter_chunk(recorder, chunk, order + 1, thread);
            return true;
        }
    }
    atomic_fetch_add_explicit(&header->dropped, 1, memory_order_relaxed); /* a count for people */
    return false;
}
