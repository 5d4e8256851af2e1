/* The environment of programs that a traced one starts: they are traced, too. The program itself
 * never sees what makes that so. */
#ifndef ZOLAL_PRELOAD_ENVIRONMENT_H
#define ZOLAL_PRELOAD_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

/* Take our variables out of this process's environment. For the constructor. */
void environment_hide(void);

/* Does an environment say that a program is not to be traced? One of ours does, with a value of its
 * own (none) for our variable. */
bool environment_refuses(char *const *from);

/* An environment with our variables, made of `from` (NULL: none); its memory is its own. NULL:
 * there is no memory for one, or the library cannot be reached any more. Async-signal-safe: a
 * forked child calls it. */
struct environment;
struct environment *environment_make(char *const *from);
char *const *environment_entries(const struct environment *environment);
void environment_free(struct environment *environment);

#endif
