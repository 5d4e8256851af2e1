#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "frames/image.h"
#include "frames/find.h"
#include "frames/memory.h"
#include "frames/walk.h"

/* So many thread states are looked at: more are a circle. */
enum { THREADS_MAX = 1 << 16 };

/* A struct pthread is smaller than this. */
enum { PTHREAD_MAX_SIZE = 1 << 14 };

/* ---------------------------------------------------------------------------- the process's images
 */

/* What is looked for among them. */
struct search {
    struct frames *frames;
    struct image python;
    bool is_found;
    int error; /* of the last read that failed, 0: none did */
};

/* Where glibc's struct pthread has the tid, as it says for libthread_db: the width in bits, how
 * many there are, the offset. */
static void read_pthread_tid(struct frames *frames, const struct image *image)
{
    uint32_t field[3];
    uint64_t address = image_symbol(image, "_thread_db_pthread_tid");
    if (address && memory_copy(frames, address, field, sizeof(field)) == 0 && field[0] == 32 &&
        field[1] == 1 && field[2] < PTHREAD_MAX_SIZE)
        frames->pthread_tid = field[2];
}

static void search_image(struct search *search, uint64_t base)
{
    struct image image;
    int result = image_open(&image, search->frames, base);
    if (result < 0) {
        search->error = result == -EPERM || result == -ESRCH ? result : search->error;
        return;
    }
    if (search->frames->pthread_tid == 0)
        read_pthread_tid(search->frames, &image);
    if (!search->is_found && image_symbol(&image, "Py_GetVersion")) {
        search->python = image;
        search->is_found = true;
    }
}

/* A line of /proc/PID/maps, proc_pid_maps(5); the first mapping of a file begins with its header.
 */
static void search_line(struct search *search, const char *line)
{
    uint64_t begin, offset;
    unsigned long inode;
    char readable;
    if (sscanf(line, "%" SCNx64 "-%*x %c%*s %" SCNx64 " %*s %lu", &begin, &readable, &offset,
               &inode) == 4 &&
        readable == 'r' && offset == 0 && inode != 0)
        search_image(search, begin);
}

/* Call search_line for each line. What is of interest in one comes first: the rest may be cut. */
static int search_maps(struct search *search)
{
    char path[32], line[128], bytes[4096];
    size_t len = 0;
    ssize_t got;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)search->frames->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -ESRCH : errno == EACCES ? -EPERM : -errno;
    while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            if (bytes[i] != '\n' && len < sizeof(line) - 1)
                line[len++] = bytes[i];
            if (bytes[i] != '\n')
                continue;
            line[len] = '\0';
            len = 0;
            search_line(search, line);
        }
    }
    int result = got < 0 ? -errno : 0;
    close(fd);
    return result;
}

/* What Py_Version holds; 3.10 has none, but a function that was new in it; 0: older. */
static uint64_t version_of(const struct image *image)
{
    uint64_t version = 0, address = image_symbol(image, "Py_Version");
    if (address)
        memory_copy(image->frames, address, &version, sizeof(version));
    else if (image_symbol(image, "PyModule_AddObjectRef"))
        version = 0x030A0000;
    return version;
}

int frames_find_remote(struct frames *frames, pid_t pid)
{
    *frames = (struct frames){.pid = pid, .read = memory_read_process};
    struct search search = {.frames = frames};
    int result = search_maps(&search);
    if (result < 0 || !search.is_found)
        return result < 0 ? result : search.error ? search.error : -ENOENT;
    struct find_symbols symbols = {
        .version = version_of(&search.python),
        .runtime = image_symbol(&search.python, "_PyRuntime"),
        .code_type = image_symbol(&search.python, "PyCode_Type"),
        .frame_type = image_symbol(&search.python, "PyFrame_Type"),
    };
    return find_layout(frames, &symbols);
}

/* ---------------------------------------------------------------------------- threads */

/* PyThreadState.prev, in all versions. */
enum { THREAD_PREVIOUS = 0 };

static bool read_thread(const struct frames *frames, uint64_t thread,
                        unsigned char bytes[FRAMES_STRUCT_MAX])
{
    size_t id = frames->layout.thread.thread_id, native = frames->layout.thread.native_thread_id;
    return memory_copy(frames, thread, bytes, (id > native ? id : native) + 8) == 0;
}

/* Does the thread state, in view, belong to `tid`? The tid that Python keeps is that of the parent
 * in a process that forked, in some versions; the C library's is right, where it can be had. */
static bool is_of(const struct frames *frames, const unsigned char *thread, pid_t tid)
{
    const struct frames_layout *layout = &frames->layout;
    int32_t found = 0;
    if (frames->pthread_tid)
        memory_copy(frames, memory_word(thread, layout->thread.thread_id) + frames->pthread_tid,
                    &found, sizeof(found));
    else if (layout->thread.native_thread_id)
        found = (int32_t)memory_word(thread, layout->thread.native_thread_id);
    return found == tid;
}

/* The main interpreter; 0: there is none. */
static uint64_t interpreter_of(const struct frames *frames)
{
    uint64_t interpreter = 0;
    memory_copy(frames, frames->runtime + frames->layout.runtime.interpreters_main, &interpreter,
                8);
    return interpreter;
}

/* Is `thread` still in the interpreter's list, and of `tid`? One that was taken out is no one's
 * next. */
static bool is_still_of(const struct frames *frames, uint64_t interpreter, uint64_t thread,
                        pid_t tid)
{
    unsigned char bytes[FRAMES_STRUCT_MAX];
    uint64_t next;
    if (thread == 0 || !read_thread(frames, thread, bytes) || !is_of(frames, bytes, tid))
        return false;
    uint64_t previous = memory_word(bytes, THREAD_PREVIOUS);
    uint64_t from = previous ? previous + frames->layout.thread.next
                             : interpreter + frames->layout.interpreter.threads_head;
    return memory_copy(frames, from, &next, 8) == 0 && next == thread;
}

/* Other threads begin and end meanwhile: each link is read when it is followed, not from copies of
 * pages, which are of several moments and together may be no list. */
static uint64_t find_thread(const struct frames *frames, uint64_t interpreter, pid_t tid)
{
    struct frames direct = *frames;
    unsigned char bytes[FRAMES_STRUCT_MAX];
    uint64_t thread, head = interpreter + frames->layout.interpreter.threads_head;
    direct.pages = NULL;
    if (memory_copy(&direct, head, &thread, 8) < 0)
        return 0;
    for (size_t i = 0; thread != 0 && i < THREADS_MAX; i++) {
        if (!read_thread(&direct, thread, bytes))
            return 0;
        if (is_of(&direct, bytes, tid))
            return thread;
        thread = memory_word(bytes, frames->layout.thread.next);
    }
    return 0;
}

enum frames_end frames_walk_remote(const struct frames *frames, pid_t tid, uint64_t *thread,
                                   struct frames_key *keys, size_t max, size_t *count)
{
    *count = 0;
    uint64_t interpreter = interpreter_of(frames);
    if (interpreter == 0)
        return FRAMES_NO_THREAD;
    if (!is_still_of(frames, interpreter, *thread, tid))
        *thread = find_thread(frames, interpreter, tid);
    return *thread ? walk_remote(frames, *thread, keys, max, count) : FRAMES_NO_THREAD;
}
