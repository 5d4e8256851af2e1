/* wsgi.file_wrapper: PEP 3333 "Optional Platform-Specific File Handling". */
#ifndef ZOLAL_PYTHON_WSGI_FILE_WRAPPER_H
#define ZOLAL_PYTHON_WSGI_FILE_WRAPPER_H

#include <stdint.h>
#include <sys/types.h>

#include "python/state.h"

/* What of a file can be sent by sendfile(2). */
struct file_range {
    int fd;
    off_t offset;
    uint64_t len;
};

/* Does `wrapper` (a file_wrapper) stand for a regular file? Then `range` is from where its file
 * object stands to the file's end. Leaves no exception behind. */
bool file_wrapper_range(struct module_state *state, PyObject *wrapper, struct file_range *range);

int file_wrapper_type_add(PyObject *module);

#endif
