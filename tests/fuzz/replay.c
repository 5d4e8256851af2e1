/* Gives each file of the folders named to the fuzz target it is linked with: what a fuzzer once
 * found stays a test, in builds without libFuzzer too. Usage: replay FOLDER... */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "pieces.h"

enum { FILE_MAX = 1 << 20 };

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "cannot open %s: %s\n", path, strerror(errno));
        return -1;
    }
    uint8_t *data = malloc(FILE_MAX);
    size_t size = data ? fread(data, 1, FILE_MAX, file) : 0;
    int result = data && !ferror(file) && feof(file) ? 0 : -1;
    fclose(file);
    if (result < 0)
        fprintf(stderr, "cannot read %s whole\n", path);
    else
        LLVMFuzzerTestOneInput(data, size);
    free(data);
    return result;
}

static int is_plain(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Returns the number of files, or -1. */
static int replay_folder(const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_plain, alphasort);
    if (count < 0) {
        fprintf(stderr, "cannot list %s: %s\n", folder, strerror(errno));
        return -1;
    }
    int result = count;
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        if (replay_file(path) < 0)
            result = -1;
        free(entries[i]);
    }
    free(entries);
    return result;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        int count = replay_folder(argv[i]);
        if (count <= 0) {
            fprintf(stderr, "nothing to replay in %s\n", argv[i]);
            return 1;
        }
        printf("%s: %d files\n", argv[i], count);
    }
    return 0;
}
