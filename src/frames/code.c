#include "frames/frames.h"

#include "frames/stream.h"

/* More characters than this are not looked at. */
#define TEXT_MAX UINT32_MAX

/* What the bits of PyASCIIObject.state say after `kind_shift`. */
#define STATE_KIND    7U
#define STATE_COMPACT 8U
#define STATE_ASCII   16U

/* PyASCIIObject.length and .hash */
enum { TEXT_LENGTH = 16, TEXT_HASH = 24 };

/* Add the character as UTF-8; false: it does not fit. */
static bool text_put(struct frames_text *text, uint32_t character)
{
    bool is_none = character > 0x10FFFF || (character >= 0xD800 && character < 0xE000);
    uint32_t c = is_none ? 0xFFFD : character;
    unsigned char bytes[4];
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len; i-- > 1; c >>= 6)
        bytes[i] = 0x80 | (c & 0x3F);
    bytes[0] = first[len] | (unsigned char)c;
    text->is_cut = text->size - text->len < len;
    if (text->is_cut)
        return false;
    memcpy(text->data + text->len, bytes, len);
    text->len += len;
    return true;
}

/* Where a str has its characters, and how many bytes of memory each takes: 1, 2 or 4; 0: it has
 * none that can be read. */
struct characters {
    uint64_t address;
    uint64_t count;
    unsigned size;
};

static struct characters characters_of(const struct frames *frames, uint64_t object)
{
    const struct frames_layout *layout = &frames->layout;
    struct characters none = {0, 0, 0};
    unsigned char bytes[FRAMES_STRUCT_MAX];
    uint64_t address;
    if (memory_copy(frames, object, bytes, layout->text.state + 4) < 0)
        return none;
    uint32_t state = memory_int(bytes, layout->text.state) >> layout->text.kind_shift;
    uint64_t count = memory_word(bytes, TEXT_LENGTH);
    unsigned size = state & STATE_KIND;
    if (size != 1 && size != 2 && size != 4)
        return none;
    address = object + (state & STATE_ASCII ? layout->text.ascii_size : layout->text.compact_size);
    /* An object of a subclass of str keeps them elsewhere. */
    if (!(state & STATE_COMPACT) &&
        memory_copy(frames, object + layout->text.compact_size, &address, sizeof(address)) < 0)
        return none;
    return (struct characters){address, count < TEXT_MAX ? count : TEXT_MAX, size};
}

static void text_copy(const struct frames *frames, uint64_t object, struct frames_text *text)
{
    struct characters characters = characters_of(frames, object);
    struct frames_stream stream;
    text->len = 0;
    text->is_cut = false;
    stream_begin(&stream, frames, characters.address, characters.count * characters.size);
    for (uint64_t i = 0; i < characters.count; i++) {
        uint32_t character = 0;
        for (unsigned k = 0; k < characters.size; k++) {
            int byte = stream_next(&stream);
            if (byte < 0)
                return;
            character |= (uint32_t)byte << (8 * k);
        }
        if (!text_put(text, character))
            return;
    }
}

static int read_code(const struct frames *frames, uint64_t code, struct frames_code *out)
{
    const struct frames_layout *layout = &frames->layout;
    unsigned char bytes[FRAMES_STRUCT_MAX];
    out->name.len = out->file.len = 0;
    if (!memory_copy_code(frames, code, bytes))
        return -EFAULT;
    out->flags = memory_int(bytes, layout->code.flags);
    out->first_line = memory_int(bytes, layout->code.first_line);
    text_copy(frames, memory_word(bytes, layout->code.name), &out->name);
    text_copy(frames, memory_word(bytes, layout->code.file), &out->file);
    return 0;
}

int frames_code(const struct frames *frames, uint64_t code, struct frames_code *out)
{
    struct memory_guard guard;
    return read_code(memory_guarded(&guard, frames), code, out);
}
