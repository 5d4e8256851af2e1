#include "preload/python_calls.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "frames/frames.h"
#include "preload/python_hooks.h"
#include "preload/python_names.h"
#include "preload/stacks.h"
#include "trace/recorder.h"

enum {
    CODES = 1 << 13,
    UNDER_WAY_MOST = 40,
    WHOLES_MOST = 1024, /* between two times that those under way are written */
};

/* A frame that is none. */
#define NOT_KNOWN UINT64_C(1)

/* A code object among the names: found by where it is, true while its key is. */
struct code {
    uint64_t address;
    uint64_t key;
    struct python_function function;
};

/* A call that has begun and is not written yet: it may end with nothing recorded inside. */
struct under_way {
    uint64_t frame;
    uint64_t ticks;
    struct python_function function;
    uint8_t kind; /* ENTER, RESUME */
    uint8_t op;
};

/* One a process. Its members are the GIL's holder's. */
static struct {
    const struct frames *frames;
    struct code codes[CODES];
    uint32_t recordings; /* that this process and its parents have had, from 1 */
    int (*is_initialized)(void);
    int (*add_pending_call)(int (*)(void *), void *);
    _Atomic uint32_t is_asked; /* the interpreter is to call us */
} self = {.recordings = 1};

/* A thread's. `inside`: where its stack was when it began to tell, 0: it does not; what it tells is
 * not for a signal handler that comes in between. */
static _Thread_local struct {
    uintptr_t inside;
    uint64_t frame;     /* that it runs, as far as we were told; 0: none */
    uint32_t recording; /* in which its calls under way stand; 0: in none */
    uint32_t depth;
    uint32_t whole_count;
    uint32_t since; /* wholes since those under way were written */
    struct trace_whole wholes[TRACE_WHOLES_MAX];
    struct under_way under_way[UNDER_WAY_MOST];
} here __attribute__((tls_model("initial-exec")));

/* For who is to touch `here`: the thread has a recorder then. Ended by leave(). */
static bool enter(struct recording *recording)
{
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0);
    /* One that was left by longjmp(3) out of a signal handler stands lower than we do. */
    if (!recording || (here.inside != 0 && here.inside >= stack))
        return false;
    here.inside = stack;
    process_attach(recording);
    return true;
}

static void leave(void)
{
    here.inside = 0;
}

static void note(const char *text)
{
    struct recording_header *header = recording_header_of(process_here.recording);
    if (header->note[0] == '\0')
        snprintf(header->note, sizeof(header->note), "%s", text);
}

static int begin(void *unused)
{
    (void)unused;
    bool is_monitored = self.frames->layout.version >= 0x030C;
    bool begun =
        is_monitored ? python_monitoring_begin(self.frames) : python_profile_begin(self.frames);
    if (process_recording() && !begun)
        note("Python's calls are not recorded: its interpreter has refused to tell of them");
    process_here.python_calls = !begun         ? PROCESS_CALLS_OFF
                                : is_monitored ? PROCESS_CALLS_ON
                                               : PROCESS_CALLS_BY_PROFILE;
    /* Relaxed: whoever asks again too late or too early does no harm. */
    atomic_store_explicit(&self.is_asked, 0, memory_order_relaxed);
    return 0;
}

/* The main thread calls us as soon as it runs Python code, or goes on with it. */
static void ask(void)
{
    uint32_t no = 0;
    if (atomic_compare_exchange_strong_explicit(&self.is_asked, &no, 1, memory_order_relaxed,
                                                memory_order_relaxed) &&
        self.add_pending_call(begin, NULL) < 0)
        atomic_store_explicit(&self.is_asked, 0, memory_order_relaxed); /* its list is full */
}

void python_calls_begin(void)
{
    if (!enter(process_recording()))
        return;
    const struct frames *frames = stacks_frames();
    if (frames && !self.frames) {
        *(void **)&self.is_initialized = dlsym(RTLD_DEFAULT, "Py_IsInitialized");
        *(void **)&self.add_pending_call = dlsym(RTLD_DEFAULT, "Py_AddPendingCall");
        if (python_names_begin(frames) && self.is_initialized && self.add_pending_call)
            self.frames = frames;
        else
            process_here.python_calls = PROCESS_CALLS_OFF;
    }
    if (self.frames && self.is_initialized())
        ask();
    leave();
}

static void write_wholes(void)
{
    trace_python_wholes(here.wholes, here.whole_count);
    here.whole_count = 0;
}

static void write_begin(const struct under_way *call, uint8_t flags)
{
    trace_python_call(&(struct trace_python_call){
        .kind = (enum trace_kind)call->kind,
        .op = (enum trace_python)call->op,
        .frame = call->frame,
        .ticks = call->ticks,
        .name = call->function.name,
        .line = call->function.line,
        .flags = flags,
    });
}

static void write_under_way(void)
{
    for (uint32_t i = 0; i < here.depth; i++)
        write_begin(&here.under_way[i], 0);
    here.depth = 0;
    here.since = 0;
}

static void flush(void)
{
    if (here.recording != self.recordings)
        return;
    write_wholes();
    write_under_way();
}

/* Has the calling thread, which runs Python, still our profile function? */
static void look_for_profile(void)
{
    enum python_profile profile = python_profile_here();
    if (profile == PYTHON_PROFILE_OURS)
        return;
    if (profile == PYTHON_PROFILE_NONE)
        ask();
    if (profile == PYTHON_PROFILE_THEIRS || here.recording == self.recordings)
        note("Python's calls are not recorded where the program has set a profile function "
             "(sys.setprofile, cProfile): it has only one");
    if (here.recording == self.recordings) {
        flush();
        here.recording = 0; /* what is under way then is told when it tells again */
    }
}

static void look(void)
{
    const void *thread = self.frames->thread_state();
    if (!thread || frames_is_ending(self.frames, thread))
        return;
    uint64_t frame = frames_top(self.frames, thread);
    /* One that runs none may be ending: then Python has taken its profile function away. */
    if (process_here.python_calls == PROCESS_CALLS_BY_PROFILE && frame != 0)
        look_for_profile();
    /* A greenlet that goes on without a call of Python is seen here. */
    if (here.recording == self.recordings && frame != here.frame)
        here.frame = NOT_KNOWN;
}

void python_calls_before_call(void)
{
    if (process_here.python_calls < PROCESS_CALLS_ON || !enter(process_here.recording))
        return;
    look();
    flush();
    leave();
}

void python_calls_forget(void)
{
    memset(self.codes, 0, sizeof(self.codes));
    python_names_forget();
    self.recordings++;
}

static struct python_function function_at(uint64_t address)
{
    struct code *code = &self.codes[(address >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 51];
    uint64_t key = frames_code_key(self.frames, address);
    if (__builtin_expect(code->address == address && code->key == key, 1))
        return code->function;
    struct frames_code read = {.name = {.size = 0}, .file = {.size = 0}};
    frames_code(self.frames, address, &read);
    uint32_t name = stacks_code(address, key);
    *code =
        (struct code){address, key, {name, read.first_line, stacks_place(name, read.first_line)}};
    return code->function;
}

static void write_end(enum trace_kind kind, enum trace_python op, uint64_t frame, uint64_t ticks,
                      bool raised)
{
    trace_python_call(&(struct trace_python_call){
        .kind = kind, .op = op, .frame = frame, .ticks = ticks, .raised = raised});
}

void python_calls_end(void)
{
    bool is_ours = process_here.page && process_here.page->is_ours && process_here.recording;
    if (is_ours && here.recording == self.recordings && enter(process_here.recording)) {
        flush();
        leave();
    }
}

/* The thread runs `frame`, and we have not seen how it came there: it begins to tell, its hook was
 * gone for a while, another greenlet goes on. What happened at `ticks` comes behind it. */
static void switch_to(uint64_t frame, uint64_t ticks)
{
    struct under_way found[TRACE_FRAMES_MAX];
    size_t count = 0;
    bool is_known = here.recording == self.recordings;
    if (is_known)
        flush();
    here.recording = self.recordings;
    here.frame = frame;
    here.depth = here.whole_count = 0; /* a forked child's are its parent's */
    for (uint64_t outer; frame != 0 && count < TRACE_FRAMES_MAX; frame = outer) {
        uint64_t code = frames_step(self.frames, frame, &outer);
        if (code != 0)
            found[count++] = (struct under_way){frame, ticks, function_at(code), TRACE_PYTHON_ENTER,
                                                TRACE_PYTHON_CALL};
    }
    if (is_known || count > 0)
        trace_python_call(&(struct trace_python_call){.kind = TRACE_PYTHON_SWITCH,
                                                      .op = TRACE_PYTHON_CALL,
                                                      .ticks = ticks,
                                                      .line = !is_known});
    while (count-- > 0)
        write_begin(&found[count], TRACE_UNDER_WAY);
}

/* False: nothing is to be told. `frame` is what the thread runs, or did before what is told now, at
 * `ticks`; 0: now. */
static bool tell(uint64_t frame, uint64_t ticks)
{
    if (__builtin_expect(!enter(process_recording()), 0))
        return false;
    if (__builtin_expect(here.recording != self.recordings || here.frame != frame, 0))
        switch_to(frame, ticks ? ticks : clock_ticks());
    return true;
}

static void add_begin(enum trace_kind kind, enum trace_python op, uint64_t frame,
                      struct python_function function)
{
    if (__builtin_expect(here.depth == UNDER_WAY_MOST, 0))
        write_under_way();
    here.under_way[here.depth++] =
        (struct under_way){frame, clock_ticks(), function, (uint8_t)kind, (uint8_t)op};
    leave();
}

void python_calls_enter(uint64_t frame, uint64_t code, bool is_resumed)
{
    if (!tell(frames_outer(self.frames, frame), 0))
        return;
    here.frame = frame;
    add_begin(is_resumed ? TRACE_PYTHON_RESUME : TRACE_PYTHON_ENTER, TRACE_PYTHON_CALL, frame,
              function_at(code));
}

void python_calls_enter_c(uint64_t frame, const python_object *function, const python_object *on)
{
    if (tell(frame, 0))
        add_begin(TRACE_PYTHON_ENTER, TRACE_PYTHON_C_CALL, frame, python_name(function, on));
}

/* The call under way that began last has ended at `ticks`. */
static void add_whole(enum trace_kind kind, uint64_t ticks, bool raised)
{
    const struct under_way *call = &here.under_way[--here.depth];
    if (__builtin_expect(ticks - call->ticks > UINT32_MAX || call->ticks > TRACE_WHOLE_TICKS, 0)) {
        write_begin(call, 0);
        write_end(kind, (enum trace_python)call->op, call->frame, ticks, raised);
        return;
    }
    here.wholes[here.whole_count++] = (struct trace_whole){
        .begin = call->ticks | (call->op == TRACE_PYTHON_C_CALL ? TRACE_WHOLE_C : 0) |
                 (raised ? TRACE_WHOLE_RAISED : 0) |
                 (call->kind == TRACE_PYTHON_RESUME ? TRACE_WHOLE_RESUMED : 0) |
                 (kind == TRACE_PYTHON_YIELD ? TRACE_WHOLE_SUSPENDED : 0),
        .ticks = (uint32_t)(ticks - call->ticks),
        .place = call->function.place,
    };
    if (here.whole_count == TRACE_WHOLES_MAX)
        write_wholes();
    if (++here.since == WHOLES_MOST)
        write_under_way();
}

static void add_end(enum trace_kind kind, enum trace_python op, uint64_t frame, bool raised)
{
    uint64_t ticks = clock_ticks();
    if (!tell(frame, ticks))
        return;
    const struct under_way *last = here.depth > 0 ? &here.under_way[here.depth - 1] : NULL;
    if (last && last->frame == frame && last->op == op) {
        add_whole(kind, ticks, raised);
    } else {
        write_under_way(); /* it was written when something happened inside */
        write_end(kind, op, frame, ticks, raised);
    }
    if (op == TRACE_PYTHON_CALL)
        here.frame = frames_outer(self.frames, frame);
    leave();
}

void python_calls_leave(uint64_t frame, bool is_suspended, bool raised)
{
    add_end(is_suspended ? TRACE_PYTHON_YIELD : TRACE_PYTHON_LEAVE, TRACE_PYTHON_CALL, frame,
            raised);
}

void python_calls_leave_c(uint64_t frame, bool raised)
{
    add_end(TRACE_PYTHON_LEAVE, TRACE_PYTHON_C_CALL, frame, raised);
}
