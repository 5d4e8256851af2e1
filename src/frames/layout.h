/* Layouts: where the fields that a walk needs are in CPython's structs, in bytes. One file a minor
 * version has them (layout_3_11.c); tests/frames compares each with the headers of the Pythons at
 * hand. From 3.13 on an interpreter publishes most of them (_Py_DebugOffsets), which are held
 * against the file. All are of 64-bit builds with a GIL. */
#ifndef ZOLAL_FRAMES_LAYOUT_H
#define ZOLAL_FRAMES_LAYOUT_H

#include <stdint.h>

struct frames;

/* A struct of the interpreter is read in one piece; every offset in one (but `interpreter`) lies
 * below this. */
enum { FRAMES_STRUCT_MAX = 256 };

struct frames_layout {
    uint32_t version; /* 0x030B: 3.11 */

    struct {
        uint32_t finalizing;        /* the thread state that ends the interpreter, or NULL */
        uint32_t interpreters_head; /* newest first */
        uint32_t interpreters_main;
    } runtime; /* _PyRuntimeState */

    struct {
        uint32_t threads_head;
    } interpreter; /* PyInterpreterState */

    struct {
        uint32_t next;
        uint32_t frame; /* 3.10: frame; 3.11, 3.12: cframe; then current_frame */
        uint32_t thread_id;
        uint32_t native_thread_id; /* 0: there is none (3.10) */
    } thread;                      /* PyThreadState; its `prev` comes first */

    /* 3.11, 3.12: of _PyCFrame, to which thread.frame points; 0 is a place there. */
    uint32_t cframe_current;

    struct {
        uint32_t code;
        uint32_t previous;
        uint32_t instruction; /* 3.10: f_lasti, an int, in units of two bytes; then a pointer */
        uint32_t owner;       /* 3.10: there is none */
        uint32_t size;        /* PyFrame_Type.tp_basicsize, which tells a build that differs */
    } frame;                  /* PyFrameObject; from 3.11 on _PyInterpreterFrame */

    struct {
        uint32_t flags;
        uint32_t first_line;
        uint32_t file;
        uint32_t name; /* co_qualname; 3.10: co_name */
        uint32_t linetable;
        uint32_t version;         /* from 3.12 on; else 0 */
        uint32_t first_traceable; /* an int, in units of two bytes; 3.10: 0 */
        uint32_t instructions;    /* co_code_adaptive; 3.10: co_code, a pointer to bytes */
        uint32_t size;            /* PyCode_Type.tp_basicsize */
    } code;                       /* PyCodeObject */

    struct {
        uint32_t state;        /* PyASCIIObject.state */
        uint32_t kind_shift;   /* in it: where the three bits `kind` begin, after which come */
        uint32_t ascii_size;   /* `compact` and `ascii`. The characters of an ASCII string */
        uint32_t compact_size; /* those of another, or the pointer to them when not compact */
    } text;                    /* PyUnicodeObject */
};

extern const struct frames_layout frames_layout_3_10, frames_layout_3_11, frames_layout_3_12,
    frames_layout_3_13, frames_layout_3_14;

#endif
