/* Places: the lines of Python for which kernel calls are made, for the recording. A place is the
 * running frames from the innermost on to the first one that lies in no library; in a task of an
 * event loop, to its outermost coroutine. */
#ifndef ZOLAL_PYTHON_PLACES_H
#define ZOLAL_PYTHON_PLACES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

struct module_state;

/* `folders`, a tuple of str: how the file names of libraries begin; NULL: places are not recorded.
 * `files`: a file name -> is it a library's. `numbers`: frames, as bytes -> (the place's number in
 * the recording, the frames' code objects). */
struct places {
    PyObject *folders;
    PyObject *files;
    PyObject *numbers;
};

/* The number of where this thread's Python code stands, 0 when it cannot be had: there is no Python
 * frame, or no room for names any more. For a thread with a recorder, while places are recorded.
 * Leaves no exception behind. */
uint32_t places_here(struct module_state *state);

/* The numbers are those of a recording that is gone. */
void places_forget(struct places *places);

/* None are recorded at first. Returns 0, or -1 with an exception set. */
int places_init(struct places *places);

/* Add record_places(folders) to the module. Returns 0, or -1 with an exception set. */
int places_add(PyObject *module);

#endif
