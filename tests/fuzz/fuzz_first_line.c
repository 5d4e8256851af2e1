/* first_line on any bytes: it reads no more of them than there are, and what it writes is a line of
 * its own making or the beginning of theirs. */
#include <stdlib.h>
#include <string.h>

#include "pieces.h"
#include "trace/first_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char line[FIRST_LINE_SIZE];
    char *copy = copy_of((const char *)data, size); /* its end is a wall */
    struct slice bytes = slice_of(copy, size);
    size_t len = first_line(bytes, line);
    CHECK(len <= sizeof(line));
    CHECK(!memchr(line, '\r', len) && !memchr(line, '\n', len));
    if (len > 0 && memcmp(line, "redis ", 6) != 0 && memcmp(line, "postgresql ", 11) != 0)
        CHECK(len <= size && memcmp(line, copy, len) == 0);
    CHECK(!first_line_is_tls(bytes) || len == 0);
    free(copy);
    return 0;
}
