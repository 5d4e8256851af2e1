#include "base/memory.h"

#include <stdlib.h>

void *memory_new(size_t size)
{
    return calloc(1, size);
}

void *memory_new_array(size_t count, size_t size)
{
    return reallocarray(NULL, count, size);
}

void *memory_resize_array(void *old, size_t count, size_t size)
{
    return reallocarray(old, count, size);
}

void memory_free(void *memory)
{
    free(memory);
}
