/* An error as a number and one printable line.
 *
 * A call that can fail returns >= 0 or -errno. Set-up calls also fill a `struct error`: one line,
 * cause first, without a full stop or line end: `cannot bind 127.0.0.1:80: Permission denied`. */
#ifndef ZOLAL_BASE_ERROR_H
#define ZOLAL_BASE_ERROR_H

#include <stdint.h>

/* `code`: an errno number, 0 while nothing failed. `text`: NUL-terminated, cut when too long. */
struct error {
    int code;
    char text[256];
};

/* Fill `err` (may be NULL) with "cannot VERB OBJECT: strerror(code)"; OBJECT may be NULL. A `code`
 * of 0 counts as EIO, so that what is returned is an error. Returns -code. */
int error_set(struct error *err, int code, const char *verb, const char *object);

/* Fill `err` (may be NULL) with a printf(3)-formatted line. Returns -code, as error_set does. */
int error_format(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
