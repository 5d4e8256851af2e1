/* The names of functions of C, as Python has them: "socket.send", "len". For the GIL's holder. */
#ifndef ZOLAL_PRELOAD_PYTHON_NAMES_H
#define ZOLAL_PRELOAD_PYTHON_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "frames/frames.h"
#include "preload/python_calls.h"

/* Find the interpreter's types. False: they are not there. */
bool python_names_begin(const struct frames *frames);

/* What kind of function of C `object` is; others are told of as Python's, or not at all. */
enum python_kind {
    PYTHON_NO_C_FUNCTION,
    PYTHON_FUNCTION, /* builtin_function_or_method */
    PYTHON_METHOD,   /* method_descriptor: what it is called on is its first argument */
};
enum python_kind python_kind(const python_object *object);

/* A function as the recording has it: the numbers of its name and of the place that is its first
 * line; 0: there is none. */
struct python_function {
    uint32_t name;
    uint32_t line;
    uint32_t place;
};

/* Its name. `on`: what a method is called on. For a thread with a recorder. */
struct python_function python_name(const python_object *function, const python_object *on);

/* The numbers are those of another recording. */
void python_names_forget(void);

#endif
