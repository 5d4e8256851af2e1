#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_format(struct error *err, int code, const char *format, ...)
{
    if (code == 0)
        code = EIO;
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
        err->code = code;
    }
    return -code;
}

int error_set(struct error *err, int code, const char *verb, const char *object)
{
    char reason[96];
    if (code == 0)
        code = EIO;
    /* The GNU strerror_r, strerror(3): thread-safe, the text may lie elsewhere than in `reason`. */
    const char *text = strerror_r(code, reason, sizeof(reason));
    return error_format(err, code, "cannot %s%s%s: %s", verb, object ? " " : "",
                        object ? object : "", text);
}
