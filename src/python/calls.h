/* Python-call capture: the calls between server and application with function, file and line, for
 * the recording. Costs nothing while a server was made without `python_calls`. */
#ifndef ZOLAL_PYTHON_CALLS_H
#define ZOLAL_PYTHON_CALLS_H

#include "python/state.h"
#include "trace/event.h"

/* Returns 0, or -1 with an exception set. */
int calls_init(struct module_state *state);

/* The number of a code object's name in the recording, remembered. 0 when there is none; an
 * exception may be set then. */
uint32_t calls_name(struct module_state *state, PyCodeObject *code);

/* Record that `callee` is about to be called: its function's first line, or the line at which a
 * generator goes on. Leaves no exception behind. */
void calls_enter(struct module_state *state, enum trace_python what, PyObject *callee);

/* Add trace_enter(text, line=0, kind="call") and trace_leave(failed=False, kind="call") to the
 * module, by which Python code records a call of its own; and trace_subject(),
 * trace_request_begin() and trace_request_end(), by which a server that is written in Python says
 * to which request they belong. Returns 0, or -1 with an exception set. */
int calls_add(PyObject *module);

/* Record that the application calls the server, from the line where it stands. */
void calls_enter_from_application(struct module_state *state, enum trace_python what);

#endif
