/* CPython from 3.12 on: sys.monitoring. All threads of the main interpreter; a program's profile
 * function, its tracers and its own tools stay as they are. */
#include <dlfcn.h>
#include <stddef.h>

#include "preload/python_calls.h"
#include "preload/python_hooks.h"
#include "preload/python_names.h"

/* Python's methodobject.h */
typedef python_object *callback(python_object *, python_object *const *args, ptrdiff_t count);
struct method_definition {
    const char *name;
    callback *function;
    int flags;
    const char *doc;
};
enum { METH_FASTCALL = 0x80 };

static struct {
    const struct frames *frames;
    void *(*running)(void); /* the PyThreadState of the GIL's holder */
    python_object *none, *missing;
    python_object *(*sys)(const char *);
    python_object *(*attribute)(python_object *, const char *);
    python_object *(*call_method)(python_object *, const char *, const char *format, ...);
    python_object *(*new_function)(const struct method_definition *, python_object *,
                                   python_object *);
    long (*long_value)(python_object *);
    void (*release)(python_object *);
    void (*clear_error)(void);
} self;

static uint64_t frame_here(void)
{
    return frames_top(self.frames, self.running());
}

/* What the interpreter calls: (code, instruction offset, ...). It keeps None for ever, so that a
 * reference to it is not counted. */
#define ON(name, ...)                                                                              \
    static python_object *name(python_object *unused, python_object *const *args, ptrdiff_t count) \
    {                                                                                              \
        (void)unused, (void)args, (void)count;                                                     \
        __VA_ARGS__;                                                                               \
        return self.none;                                                                          \
    }

ON(on_start, python_calls_enter(frame_here(), (uintptr_t)args[0], false))
ON(on_resume, python_calls_enter(frame_here(), (uintptr_t)args[0], true))
ON(on_return, python_calls_leave(frame_here(), false, false))
ON(on_yield, python_calls_leave(frame_here(), true, false))
ON(on_unwind, python_calls_leave(frame_here(), false, true))

/* (code, offset, callable, first argument): of any callable; those of C are ours. */
static bool is_c_call(python_object *const *args, ptrdiff_t count)
{
    if (count < 4)
        return false;
    enum python_kind kind = python_kind(args[2]);
    return kind == PYTHON_FUNCTION || (kind == PYTHON_METHOD && args[3] != self.missing);
}

ON(on_call, if (is_c_call(args, count)) python_calls_enter_c(frame_here(), args[2], args[3]))
ON(on_c_return, if (is_c_call(args, count)) python_calls_leave_c(frame_here(), false))
ON(on_c_raise, if (is_c_call(args, count)) python_calls_leave_c(frame_here(), true))

/* C_RETURN and C_RAISE come with CALL. */
static const struct event {
    struct method_definition definition;
    bool is_implied;
} events[] = {
    {{"PY_START", on_start, METH_FASTCALL, NULL}, false},
    {{"PY_RESUME", on_resume, METH_FASTCALL, NULL}, false},
    {{"PY_THROW", on_resume, METH_FASTCALL, NULL}, false},
    {{"PY_RETURN", on_return, METH_FASTCALL, NULL}, false},
    {{"PY_YIELD", on_yield, METH_FASTCALL, NULL}, false},
    {{"PY_UNWIND", on_unwind, METH_FASTCALL, NULL}, false},
    {{"CALL", on_call, METH_FASTCALL, NULL}, false},
    {{"C_RETURN", on_c_return, METH_FASTCALL, NULL}, true},
    {{"C_RAISE", on_c_raise, METH_FASTCALL, NULL}, true},
};
enum { EVENTS = sizeof(events) / sizeof(*events) };

static bool find_functions(const struct frames *frames)
{
    *(void **)&self.running = dlsym(RTLD_DEFAULT, "PyThreadState_GetUnchecked"); /* 3.13 */
    if (!self.running)
        *(void **)&self.running = dlsym(RTLD_DEFAULT, "_PyThreadState_UncheckedGet");
    self.none = dlsym(RTLD_DEFAULT, "_Py_NoneStruct");
    *(void **)&self.sys = dlsym(RTLD_DEFAULT, "PySys_GetObject");
    *(void **)&self.attribute = dlsym(RTLD_DEFAULT, "PyObject_GetAttrString");
    *(void **)&self.call_method = dlsym(RTLD_DEFAULT, "PyObject_CallMethod");
    *(void **)&self.new_function = dlsym(RTLD_DEFAULT, "PyCFunction_NewEx");
    *(void **)&self.long_value = dlsym(RTLD_DEFAULT, "PyLong_AsLong");
    *(void **)&self.release = dlsym(RTLD_DEFAULT, "Py_DecRef");
    *(void **)&self.clear_error = dlsym(RTLD_DEFAULT, "PyErr_Clear");
    self.frames = frames;
    return self.running && self.none && self.sys && self.attribute && self.call_method &&
           self.new_function && self.long_value && self.release && self.clear_error;
}

/* Releases `object`; false where there is none. */
static bool is_done(python_object *object)
{
    if (object)
        self.release(object);
    return object != NULL;
}

/* Debuggers, coverage, profilers and optimisers have numbers of their own: one of the two others.
 */
static int take_tool(python_object *monitoring)
{
    for (int tool = 4; tool >= 3; tool--) {
        if (is_done(self.call_method(monitoring, "use_tool_id", "is", tool, "zolal trace")))
            return tool;
        self.clear_error();
    }
    return -1;
}

static bool register_one(python_object *monitoring, int tool, const struct event *event, long *all)
{
    python_object *names = self.attribute(monitoring, "events");
    python_object *number = names ? self.attribute(names, event->definition.name) : NULL;
    python_object *function = number ? self.new_function(&event->definition, NULL, NULL) : NULL;
    bool done = function && is_done(self.call_method(monitoring, "register_callback", "iOO", tool,
                                                     number, function));
    if (done && !event->is_implied)
        *all |= self.long_value(number);
    is_done(names);
    is_done(number);
    is_done(function);
    return done;
}

bool python_monitoring_begin(const struct frames *frames)
{
    python_object *monitoring = find_functions(frames) ? self.sys("monitoring") : NULL;
    int tool = monitoring ? take_tool(monitoring) : -1;
    if (tool < 0)
        return false;
    bool done = is_done(self.missing = self.attribute(monitoring, "MISSING"));
    long all = 0;
    for (size_t i = 0; done && i < EVENTS; i++)
        done = register_one(monitoring, tool, &events[i], &all);
    done = done && is_done(self.call_method(monitoring, "set_events", "il", tool, all));
    if (!done) {
        self.clear_error();
        is_done(self.call_method(monitoring, "free_tool_id", "i", tool));
        self.clear_error();
    }
    return done;
}
