#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include "frames/image.h"
#include "memory.h"

static struct frames frames = {.pid = 1, .read = memory_read};
static uint64_t libc_base;
static size_t dynamic_offset, dynamic_len;

/* Where its dynamic section says that a table is, which is where the linker has it: in the copy. */
static void move_tables(void)
{
    for (size_t at = dynamic_offset; at < dynamic_offset + dynamic_len; at += sizeof(ElfW(Dyn))) {
        ElfW(Dyn) entry;
        memcpy(&entry, memory_bytes + at, sizeof(entry));
        if (entry.d_tag == DT_SYMTAB || entry.d_tag == DT_STRTAB || entry.d_tag == DT_GNU_HASH)
            entry.d_un.d_ptr += MEMORY_BASE - libc_base;
        memcpy(memory_bytes + at, &entry, sizeof(entry));
    }
}

/* Take a copy of the C library as it lies in memory. */
static int copy_libc(struct dl_phdr_info *info, size_t size, void *unused)
{
    if (!strstr(info->dlpi_name, "libc.so"))
        return 0;
    libc_base = info->dlpi_addr;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        size_t end = part->p_vaddr + part->p_memsz;
        if (part->p_type == PT_DYNAMIC) {
            dynamic_offset = part->p_vaddr;
            dynamic_len = part->p_memsz;
        }
        if (part->p_type == PT_LOAD && end > memory_len) {
            memory_bytes = realloc(memory_bytes, end);
            if (!memory_bytes)
                return -1;
            memset(memory_bytes + memory_len, 0, end - memory_len);
            memory_len = end;
            memcpy(memory_bytes + part->p_vaddr, (void *)(libc_base + part->p_vaddr),
                   part->p_memsz);
        }
    }
    move_tables();
    return 1;
}

static void test_symbols_are_what_dlsym_finds(void **state)
{
    static const char *const names[] = {"malloc", "printf", "environ", "fork", "getpid", "qsort"};
    struct image image;
    void *libc = dlopen("libc.so.6", RTLD_NOW);
    assert_non_null(libc);
    assert_int_equal(image_open(&image, &frames, MEMORY_BASE), 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        uint64_t address = image_symbol(&image, names[i]);
        assert_int_equal(address - MEMORY_BASE, (uintptr_t)dlsym(libc, names[i]) - libc_base);
    }
    assert_int_equal(image_symbol(&image, "no_such_function"), 0);
    assert_int_equal(image_symbol(&image, ""), 0);
    dlclose(libc);
}

static void test_what_is_no_image(void **state)
{
    struct image image;
    unsigned char was = memory_bytes[0];
    memory_bytes[0] = 0;
    assert_int_equal(image_open(&image, &frames, MEMORY_BASE), -ENOEXEC);
    memory_bytes[0] = was;
    assert_int_equal(image_open(&image, &frames, 8), -EFAULT);
}

static void test_an_image_that_is_not_to_be_trusted(void **state)
{
    struct image image;
    uint64_t seed = 1;
    assert_int_equal(image_open(&image, &frames, MEMORY_BASE), 0);
    size_t hashes = image.hashes - MEMORY_BASE;
    size_t headers_len = sizeof(ElfW(Ehdr)) + 14 * sizeof(ElfW(Phdr));
    for (unsigned turn = 0; turn < 6000; turn++) {
        size_t at = turn % 3 == 0   ? hashes + chance(&seed, 16 + turn)
                    : turn % 3 == 1 ? dynamic_offset + chance(&seed, dynamic_len)
                                    : chance(&seed, headers_len);
        unsigned char was = memory_bytes[at];
        memory_bytes[at] = (unsigned char)chance(&seed, 256);
        if (image_open(&image, &frames, MEMORY_BASE) == 0)
            image_symbol(&image, turn % 2 ? "malloc" : "printf");
        memory_bytes[at] = was;
    }
}

static void test_this_program_has_no_python(void **state)
{
    struct frames found;
    assert_int_equal(frames_find(&found), -ENOENT);
    assert_string_equal(found.version, "");
    int result = frames_find_remote(&found, getpid());
    assert_true(result == -ENOENT || result == -EPERM || result == -ENOSYS);
}

static int set_up(void **state)
{
    return dl_iterate_phdr(copy_libc, NULL) == 1 ? 0 : -1;
}

static int tear_down(void **state)
{
    free(memory_bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_symbols_are_what_dlsym_finds),
        cmocka_unit_test(test_what_is_no_image),
        cmocka_unit_test(test_an_image_that_is_not_to_be_trusted),
        cmocka_unit_test(test_this_program_has_no_python),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
