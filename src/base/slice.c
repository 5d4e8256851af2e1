#include "base/slice.h"

#include <stdint.h>

static unsigned char ascii_lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* The same for eight bytes at once: a byte's highest bit says whether it is a capital letter. */
static uint64_t ascii_lower_eight(const char *bytes)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    uint64_t low = word & (0x7f * ones);
    uint64_t at_least_a = low + (0x80 - 'A') * ones;
    uint64_t above_z = low + (0x7f - 'Z') * ones;
    uint64_t capital = (at_least_a ^ above_z) & ~word & (0x80 * ones);
    return word | capital >> 2;
}

bool bytes_equal_ignoring_case(const char *a, const char *b, size_t len)
{
    size_t at = 0;
    for (; len - at >= 8; at += 8)
        if (ascii_lower_eight(a + at) != ascii_lower_eight(b + at))
            return false;
    if (len >= 8)
        return ascii_lower_eight(a + len - 8) == ascii_lower_eight(b + len - 8);
    for (; at < len; at++)
        if (ascii_lower(a[at]) != ascii_lower(b[at]))
            return false;
    return true;
}
