#include "trace/recorder.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "trace/growth.h"
#include "trace/recording_state.h"

#define ARGS_SIZE       sizeof(((struct trace_args *)0)->data)
#define REQUEST_KEPT    96
#define FIRST_LINE_KEPT 144
#define NAME_MAX_BYTES  1000

_Thread_local struct recorder *recorder_here __attribute__((tls_model("initial-exec")));

/* POSIX has a thread's end told through a key of the process: made once, never changed. The value
 * is only there to be not NULL. */
static pthread_once_t end_once = PTHREAD_ONCE_INIT;
static pthread_key_t end_key;
static int end_key_failed;

static void recorder_at_end(void *unused)
{
    (void)unused;
    recorder_detach();
}

static void recorder_make_end_key(void)
{
    end_key_failed = pthread_key_create(&end_key, recorder_at_end);
}

int recorder_attach_until_end(struct recording *recording)
{
    if (recorder_is_of(recording))
        return 0;
    pthread_once(&end_once, recorder_make_end_key);
    if (end_key_failed || pthread_setspecific(end_key, &end_key))
        return -EAGAIN;
    recorder_detach();
    return recorder_attach(recording);
}

int recorder_attach(struct recording *recording)
{
    if (recorder_here)
        return -EBUSY;
    struct recorder *recorder = memory_new(sizeof(*recorder));
    if (!recorder)
        return -ENOMEM;
    *recorder = (struct recorder){
        .position = RECORDING_CHUNK_SLOTS,
        .recording = recording,
        .thread = (uint32_t)gettid(),
        .last = clock_ticks(),
    };
    recording_use(recording);
    recorder_here = recorder;
    return 0;
}

void recorder_attach_in(struct recorder *storage, struct recording *recording)
{
    recorder_attach_for(storage, recording, (uint32_t)gettid());
}

void recorder_attach_for(struct recorder *storage, struct recording *recording, uint32_t thread)
{
    *storage = (struct recorder){
        .position = RECORDING_CHUNK_SLOTS,
        .recording = recording,
        .thread = thread,
        .last = clock_ticks(),
        .is_lent = true,
    };
    recording_use(recording);
    recorder_here = storage;
}

void recorder_detach(void)
{
    struct recorder *recorder = recorder_here;
    if (!recorder)
        return;
    recorder_here = NULL;
    recorder_give_chunk(recorder);
    recording_leave(recorder->recording);
    if (recorder->is_lent)
        recorder->recording = NULL;
    else
        memory_free(recorder);
}

void recorder_forget(void)
{
    if (recorder_here && !recorder_here->is_lent)
        memory_free(recorder_here);
    recorder_here = NULL;
}

/* The next chunk, where the recorder's position was `at`. False: every one is held by another
 * thread. */
static __attribute__((noinline)) bool recorder_go_on(struct recorder *recorder, uint64_t at)
{
    if (recorder_next_chunk(recorder, at))
        return true;
    atomic_fetch_add_explicit(&recorder->recording->header->dropped, 1,
                              memory_order_relaxed); /* a count for people */
    return false;
}

/* Take `count` slots that lie one behind another: what belongs together is told together. False:
 * there is no chunk. A signal handler that comes in between takes its own. Inline: that is 32 of
 * 430 instructions of a call. */
static inline __attribute__((always_inline)) bool recorder_take(struct recorder *recorder,
                                                                uint32_t count,
                                                                struct writing *writing)
{
    for (;;) {
        uint64_t at = __atomic_fetch_add(&recorder->position, count, __ATOMIC_RELAXED);
        if (__builtin_expect((uint32_t)at + count <= RECORDING_CHUNK_SLOTS, 1)) {
            *writing = writing_at(recorder->recording, at);
            return true;
        }
        if (!recorder_go_on(recorder, at))
            return false;
    }
}

/* Begin to write the next of them, with the subject's stamps. */
static struct trace_event *recorder_begin(const struct recorder *recorder,
                                          const struct writing *writing, enum trace_kind kind)
{
    struct trace_event *slot = writing_open(writing);
    slot->request = recorder->request;
    slot->connection = recorder->connection;
    slot->name = 0;
    slot->fd = -1;
    slot->kind = (uint8_t)kind;
    slot->flags = 0;
    return slot;
}

/* A slot of bytes: behind the one just committed, or of another kind. */
static void recorder_add_data(const struct recorder *recorder, struct writing *writing,
                              enum trace_kind kind, const void *data, size_t len, bool more)
{
    struct trace_args *args = (struct trace_args *)writing_open(writing);
    args->len = (uint16_t)(len < ARGS_SIZE ? len : ARGS_SIZE);
    args->kind = (uint8_t)kind;
    args->flags = more ? TRACE_MORE : 0;
    args->connection = recorder->connection;
    memcpy(args->data, data, args->len);
    writing_commit(writing);
}

static void recorder_add_args(const struct recorder *recorder, struct writing *writing,
                              const void *data, size_t len, bool more)
{
    recorder_add_data(recorder, writing, TRACE_ARGS, data, len, more);
}

/* How many slots the bytes need, and they themselves. */
static uint32_t bytes_slots(size_t len)
{
    return len <= ARGS_SIZE ? 1 : (uint32_t)((len + ARGS_SIZE - 1) / ARGS_SIZE);
}

static void recorder_add_bytes(const struct recorder *recorder, struct writing *writing,
                               const char *data, size_t len)
{
    for (; len > ARGS_SIZE; data += ARGS_SIZE, len -= ARGS_SIZE)
        recorder_add_args(recorder, writing, data, ARGS_SIZE, true);
    recorder_add_args(recorder, writing, data, len, false);
}

void trace_call(enum trace_operation op, int fd, uint64_t argument, int64_t result, uint64_t t0)
{
    trace_call_args(op, fd, argument, result, t0, NULL, 0);
}

void trace_call_args(enum trace_operation op, int fd, uint64_t argument, int64_t result,
                     uint64_t t0, const void *args, size_t len)
{
    if (!recorder_here)
        return;
    const struct trace_outside call = {
        .op = op,
        .fd = fd,
        .argument = argument,
        .result = result,
        .t0 = t0,
        .t1 = clock_ticks(),
        .place = recorder_here->place,
    };
    trace_call_outside(&call, args, len < ARGS_SIZE ? len : ARGS_SIZE);
}

void trace_subject(uint32_t connection, uint64_t request)
{
    if (!recorder_here)
        return;
    recorder_here->connection = connection;
    recorder_here->request = request;
}

/* A mark at `ticks`, with bytes behind it, if there are any. */
static void recorder_mark_bytes(const struct trace_event *mark, const char *data, size_t len)
{
    struct recorder *recorder = recorder_here;
    struct writing writing;
    if (!recorder_take(recorder, 1 + (len > 0 ? bytes_slots(len) : 0), &writing))
        return;
    struct trace_event *slot = recorder_begin(recorder, &writing, mark->kind);
    slot->t0 = slot->t1 = mark->t0;
    slot->result = mark->result;
    slot->argument = mark->argument;
    slot->op = mark->op;
    slot->name = mark->name;
    slot->flags = len > 0 ? TRACE_MORE : 0;
    writing_commit(&writing);
    if (len > 0)
        recorder_add_bytes(recorder, &writing, data, len);
}

static void recorder_mark(enum trace_kind kind, unsigned op, uint64_t argument, int64_t result,
                          uint32_t name)
{
    const struct trace_event mark = {.kind = (uint8_t)kind,
                                     .op = (uint16_t)op,
                                     .argument = argument,
                                     .result = result,
                                     .t0 = recorder_here->last,
                                     .name = name};
    recorder_mark_bytes(&mark, NULL, 0);
}

void trace_request_begin(struct slice method, struct slice target)
{
    char text[REQUEST_KEPT];
    if (!recorder_here)
        return;
    size_t len = method.len < 32 ? method.len : 32;
    memcpy(text, method.data, len);
    text[len++] = ' ';
    size_t rest = target.len < sizeof(text) - len ? target.len : sizeof(text) - len;
    memcpy(text + len, target.data, rest);
    const struct trace_event mark = {
        .kind = TRACE_REQUEST_BEGIN, .argument = target.len, .t0 = recorder_here->last};
    recorder_mark_bytes(&mark, text, len + rest);
}

void trace_call_outside(const struct trace_outside *call, const void *args, size_t len)
{
    struct recorder *recorder = recorder_here;
    struct writing writing;
    if (!recorder || !recorder_take(recorder, 1 + (len > 0 ? bytes_slots(len) : 0), &writing))
        return;
    recorder->last = call->t1;
    struct trace_event *slot = recorder_begin(recorder, &writing, TRACE_CALL);
    slot->t0 = call->t0;
    slot->t1 = call->t1;
    slot->result = call->result;
    slot->argument = call->argument;
    slot->name = call->place;
    slot->fd = call->fd;
    slot->op = (uint16_t)call->op;
    slot->flags = (uint8_t)(call->flags | (len > 0 ? TRACE_MORE : 0));
    writing_commit(&writing);
    if (len > 0)
        recorder_add_bytes(recorder, &writing, args, len);
}

void trace_under_way(enum trace_operation op, int fd, uint64_t argument, uint32_t place,
                     uint64_t t0)
{
    struct recorder *recorder = recorder_here;
    if (!recorder)
        return;
    uint64_t at = __atomic_load_n(&recorder->position, __ATOMIC_RELAXED);
    if (__builtin_expect(at >> 32 == 0, 0)) {
        recorder_next_chunk(recorder, at);
        at = __atomic_load_n(&recorder->position, __ATOMIC_RELAXED);
        if (at >> 32 == 0)
            return;
    }
    struct recording_under_way *note =
        &recording_chunk_at(recorder->recording, (at >> 32) - 1)->under_way;
    note->argument = argument;
    note->place = place;
    note->fd = fd;
    note->op = (uint16_t)op;
    /* Release: with the rest before it; until then the note is of the call before. */
    __atomic_store_n(&note->t0, t0, __ATOMIC_RELEASE);
}

void trace_first_line(int fd, enum trace_way way, struct slice line)
{
    struct recorder *recorder = recorder_here;
    struct writing writing;
    size_t len = line.len < FIRST_LINE_KEPT ? line.len : FIRST_LINE_KEPT;
    if (!recorder || !recorder_take(recorder, 1 + bytes_slots(len), &writing))
        return;
    struct trace_event *slot = recorder_begin(recorder, &writing, TRACE_FIRST_LINE);
    slot->t0 = slot->t1 = recorder->last;
    slot->result = 0;
    slot->argument = line.len;
    slot->fd = fd;
    slot->op = (uint16_t)way;
    slot->flags = TRACE_MORE;
    writing_commit(&writing);
    recorder_add_bytes(recorder, &writing, line.data, len);
}

void trace_request_end(int status, uint64_t bytes_sent)
{
    if (recorder_here)
        recorder_mark(TRACE_REQUEST_END, 0, bytes_sent, status, 0);
}

void trace_state(unsigned from, unsigned to)
{
    if (recorder_here)
        recorder_mark(TRACE_STATE, from, to, 0, 0);
}

void trace_python_enter(enum trace_python what, uint32_t name, uint32_t line)
{
    if (!recorder_here)
        return;
    recorder_here->last = clock_ticks();
    recorder_mark(TRACE_PYTHON_ENTER, what, line, 0, name);
}

void trace_python_leave(enum trace_python what, bool raised)
{
    if (!recorder_here)
        return;
    recorder_here->last = clock_ticks();
    recorder_mark(TRACE_PYTHON_LEAVE, what, 0, raised ? -1 : 0, 0);
}

void trace_python_call(const struct trace_python_call *call)
{
    struct recorder *recorder = recorder_here;
    struct writing writing;
    if (!recorder || !recorder_take(recorder, 1, &writing))
        return;
    recorder->last = call->ticks;
    struct trace_event *slot = recorder_begin(recorder, &writing, call->kind);
    slot->t0 = slot->t1 = call->ticks;
    slot->result = call->raised ? -1 : 0;
    slot->request = call->frame;
    slot->argument = call->line;
    slot->name = call->name;
    slot->op = (uint16_t)call->op;
    slot->flags = call->flags;
    writing_commit(&writing);
}

void trace_python_wholes(const struct trace_whole *calls, size_t count)
{
    struct writing writing;
    if (recorder_here && count > 0 && recorder_take(recorder_here, 1, &writing))
        recorder_add_data(recorder_here, &writing, TRACE_PYTHON_WHOLE, calls,
                          count * sizeof(*calls), false);
}

uint32_t trace_name(struct slice text)
{
    if (!recorder_here)
        return 0;
    struct recording_header *header = recorder_here->recording->header;
    char *names = (char *)header + header->names_offset;
    uint32_t len = (uint32_t)(text.len < NAME_MAX_BYTES ? text.len : NAME_MAX_BYTES);
    uint32_t need = (uint32_t)sizeof(uint32_t) + ((len + 3) & ~3u);
    /* Relaxed: reserving the place orders nothing; the length below publishes the bytes. */
    uint32_t at = atomic_load_explicit(&header->names_used, memory_order_relaxed);
    do
        if (at > header->names_size - need || header->names_size < need)
            return 0;
    while (!atomic_compare_exchange_weak_explicit(&header->names_used, &at, at + need,
                                                  memory_order_relaxed, memory_order_relaxed));
    if (!growth_has_names(recorder_here->recording, at + need))
        return 0;
    memcpy(names + at + sizeof(uint32_t), text.data, len);
    /* Release: a length that is not 0 has its bytes; partner: reader_name. */
    __atomic_store_n((uint32_t *)(names + at), len, __ATOMIC_RELEASE);
    return at + 1;
}
