/* The layout of this version is what the interpreter's own headers say: prints each field that
 * differs. Compiled by test_code.py with the headers of the Python that runs it. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <frameobject.h>
#include <stddef.h>
#include <stdio.h>

#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#if PY_VERSION_HEX >= 0x030B0000
#include "internal/pycore_frame.h"
#endif

#include "frames/layout.h"

#define CHECK(field, truth)                                                    \
    if (layout->field != (truth)) {                                            \
        printf("%s is %zu, not %u\n", #field, (size_t)(truth), layout->field); \
        wrong = 1;                                                             \
    }

#if PY_VERSION_HEX >= 0x030E0000
#define LAYOUT frames_layout_3_14
#elif PY_VERSION_HEX >= 0x030D0000
#define LAYOUT frames_layout_3_13
#elif PY_VERSION_HEX >= 0x030C0000
#define LAYOUT frames_layout_3_12
#elif PY_VERSION_HEX >= 0x030B0000
#define LAYOUT frames_layout_3_11
#else
#define LAYOUT frames_layout_3_10
#endif

static unsigned kind_shift(void)
{
    union {
        PyASCIIObject object;
        unsigned char bytes[sizeof(PyASCIIObject)];
    } text = {0};
    unsigned state;
    text.object.state.kind = 1;
    memcpy(&state, text.bytes + offsetof(PyASCIIObject, state), sizeof(state));
    return (unsigned)__builtin_ctz(state);
}

static int check_flags(const struct frames_layout *layout)
{
    int wrong = 0;
    union {
        PyASCIIObject object;
        unsigned char bytes[sizeof(PyASCIIObject)];
    } text = {0};
    unsigned state;
    text.object.state.compact = 1;
    memcpy(&state, text.bytes + offsetof(PyASCIIObject, state), sizeof(state));
    wrong |= state >> layout->text.kind_shift != 8;
    text.object.state.compact = 0;
    text.object.state.ascii = 1;
    memcpy(&state, text.bytes + offsetof(PyASCIIObject, state), sizeof(state));
    wrong |= state >> layout->text.kind_shift != 16;
    if (wrong)
        printf("PyASCIIObject.state differs\n");
    return wrong;
}

static int check_frame(const struct frames_layout *layout)
{
    int wrong = 0;
#if PY_VERSION_HEX >= 0x030B0000
    CHECK(frame.previous, offsetof(_PyInterpreterFrame, previous))
    CHECK(frame.owner, offsetof(_PyInterpreterFrame, owner))
    CHECK(frame.size,
          offsetof(PyFrameObject, _f_frame_data) + offsetof(_PyInterpreterFrame, localsplus))
    wrong |= FRAME_OWNED_BY_GENERATOR != 1;
#else
    CHECK(frame.previous, offsetof(PyFrameObject, f_back))
    CHECK(frame.code, offsetof(PyFrameObject, f_code))
    CHECK(frame.instruction, offsetof(PyFrameObject, f_lasti))
    CHECK(frame.size, sizeof(PyFrameObject))
#endif
#if PY_VERSION_HEX >= 0x030D0000
    CHECK(frame.code, offsetof(_PyInterpreterFrame, f_executable))
    CHECK(frame.instruction, offsetof(_PyInterpreterFrame, instr_ptr))
#elif PY_VERSION_HEX >= 0x030B0000
    CHECK(frame.code, offsetof(_PyInterpreterFrame, f_code))
    CHECK(frame.instruction, offsetof(_PyInterpreterFrame, prev_instr))
    CHECK(cframe_current, offsetof(_PyCFrame, current_frame))
#endif
    return wrong;
}

static int check_thread(const struct frames_layout *layout)
{
    int wrong = offsetof(PyThreadState, prev) != 0;
    CHECK(runtime.finalizing, offsetof(_PyRuntimeState, _finalizing))
    CHECK(runtime.interpreters_head, offsetof(_PyRuntimeState, interpreters.head))
    CHECK(runtime.interpreters_main, offsetof(_PyRuntimeState, interpreters.main))
    CHECK(thread.next, offsetof(PyThreadState, next))
    CHECK(thread.thread_id, offsetof(PyThreadState, thread_id))
#if PY_VERSION_HEX >= 0x030D0000
    CHECK(thread.frame, offsetof(PyThreadState, current_frame))
#elif PY_VERSION_HEX >= 0x030B0000
    CHECK(thread.frame, offsetof(PyThreadState, cframe))
#else
    CHECK(thread.frame, offsetof(PyThreadState, frame))
    CHECK(interpreter.threads_head, offsetof(PyInterpreterState, tstate_head))
#endif
#if PY_VERSION_HEX >= 0x030B0000
    CHECK(interpreter.threads_head, offsetof(PyInterpreterState, threads.head))
    CHECK(thread.native_thread_id, offsetof(PyThreadState, native_thread_id))
#endif
    return wrong;
}

static int check_code(const struct frames_layout *layout)
{
    int wrong = 0;
    CHECK(code.flags, offsetof(PyCodeObject, co_flags))
    CHECK(code.first_line, offsetof(PyCodeObject, co_firstlineno))
    CHECK(code.file, offsetof(PyCodeObject, co_filename))
    CHECK(code.linetable, offsetof(PyCodeObject, co_linetable))
#if PY_VERSION_HEX >= 0x030C0000
    CHECK(code.version, offsetof(PyCodeObject, co_version))
#endif
#if PY_VERSION_HEX >= 0x030B0000
    CHECK(code.name, offsetof(PyCodeObject, co_qualname))
    CHECK(code.first_traceable, offsetof(PyCodeObject, _co_firsttraceable))
    CHECK(code.instructions, offsetof(PyCodeObject, co_code_adaptive))
    CHECK(code.size, offsetof(PyCodeObject, co_code_adaptive))
#else
    CHECK(code.name, offsetof(PyCodeObject, co_name))
    CHECK(code.instructions, offsetof(PyCodeObject, co_code))
    CHECK(code.size, sizeof(PyCodeObject))
#endif
    return wrong;
}

static int check_objects(const struct frames_layout *layout)
{
    int wrong = 0;
    CHECK(text.state, offsetof(PyASCIIObject, state))
    CHECK(text.kind_shift, kind_shift())
    CHECK(text.ascii_size, sizeof(PyASCIIObject))
    CHECK(text.compact_size, sizeof(PyCompactUnicodeObject))
    wrong |= offsetof(PyASCIIObject, length) != 16 || offsetof(PyASCIIObject, hash) != 24;
    wrong |= offsetof(PyObject, ob_type) != 8 || offsetof(PyVarObject, ob_size) != 16;
    wrong |= offsetof(PyBytesObject, ob_sval) != 32;
    wrong |= offsetof(PyTypeObject, tp_name) != 24 || offsetof(PyTypeObject, tp_basicsize) != 32;
    return wrong;
}

int main(void)
{
    const struct frames_layout *layout = &LAYOUT;
    int wrong = layout->version != PY_VERSION_HEX >> 16;
    wrong |= check_thread(layout) | check_frame(layout) | check_code(layout);
    wrong |= check_objects(layout) | check_flags(layout);
    return wrong;
}
