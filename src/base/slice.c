#include "base/slice.h"

static unsigned char ascii_lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool bytes_equal_ignoring_case(const char *a, const char *b, size_t len)
{
    for (size_t at = 0; at < len; at++)
        if (ascii_lower(a[at]) != ascii_lower(b[at]))
            return false;
    return true;
}
