#include "preload/python_names.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "preload/stacks.h"

/* Where things are in objects: the same in all versions that are known. */
enum {
    OBJECT_TYPE = 8,
    TYPE_NAME = 24,
    TYPE_FLAGS = 168,
    FUNCTION_DEFINITION = 16, /* PyCFunctionObject: m_ml, m_self, m_module */
    FUNCTION_SELF = 24,
    FUNCTION_MODULE = 32,
    METHOD_DEFINITION = 40, /* PyMethodDescrObject.d_method */
    DEFINITION_NAME = 0,    /* PyMethodDef.ml_name */
};

#define IS_TYPE (UINT64_C(1) << 31) /* Py_TPFLAGS_TYPE_SUBCLASS, and of str */
#define IS_TEXT (UINT64_C(1) << 28)

enum { NAMES = 1 << 11, PART_SIZE = 40, TEXT_SIZE = 400 };

/* A name that was written: what it is made of is compared, since addresses are used again. */
struct name {
    char owner[PART_SIZE];
    char function[PART_SIZE];
    struct python_function number; /* without a name: empty */
    bool is_method;
};

static struct {
    const struct frames *frames;
    const void *function_type, *method_type, *module_type, *bound_type;
    struct name names[NAMES];
} self;

static const void *at(const void *object, size_t offset)
{
    const void *pointer;
    memcpy(&pointer, (const char *)object + offset, sizeof(pointer));
    return pointer;
}

static bool has_flag(const void *object, uint64_t flag)
{
    return (uintptr_t)at(at(object, OBJECT_TYPE), TYPE_FLAGS) & flag;
}

bool python_names_begin(const struct frames *frames)
{
    self.frames = frames;
    self.function_type = dlsym(RTLD_DEFAULT, "PyCFunction_Type");
    self.bound_type = dlsym(RTLD_DEFAULT, "PyCMethod_Type");
    self.method_type = dlsym(RTLD_DEFAULT, "PyMethodDescr_Type");
    self.module_type = dlsym(RTLD_DEFAULT, "PyModule_Type");
    return self.function_type && self.bound_type && self.method_type && self.module_type;
}

enum python_kind python_kind(const python_object *object)
{
    const void *type = at(object, OBJECT_TYPE);
    if (type == self.function_type || type == self.bound_type)
        return PYTHON_FUNCTION;
    return type == self.method_type ? PYTHON_METHOD : PYTHON_NO_C_FUNCTION;
}

/* The characters of a str of ASCII; "" of another. */
static const char *text_of(const void *object)
{
    const struct frames_layout *layout = &self.frames->layout;
    uint32_t state;
    if (!object || !has_flag(object, IS_TEXT))
        return "";
    memcpy(&state, (const char *)object + layout->text.state, sizeof(state));
    bool is_plain = (state >> layout->text.kind_shift & 0x18) == 0x18; /* compact, ascii */
    return is_plain ? (const char *)object + layout->text.ascii_size : "";
}

static struct python_function write_name(const char *owner, const char *function, bool is_method)
{
    char text[TEXT_SIZE];
    const char *dot = is_method ? strrchr(owner, '.') : NULL;
    owner = dot ? dot + 1 : owner;
    if (!is_method && strcmp(owner, "builtins") == 0)
        owner = "";
    int len = snprintf(text, sizeof(text), "%s%s%s", owner, *owner ? "." : "", function);
    uint32_t number = stacks_name(text, len < TEXT_SIZE ? (size_t)len : TEXT_SIZE - 1);
    return (struct python_function){.name = number, .place = stacks_place(number, 0)};
}

static struct python_function number_of(const char *owner, const char *function, bool is_method)
{
    uint64_t hash = ((uintptr_t)owner ^ (uintptr_t)function << 7) * UINT64_C(0x9e3779b97f4a7c15);
    struct name *name = &self.names[hash >> 53];
    if (__builtin_expect(name->number.name != 0 && name->is_method == is_method &&
                             strcmp(name->function, function) == 0 &&
                             strcmp(name->owner, owner) == 0,
                         1))
        return name->number;
    struct python_function number = write_name(owner, function, is_method);
    if (strlen(owner) < PART_SIZE && strlen(function) < PART_SIZE) {
        strcpy(name->owner, owner);
        strcpy(name->function, function);
        name->is_method = is_method;
        name->number = number;
    }
    return number;
}

struct python_function python_name(const python_object *function, const python_object *on)
{
    bool is_function = python_kind(function) == PYTHON_FUNCTION;
    const void *definition = at(function, is_function ? FUNCTION_DEFINITION : METHOD_DEFINITION);
    const void *owner = is_function ? at(function, FUNCTION_SELF) : on;
    const char *name = at(definition, DEFINITION_NAME);
    if (!owner || at(owner, OBJECT_TYPE) == self.module_type)
        return number_of(is_function ? text_of(at(function, FUNCTION_MODULE)) : "", name, false);
    if (!has_flag(owner, IS_TYPE))
        owner = at(owner, OBJECT_TYPE);
    return number_of(at(owner, TYPE_NAME), name, true);
}

void python_names_forget(void)
{
    memset(self.names, 0, sizeof(self.names));
}
