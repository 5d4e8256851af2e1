/* Symbols of a program or library in another process's memory, by the tables that its dynamic
 * linker uses (elf(5)). Everything read is held to be hostile. */
#ifndef ZOLAL_FRAMES_IMAGE_H
#define ZOLAL_FRAMES_IMAGE_H

#include "frames/frames.h"

/* An ELF image in the memory of `frames`; addresses are the process's. */
struct image {
    const struct frames *frames;
    uint64_t bias;    /* what is added to an address in the file */
    uint64_t symbols; /* DT_SYMTAB */
    uint64_t strings; /* DT_STRTAB */
    uint64_t hashes;  /* DT_GNU_HASH */
};

/* The image whose header is mapped at `base`. Returns 0; -ENOEXEC: it is none of this machine's, or
 * has no symbols; -errno of a read. */
int image_open(struct image *image, const struct frames *frames, uint64_t base);

/* Where the symbol that it defines is; 0: it defines no such one. */
uint64_t image_symbol(const struct image *image, const char *name);

#endif
