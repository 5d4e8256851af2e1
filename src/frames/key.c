#include "frames/frames.h"

#include "frames/memory.h"

#define INLINE static inline __attribute__((always_inline))

/* PyASCIIObject: the fields before .state; .hash is -1 until it is asked for. */
enum { TEXT_LENGTH = 16, TEXT_HASH = 24 };

/* A sum of products: no product waits for another, and a single word that differs always shows. */
struct sum {
    uint64_t total;
    uint64_t factor;
};

INLINE void sum_add(struct sum *sum, uint64_t word)
{
    sum->factor += UINT64_C(0x9E3779B97F4A7C16); /* even: what is added to stays odd */
    sum->total += word * sum->factor;
}

/* Two words that end at `end`. */
INLINE void sum_add_end(struct sum *sum, const struct frames *frames, bool is_own, uint64_t end)
{
    unsigned char bytes[16] = {0};
    const unsigned char *view = memory_view(frames, is_own, end - 16, bytes, 16);
    if (view) {
        sum_add(sum, memory_word(view, 0));
        sum_add(sum, memory_word(view, 8));
    }
}

/* A str: its hash if it has one, its length, and how it ends; names that are made by counting
 * differ there. The header that comes before short characters does no harm. */
INLINE void sum_add_text(struct sum *sum, const struct frames *frames, bool is_own, uint64_t object)
{
    const struct frames_layout *layout = &frames->layout;
    unsigned char bytes[FRAMES_STRUCT_MAX];
    const unsigned char *text = memory_view(frames, is_own, object, bytes, layout->text.state + 4);
    sum_add(sum, object);
    if (!text)
        return;
    uint32_t state = memory_int(text, layout->text.state) >> layout->text.kind_shift;
    uint64_t length = memory_word(text, TEXT_LENGTH);
    uint64_t begin = state & 16 ? layout->text.ascii_size : layout->text.compact_size;
    sum_add(sum, length ^ memory_word(text, TEXT_HASH));
    if (state & 8) /* compact: the characters follow */
        sum_add_end(sum, frames, is_own, object + begin + length * (state & 7));
}

INLINE void sum_add_bytes(struct sum *sum, const struct frames *frames, bool is_own,
                          uint64_t object)
{
    unsigned char bytes[BYTES_DATA];
    const unsigned char *view = memory_view(frames, is_own, object, bytes, sizeof(bytes));
    sum_add(sum, object);
    if (!view)
        return;
    uint64_t size = memory_word(view, OBJECT_SIZE);
    sum_add(sum, size);
    sum_add_end(sum, frames, is_own, object + BYTES_DATA + size);
}

INLINE uint64_t code_key(const struct frames *frames, bool is_own, uint64_t code)
{
    const struct frames_layout *layout = &frames->layout;
    unsigned char bytes[FRAMES_STRUCT_MAX];
    const unsigned char *view = memory_view(frames, is_own, code, bytes, layout->code.size);
    if (!view || memory_word(view, OBJECT_TYPE) != frames->code_type ||
        memory_int(view, OBJECT_REFERENCES) == 0)
        return 0;
    uint64_t first_line = memory_int(view, layout->code.first_line);
    uint64_t version = layout->code.version ? memory_int(view, layout->code.version) : 0;
    if (version != 0) /* 0: four thousand million code objects have been made */
        return version << 32 | first_line;
    struct sum sum = {0, 1};
    sum_add(&sum, first_line);
    sum_add_text(&sum, frames, is_own, memory_word(view, layout->code.name));
    sum_add_text(&sum, frames, is_own, memory_word(view, layout->code.file));
    sum_add_bytes(&sum, frames, is_own, memory_word(view, layout->code.linetable));
    return sum.total ? sum.total : 1;
}

void frames_code_keys(const struct frames *frames, const struct frames_key *keys, size_t count,
                      uint64_t *code_keys)
{
    struct memory_guard guard;
    const struct frames *guarded = memory_guarded(&guard, frames);
    for (size_t i = 0; guarded->read && i < count; i++)
        code_keys[i] = code_key(guarded, false, keys[i].code);
    for (size_t i = 0; !guarded->read && i < count; i++)
        code_keys[i] = code_key(guarded, true, keys[i].code);
}

uint64_t frames_code_key(const struct frames *frames, uint64_t code)
{
    return code_key(frames, !frames->read, code);
}
