#include "frames/image.h"

#include <elf.h>

#include "frames/memory.h"

/* So many program headers, entries of the dynamic section, and symbols with one hash are looked at.
 */
enum { HEADERS_MAX = 64, DYNAMIC_MAX = 256, CHAIN_MAX = 4096, NAME_MAX_LEN = 64 };

/* Addresses in the dynamic section are those of the file, or, with glibc, already the process's. */
static uint64_t in_process(const struct image *image, uint64_t address)
{
    return address < image->bias ? address + image->bias : address;
}

static int read_dynamic(struct image *image, uint64_t address, uint64_t len)
{
    for (uint64_t i = 0; i < len / sizeof(Elf64_Dyn) && i < DYNAMIC_MAX; i++) {
        Elf64_Dyn entry;
        int result = memory_copy(image->frames, address + i * sizeof(entry), &entry, sizeof(entry));
        if (result < 0)
            return result;
        if (entry.d_tag == DT_NULL)
            break;
        if (entry.d_tag == DT_SYMTAB)
            image->symbols = in_process(image, entry.d_un.d_ptr);
        if (entry.d_tag == DT_STRTAB)
            image->strings = in_process(image, entry.d_un.d_ptr);
        if (entry.d_tag == DT_GNU_HASH)
            image->hashes = in_process(image, entry.d_un.d_ptr);
    }
    return image->symbols && image->strings && image->hashes ? 0 : -ENOEXEC;
}

int image_open(struct image *image, const struct frames *frames, uint64_t base)
{
    Elf64_Ehdr header;
    Elf64_Phdr segment, dynamic = {.p_type = PT_NULL};
    *image = (struct image){.frames = frames};
    int result = memory_copy(frames, base, &header, sizeof(header));
    if (result < 0)
        return result;
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_phentsize != sizeof(segment) || header.e_phnum > HEADERS_MAX)
        return -ENOEXEC;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        result = memory_copy(frames, base + header.e_phoff + i * sizeof(segment), &segment,
                             sizeof(segment));
        if (result < 0)
            return result;
        if (segment.p_type == PT_LOAD && segment.p_offset == 0)
            image->bias = base - segment.p_vaddr;
        if (segment.p_type == PT_DYNAMIC)
            dynamic = segment;
    }
    return dynamic.p_type == PT_DYNAMIC
               ? read_dynamic(image, image->bias + dynamic.p_vaddr, dynamic.p_memsz)
               : -ENOEXEC;
}

static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;
    for (; *name; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

/* Is symbol number `index` defined here and called `name`? Then its address, else 0. */
static uint64_t symbol_if(const struct image *image, uint64_t index, const char *name)
{
    Elf64_Sym symbol;
    char found[NAME_MAX_LEN];
    size_t len = strlen(name) + 1;
    if (len > sizeof(found) ||
        memory_copy(image->frames, image->symbols + index * sizeof(symbol), &symbol,
                    sizeof(symbol)) < 0 ||
        symbol.st_shndx == SHN_UNDEF ||
        memory_copy(image->frames, image->strings + symbol.st_name, found, len) < 0 ||
        memcmp(found, name, len) != 0)
        return 0;
    return image->bias + symbol.st_value;
}

/* The table: how many buckets, the number of the first symbol, how many words of eight bytes a
 * filter has, its shift; the filter; the buckets, each a symbol's number; then a word for each
 * symbol from the first on, its hash with the lowest bit set where a bucket's symbols end. */
uint64_t image_symbol(const struct image *image, const char *name)
{
    uint32_t table[4], index, found = 0, hash = gnu_hash(name);
    if (memory_copy(image->frames, image->hashes, table, sizeof(table)) < 0 || table[0] == 0)
        return 0;
    uint64_t buckets = image->hashes + sizeof(table) + 8 * (uint64_t)table[2];
    uint64_t chains = buckets + 4 * (uint64_t)table[0];
    if (memory_copy(image->frames, buckets + 4 * (uint64_t)(hash % table[0]), &index, 4) < 0 ||
        index < table[1])
        return 0;
    for (uint64_t i = index; i < (uint64_t)index + CHAIN_MAX && !(found & 1); i++) {
        if (memory_copy(image->frames, chains + 4 * (i - table[1]), &found, 4) < 0)
            return 0;
        uint64_t address = (found | 1) == (hash | 1) ? symbol_if(image, i, name) : 0;
        if (address)
            return address;
    }
    return 0;
}
