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
    recorder->recording = recording;
    recorder->thread = (uint32_t)gettid();
    recorder->last = clock_ticks();
    recording_use(recording);
    recorder_here = recorder;
    return 0;
}

void recorder_attach_in(struct recorder *storage, struct recording *recording)
{
    *storage = (struct recorder){
        .recording = recording,
        .thread = (uint32_t)gettid(),
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
    recording_give_chunk(recorder);
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

/* The next slot, marked as being written, with the subject's stamps; NULL when every chunk is held
 * by another thread. */
static struct trace_event *recorder_begin(struct recorder *recorder, enum trace_kind kind)
{
    if (__builtin_expect(recorder->next == recorder->end, 0) && !recording_take_chunk(recorder))
        return NULL;
    struct trace_event *slot = recorder->next++;
    /* Odd: a reader that copies the slot from now on throws its copy away. The fence keeps the
     * writes that follow behind this store; partner: the acquire fence before the reader's second
     * look. */
    __atomic_store_n(&slot->seq, recorder->seq | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    slot->request = recorder->request;
    slot->connection = recorder->connection;
    slot->name = 0;
    slot->fd = -1;
    slot->kind = (uint8_t)kind;
    slot->flags = 0;
    return slot;
}

/* The slot is whole. Release: its bytes are seen before this; partner: the reader's first look. */
static void recorder_commit(struct recorder *recorder, struct trace_event *slot)
{
    __atomic_store_n(&slot->seq, recorder->seq, __ATOMIC_RELEASE);
    recorder->seq += 2;
}

/* A slot of bytes: behind the one just committed, or of another kind. */
static void recorder_add_data(struct recorder *recorder, enum trace_kind kind, const void *data,
                              size_t len, bool more)
{
    struct trace_event *slot = recorder_begin(recorder, kind);
    struct trace_args *args = (struct trace_args *)slot;
    if (!slot)
        return;
    args->len = (uint16_t)(len < ARGS_SIZE ? len : ARGS_SIZE);
    args->flags = more ? TRACE_MORE : 0;
    memcpy(args->data, data, args->len);
    recorder_commit(recorder, slot);
}

static void recorder_add_args(struct recorder *recorder, const void *data, size_t len, bool more)
{
    recorder_add_data(recorder, TRACE_ARGS, data, len, more);
}

/* As many slots as the bytes need. */
static void recorder_add_bytes(struct recorder *recorder, const char *data, size_t len)
{
    for (; len > ARGS_SIZE; data += ARGS_SIZE, len -= ARGS_SIZE)
        recorder_add_args(recorder, data, ARGS_SIZE, true);
    recorder_add_args(recorder, data, len, false);
}

static void recorder_add_call(struct recorder *recorder, enum trace_operation op, int fd,
                              uint64_t argument, int64_t result, uint64_t t0, bool more)
{
    uint64_t now = clock_ticks();
    recorder->last = now;
    struct trace_event *slot = recorder_begin(recorder, TRACE_CALL);
    if (!slot)
        return;
    slot->t0 = t0;
    slot->t1 = now;
    slot->result = result;
    slot->argument = argument;
    slot->name = recorder->place;
    slot->fd = fd;
    slot->op = (uint16_t)op;
    slot->flags = more ? TRACE_MORE : 0;
    recorder_commit(recorder, slot);
}

void trace_call(enum trace_operation op, int fd, uint64_t argument, int64_t result, uint64_t t0)
{
    if (recorder_here)
        recorder_add_call(recorder_here, op, fd, argument, result, t0, false);
}

void trace_call_args(enum trace_operation op, int fd, uint64_t argument, int64_t result,
                     uint64_t t0, const void *args, size_t len)
{
    if (!recorder_here)
        return;
    recorder_add_call(recorder_here, op, fd, argument, result, t0, len > 0);
    if (len > 0)
        recorder_add_args(recorder_here, args, len, false);
}

void trace_subject(uint32_t connection, uint64_t request)
{
    if (!recorder_here)
        return;
    recorder_here->connection = connection;
    recorder_here->request = request;
}

/* A mark at `ticks`. */
static void recorder_mark(enum trace_kind kind, unsigned op, uint64_t argument, int64_t result,
                          uint64_t ticks, uint32_t name, bool more)
{
    struct recorder *recorder = recorder_here;
    struct trace_event *slot = recorder_begin(recorder, kind);
    if (!slot)
        return;
    slot->t0 = slot->t1 = ticks;
    slot->result = result;
    slot->argument = argument;
    slot->op = (uint16_t)op;
    slot->name = name;
    slot->flags = more ? TRACE_MORE : 0;
    recorder_commit(recorder, slot);
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
    len += rest;
    recorder_mark(TRACE_REQUEST_BEGIN, 0, target.len, 0, recorder_here->last, 0, true);
    recorder_add_bytes(recorder_here, text, len);
}

void trace_call_outside(const struct trace_outside *call, const void *args, size_t len)
{
    struct recorder *recorder = recorder_here;
    struct trace_event *slot = recorder ? recorder_begin(recorder, TRACE_CALL) : NULL;
    if (!slot)
        return;
    recorder->last = call->t1;
    slot->t0 = call->t0;
    slot->t1 = call->t1;
    slot->result = call->result;
    slot->argument = call->argument;
    slot->name = call->place;
    slot->fd = call->fd;
    slot->op = (uint16_t)call->op;
    slot->flags = (uint8_t)(call->flags | (len > 0 ? TRACE_MORE : 0));
    recorder_commit(recorder, slot);
    if (len > 0)
        recorder_add_args(recorder, args, len, false);
}

void trace_first_line(int fd, enum trace_way way, struct slice line)
{
    struct recorder *recorder = recorder_here;
    struct trace_event *slot = recorder ? recorder_begin(recorder, TRACE_FIRST_LINE) : NULL;
    if (!slot)
        return;
    slot->t0 = slot->t1 = recorder->last;
    slot->result = 0;
    slot->argument = line.len;
    slot->fd = fd;
    slot->op = (uint16_t)way;
    slot->flags = TRACE_MORE;
    recorder_commit(recorder, slot);
    recorder_add_bytes(recorder, line.data,
                       line.len < FIRST_LINE_KEPT ? line.len : FIRST_LINE_KEPT);
}

void trace_request_end(int status, uint64_t bytes_sent)
{
    if (recorder_here)
        recorder_mark(TRACE_REQUEST_END, 0, bytes_sent, status, recorder_here->last, 0, false);
}

void trace_state(unsigned from, unsigned to)
{
    if (recorder_here)
        recorder_mark(TRACE_STATE, from, to, 0, recorder_here->last, 0, false);
}

void trace_python_enter(enum trace_python what, uint32_t name, uint32_t line)
{
    if (!recorder_here)
        return;
    recorder_here->last = clock_ticks();
    recorder_mark(TRACE_PYTHON_ENTER, what, line, 0, recorder_here->last, name, false);
}

void trace_python_leave(enum trace_python what, bool raised)
{
    if (!recorder_here)
        return;
    recorder_here->last = clock_ticks();
    recorder_mark(TRACE_PYTHON_LEAVE, what, 0, raised ? -1 : 0, recorder_here->last, 0, false);
}

void trace_python_call(const struct trace_python_call *call)
{
    struct recorder *recorder = recorder_here;
    struct trace_event *slot = recorder ? recorder_begin(recorder, call->kind) : NULL;
    if (!slot)
        return;
    recorder->last = call->ticks;
    slot->t0 = slot->t1 = call->ticks;
    slot->result = call->raised ? -1 : 0;
    slot->request = call->frame;
    slot->argument = call->line;
    slot->name = call->name;
    slot->op = (uint16_t)call->op;
    slot->flags = call->flags;
    recorder_commit(recorder, slot);
}

void trace_python_wholes(const struct trace_whole *calls, size_t count)
{
    if (recorder_here && count > 0)
        recorder_add_data(recorder_here, TRACE_PYTHON_WHOLE, calls, count * sizeof(*calls), false);
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
    if (!growth_names_to(recorder_here->recording, at + need))
        return 0;
    memcpy(names + at + sizeof(uint32_t), text.data, len);
    /* Release: a length that is not 0 has its bytes; partner: reader_name. */
    __atomic_store_n((uint32_t *)(names + at), len, __ATOMIC_RELEASE);
    return at + 1;
}
