/* A recording: one file a process, mapped and shared, that survives the process.
 *
 * Layout: `struct recording_header` (4 KiB), the names (RECORDING_NAMES_SIZE bytes), then `chunks`
 * chunks of RECORDING_CHUNK_SIZE bytes. A chunk begins with a `struct recording_chunk` (one slot),
 * then slots. A thread takes a chunk by an atomic add, writes alone in it, and takes the next when
 * it is full; the oldest chunk that no thread holds is reused (flight recorder).
 *
 * One of a program that is traced grows: its file has holes, and a chunk that is wanted is filled
 * first, by madvise(2), MADV_POPULATE_WRITE (Linux 5.14), which fails where a write would be
 * SIGBUS.
 *
 * Else the file lies in $XDG_RUNTIME_DIR, else /dev/shm, as zolal-PID.trace, mode 0600, allocated
 * in full by posix_fallocate(3) before it is mapped, since a write to a sparse mapping on a full
 * file system is SIGBUS. Where no file can be had, the memory is anonymous and nobody else can read
 * it.
 */
#ifndef ZOLAL_TRACE_RECORDING_H
#define ZOLAL_TRACE_RECORDING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "trace/event.h"

#define RECORDING_MAGIC        "zolalrec"
#define RECORDING_HEADER_SIZE  4096
#define RECORDING_NAMES_SIZE   (60 * 1024)
#define RECORDING_CHUNK_SIZE   (64 * 1024)
#define RECORDING_DEFAULT_SIZE (1024 * 1024)
#define RECORDING_NAMES_MOST   (8 * 1024 * 1024)
#define RECORDING_SPARES       64

/* The first bytes of the file. Members before `state` never change after creation. */
struct recording_header {
    char magic[8];
    uint32_t version; /* TRACE_VERSION */
    uint32_t pid;
    uint32_t chunks;
    uint32_t chunk_size; /* bytes */
    uint32_t names_offset;
    uint32_t names_size;
    uint32_t chunks_offset;
    uint32_t ticks_are_counter;
    struct clock_calibration calibration;
    _Atomic uint32_t state;      /* enum recording_state */
    _Atomic uint32_t names_used; /* bytes of names that are taken; name N lies at N - 1: its length
                                  * in 4 bytes (0: not written yet), its text, padding to 4 */
    _Atomic uint64_t next_chunk; /* chunks taken since the beginning */
    _Atomic uint64_t dropped;    /* slots that found every chunk held */
    uint32_t unused;             /* so that the rest is where it was */
    uint32_t parent;             /* process that has started this one; 0: not known */
    _Atomic uint32_t filled_up; /* errno: why it could grow no more; EDQUOT: its share is used up */
    char python[64];            /* version of the interpreter, "" without one */
    char note[192];             /* what could not be recorded, and why */
    char program[1024];         /* its arguments, each with a NUL behind it, cut */
    /* 1 + the numbers of chunks that were given back with room, in any order; 0: none */
    _Atomic uint32_t spares[RECORDING_SPARES];
};

enum recording_state { RECORDING_LIVE = 1, RECORDING_ENDED = 2 };

/* The kernel call that a thread is about to make: what is left of it when the process is killed in
 * it. It is over once a slot of the thread's has its t0. */
struct recording_under_way {
    uint64_t t0; /* ticks; 0: none was noted. Written last */
    uint64_t argument;
    uint32_t place;
    int32_t fd;
    uint16_t op;
    uint16_t unused[3];
};

/* The slot that begins a chunk. `generation` counts how often the chunk was taken: in generation G
 * (from 1) slot I has seq ((G - 1) * slots + I) * 2 + 2. `order` counts chunks taken, from 1: it
 * sorts chunks by age, 0 is one never taken. `thread` is 0 when nobody writes. A thread that begins
 * goes on in a chunk that another has given back with room (a server with a thread for each
 * connection would else use up a chunk for each): generation and order stay, and a TRACE_THREAD
 * slot says so. */
struct recording_chunk {
    _Atomic uint64_t generation;
    _Atomic uint64_t order;
    _Atomic uint32_t thread; /* gettid(2) of the holder, 0 when given back */
    uint32_t first_thread;   /* who took it: the first slots are its */
    uint64_t used;           /* slots written, when it was given back; for the next holder */
    struct recording_under_way under_way; /* of the holder */
};

/* A recording as its owner sees it. */
struct recording;

/* Create one of `size` bytes in all (0: RECORDING_DEFAULT_SIZE; rounded down to whole chunks, at
 * least two). Returns 0 and sets `*recording`; it may be in anonymous memory, then recording_path()
 * is "" and `err` says why. -ENOMEM when not even that could be had. */
int recording_create(struct recording **recording, size_t size, struct error *err);

/* Create one that grows, at `path`, which must not exist: -EEXIST else. `size`: bytes in all, at
 * most. `budget`: bytes that this one and others may take together, counted down, shared; NULL:
 * any. `parent`: a process. Otherwise as recording_create, but never in anonymous memory: -errno
 * then. Source: madvise(2). */
int recording_create_growing(struct recording **recording, const char *path, size_t size,
                             _Atomic int64_t *budget, uint32_t parent, struct error *err);

/* The file `shared` in the folder of a program that is traced, mapped by all who write there. */
struct recording_shared {
    _Atomic int64_t budget;    /* bytes that recordings may still take */
    _Atomic uint32_t failures; /* processes that could have no recording */
    _Atomic uint32_t failure;  /* errno of the last of them */
};

/* The same at FOLDER/PID.N.trace, of process `pid`: N counts the programs that it has been. Where
 * none can be had that is counted in `shared`; NULL then. Async-signal-safe. */
struct recording *recording_create_in(const char *folder, uint32_t pid, uint32_t parent,
                                      size_t size, struct recording_shared *shared);

/* Its header, for who owns it: `python`, `note` and `program` are the owner's to write. */
struct recording_header *recording_header_of(struct recording *recording);

/* The file's path, "" for anonymous memory. Valid while the recording is. */
const char *recording_path(const struct recording *recording);

/* Mark as ended, give up. `remove`: unlink the file too. What threads that are still attached
 * write from now on is read by nobody; the memory goes when the last of them has detached. */
void recording_close(struct recording *recording, bool remove);

/* In a forked child: unmap without marking it as ended; the file stays the parent's. */
void recording_forget(struct recording *recording);

#endif
