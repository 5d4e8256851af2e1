#include "server/limits.h"

#include <errno.h>
#include <string.h>

const struct limits limits_default = {
#define X(name, value, meaning) .name = (value),
    LIMITS(X)
#undef X
};

/* Sizes stay far from where sums of them could overflow. */
#define LIMIT_MOST (UINT64_C(1) << 40)

/* Which limits may be 0: patience that may last for ever, and the body's size. */
static bool limit_may_be_zero(const char *name)
{
    size_t len = strlen(name);
    bool is_time = len > 3 && memcmp(name + len - 3, "_ms", 3) == 0;
    return is_time || strcmp(name, "request_body") == 0 || strcmp(name, "body_rate") == 0 ||
           strcmp(name, "queue") == 0;
}

int limits_set(struct limits *limits, const char *name, uint64_t value)
{
    uint64_t *limit = NULL;
#define X(limit_name, default_value, meaning) \
    if (strcmp(name, #limit_name) == 0)       \
        limit = &limits->limit_name;
    LIMITS(X)
#undef X
    if (!limit)
        return -ENOENT;
    if (value > LIMIT_MOST || (value == 0 && !limit_may_be_zero(name)))
        return -ERANGE;
    if (limit == &limits->request_fields && value > 32768)
        return -ERANGE;
    *limit = value;
    return 0;
}
