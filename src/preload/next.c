#include "preload/next.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

/* Our constructor looks all of them up, and who comes before it his own: other libraries' may run
 * before ours. Whoever looks finds the same, so that two may. */
static next_function *found[NEXT_COUNT];

static const char *const names[NEXT_COUNT] = {
#define X(name) #name,
    PRELOAD_FUNCTIONS(X)
#undef X
};

static long missing(void)
{
    errno = ENOSYS;
    return -1;
}

next_function *next_find(enum next which)
{
    /* Relaxed: the function it points to was there before; partner: the store below. */
    next_function *function = __atomic_load_n(&found[which], __ATOMIC_RELAXED);
    if (__builtin_expect(function != NULL, 1))
        return function;
    void *address = dlsym(RTLD_NEXT, names[which]);
    memcpy(&function, &address, sizeof(function)); /* ISO C knows no cast for that */
    if (!function)
        function = (next_function *)missing;
    __atomic_store_n(&found[which], function, __ATOMIC_RELAXED);
    return function;
}

void next_find_all(void)
{
    for (int which = 0; which < NEXT_COUNT; which++)
        next_find((enum next)which);
}
