#include "preload/environment.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "preload/process.h"

#define LIBRARIES "LD_PRELOAD="

enum { ROOM = 4 }; /* of ours, and the NULL behind them */

/* In memory of its own. LD_PRELOAD begins with our library and goes on with what the program has
 * there. */
struct environment {
    size_t size; /* of all */
    char **entries;
    char setting[sizeof(PROCESS_VARIABLE) + 256];
    char parent[sizeof(PROCESS_PARENT_VARIABLE) + 16];
};

static bool is_entry(const char *entry, const char *name)
{
    size_t len = strlen(name);
    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

static bool is_ours(const char *entry)
{
    return is_entry(entry, "LD_PRELOAD") || is_entry(entry, PROCESS_VARIABLE) ||
           is_entry(entry, PROCESS_PARENT_VARIABLE);
}

void environment_hide(void)
{
    const char *libraries = getenv("LD_PRELOAD");
    const char *library = process_library();
    size_t len = strlen(library);
    unsetenv(PROCESS_VARIABLE);
    unsetenv(PROCESS_PARENT_VARIABLE);
    if (!libraries || strncmp(libraries, library, len) != 0)
        return;
    if (libraries[len] == ':' && libraries[len + 1] != '\0')
        setenv("LD_PRELOAD", libraries + len + 1, 1);
    else
        unsetenv("LD_PRELOAD");
}

bool environment_refuses(char *const *from)
{
    for (size_t i = 0; from && from[i]; i++)
        if (is_entry(from[i], PROCESS_VARIABLE))
            return true;
    return false;
}

struct environment *environment_make(char *const *from)
{
    /* A program that has become another user, or another root, may not reach it: the loader would
     * say so on standard error. */
    if (faccessat(AT_FDCWD, process_library(), R_OK, AT_EACCESS) < 0)
        return NULL;
    size_t count = 0;
    const char *libraries = "";
    for (; from && from[count]; count++)
        if (is_entry(from[count], "LD_PRELOAD"))
            libraries = from[count] + strlen(LIBRARIES);
    size_t text = sizeof(LIBRARIES) + strlen(process_library()) + 1 + strlen(libraries);
    size_t size = sizeof(struct environment) + (count + ROOM) * sizeof(char *) + text;
    struct environment *made =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        return NULL;
    made->size = size;
    made->entries = (char **)(made + 1);
    char *own = (char *)(made->entries + count + ROOM);
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_ours(from[i]))
            made->entries[used++] = from[i];
    snprintf(own, text, LIBRARIES "%s%s%s", process_library(), *libraries ? ":" : "", libraries);
    snprintf(made->setting, sizeof(made->setting), PROCESS_VARIABLE "=%s", process_setting());
    made->entries[used++] = own;
    made->entries[used++] = made->setting;
    snprintf(made->parent, sizeof(made->parent), PROCESS_PARENT_VARIABLE "=%ld",
             (long)process_recorded());
    made->entries[used++] = made->parent;
    return made;
}

char *const *environment_entries(const struct environment *environment)
{
    return environment->entries;
}

void environment_free(struct environment *environment)
{
    if (environment)
        munmap(environment, environment->size);
}
