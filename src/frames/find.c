#include "frames/find.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "frames/memory.h"
#include "frames/published.h"

static const struct frames_layout *layout_of(uint64_t version)
{
    static const struct frames_layout *const known[] = {
        &frames_layout_3_10, &frames_layout_3_11, &frames_layout_3_12,
        &frames_layout_3_13, &frames_layout_3_14,
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (known[i]->version == version >> 16)
            return known[i];
    return NULL;
}

/* Is the type at `type` called `name`, and are its objects of that size? Tells debug builds,
 * patched ones and other implementations from what is known. */
static bool is_type(const struct frames *frames, uint64_t type, const char *name, uint64_t size)
{
    uint64_t name_address, found_size;
    char found[16];
    size_t len = strlen(name) + 1;
    return type != 0 && memory_copy(frames, type + TYPE_NAME, &name_address, 8) == 0 &&
           memory_copy(frames, name_address, found, len) == 0 && memcmp(found, name, len) == 0 &&
           memory_copy(frames, type + TYPE_BASIC_SIZE, &found_size, 8) == 0 && found_size == size;
}

int find_layout(struct frames *frames, const struct find_symbols *symbols)
{
    const struct frames_layout *layout = layout_of(symbols->version);
    if (symbols->version == 0)
        strcpy(frames->version, "older");
    else
        snprintf(frames->version, sizeof(frames->version), "%u.%u.%u",
                 (unsigned)(symbols->version >> 24) & 0xFF,
                 (unsigned)(symbols->version >> 16) & 0xFF,
                 (unsigned)(symbols->version >> 8) & 0xFF);
    if (!layout || symbols->runtime == 0 ||
        !is_type(frames, symbols->code_type, "code", layout->code.size) ||
        !is_type(frames, symbols->frame_type, "frame", layout->frame.size))
        return -ENOSYS;
    frames->layout = *layout;
    frames->runtime = symbols->runtime;
    frames->code_type = symbols->code_type;
    return layout->version >= 0x030D ? published_apply(frames, symbols->version) : 0;
}

/* Of an interpreter from before Py_Version (3.11), the same from its text. */
static uint64_t version_of_text(const char *text)
{
    unsigned major = 0, minor = 0, micro = 0;
    sscanf(text, "%u.%u.%u", &major, &minor, &micro);
    return (major & 0xFF) << 24 | (minor & 0xFF) << 16 | (micro & 0xFF) << 8;
}

int frames_find(struct frames *frames)
{
    *frames = (struct frames){.pid = 0};
    const unsigned long *version = dlsym(RTLD_DEFAULT, "Py_Version");
    const char *(*text)(void);
    *(void **)&text = dlsym(RTLD_DEFAULT, "Py_GetVersion");
    *(void **)&frames->thread_state = dlsym(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
    *(void **)&frames->running_state = dlsym(RTLD_DEFAULT, "PyThreadState_GetUnchecked");
    if (!frames->running_state) /* before 3.13 */
        *(void **)&frames->running_state = dlsym(RTLD_DEFAULT, "_PyThreadState_UncheckedGet");
    if (!text)
        return -ENOENT;
    struct find_symbols symbols = {
        .version = version ? *version : version_of_text(text()),
        .runtime = (uintptr_t)dlsym(RTLD_DEFAULT, "_PyRuntime"),
        .code_type = (uintptr_t)dlsym(RTLD_DEFAULT, "PyCode_Type"),
        .frame_type = (uintptr_t)dlsym(RTLD_DEFAULT, "PyFrame_Type"),
    };
    int result = find_layout(frames, &symbols);
    return frames->thread_state && frames->running_state ? result : -ENOSYS;
}
