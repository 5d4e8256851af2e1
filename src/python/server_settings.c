#include "python/server_settings.h"

#include <errno.h>
#include <string.h>

/* One limit of the dict given to Server(). */
static int limit_set(struct limits *limits, PyObject *name, PyObject *value)
{
    const char *text = PyUnicode_AsUTF8(name);
    unsigned long long number = text ? PyLong_AsUnsignedLongLong(value) : 0;
    if (PyErr_Occurred())
        return -1;
    int result = limits_set(limits, text, number);
    if (result == -ENOENT)
        PyErr_Format(PyExc_ValueError, "there is no limit %R", name);
    else if (result < 0)
        PyErr_Format(PyExc_ValueError, "limit %U: %llu is out of range", name, number);
    return result < 0 ? -1 : 0;
}

int limits_from_object(struct limits *limits, PyObject *dict)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    *limits = limits_default;
    if (!dict || dict == Py_None)
        return 0;
    if (!PyDict_Check(dict)) {
        PyErr_SetString(PyExc_TypeError, "limits must be a dict");
        return -1;
    }
    while (PyDict_Next(dict, &position, &name, &value))
        if (limit_set(limits, name, value) < 0)
            return -1;
    return 0;
}

static const char *const header_map_names[] = {[HEADER_MAP_DROP] = "drop",
                                               [HEADER_MAP_REFUSE] = "refuse",
                                               [HEADER_MAP_DANGEROUS] = "dangerous"};
static const char *const persistence_names[] = {[PERSISTENCE_ALWAYS] = "always",
                                                [PERSISTENCE_WITH_LENGTH] = "with_length",
                                                [PERSISTENCE_NEVER] = "never"};

/* Which of an option's three names the text is; -1 with an exception: none. */
static int choose(const char *option, const char *const names[3], const char *text)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    PyErr_Format(PyExc_ValueError, "%s is %s, %s or %s, not %s", option, names[0], names[1],
                 names[2], text);
    return -1;
}

int header_map_from_text(const char *text)
{
    return choose("header_map", header_map_names, text);
}

int persistence_from_text(const char *text)
{
    return choose("persistence", persistence_names, text);
}
