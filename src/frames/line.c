#include "frames/frames.h"

#include "frames/stream.h"

/* A line table of more bytes is none. */
#define LINETABLE_MAX (1 << 26)

/* 3.10 (Objects/lnotab_notes.txt): pairs of bytes, how many bytes of code and how many lines
 * further on they are; -128: they have no line. */
static int64_t line_by_pairs(struct frames_stream *table, int64_t line, uint64_t instruction)
{
    uint64_t end = 0;
    int bytes, lines;
    while ((bytes = stream_next(table)) >= 0 && (lines = stream_next(table)) >= 0) {
        bool is_none = (int8_t)lines == -128;
        end += (uint64_t)bytes;
        line += is_none ? 0 : (int8_t)lines;
        if (instruction < end)
            return is_none ? 0 : line;
    }
    return 0;
}

/* A signed number in groups of six bits, lowest first; bit 6: more follow. The lowest bit of all is
 * the sign. */
static int64_t read_signed(struct frames_stream *table)
{
    uint64_t number = 0;
    int byte, shift = 0;
    do {
        byte = stream_next(table);
        if (byte >= 0 && shift < 36)
            number |= (uint64_t)(byte & 0x3F) << shift;
        shift += 6;
    } while (byte >= 0 && byte & 0x40);
    return number & 1 ? -(int64_t)(number >> 1) : (int64_t)(number >> 1);
}

/* From 3.11 on (Objects/locations.md, later InternalDocs/code_objects.md): entries, each of a byte
 * with bit 7 set and some without. In the first one the kind of the entry, and for how many
 * instructions (units of two bytes) it is. */
static int64_t line_by_entries(struct frames_stream *table, int64_t line, uint64_t instruction)
{
    enum { ONE_LINE_0 = 10, ONE_LINE_2 = 12, NO_COLUMNS = 13, LONG = 14, NONE = 15 };
    uint64_t end = 0;
    int first;
    while ((first = stream_next(table)) >= 0) {
        int kind = first >> 3 & 15;
        end += 2 * ((uint64_t)(first & 7) + 1);
        if (kind >= ONE_LINE_0 && kind <= ONE_LINE_2)
            line += kind - ONE_LINE_0;
        else if (kind == NO_COLUMNS || kind == LONG)
            line += read_signed(table);
        if (instruction < end)
            return kind == NONE ? 0 : line;
        for (int byte; (byte = stream_peek(table)) >= 0 && !(byte & 0x80); table->at++)
            ;
    }
    return 0;
}

static uint32_t read_line(const struct frames *frames, uint64_t code, uint64_t instruction)
{
    const struct frames_layout *layout = &frames->layout;
    struct frames_stream table;
    unsigned char bytes[FRAMES_STRUCT_MAX];
    uint64_t size;
    if (!memory_copy_code(frames, code, bytes))
        return 0;
    uint64_t linetable = memory_word(bytes, layout->code.linetable);
    int64_t line = (int32_t)memory_int(bytes, layout->code.first_line);
    if (memory_copy(frames, linetable + OBJECT_SIZE, &size, sizeof(size)) < 0 ||
        size > LINETABLE_MAX)
        return 0;
    stream_begin(&table, frames, linetable + BYTES_DATA, size);
    line = layout->version == 0x030A ? line_by_pairs(&table, line, instruction)
                                     : line_by_entries(&table, line, instruction);
    return line > 0 && line <= INT32_MAX ? (uint32_t)line : 0;
}

uint32_t frames_line(const struct frames *frames, uint64_t code, uint64_t instruction)
{
    struct memory_guard guard;
    return read_line(memory_guarded(&guard, frames), code, instruction);
}
