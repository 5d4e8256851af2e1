#include "server/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void spool_init(struct spool *spool, size_t memory_max)
{
    buffer_init(&spool->memory, memory_max);
    spool->fd = -1;
    spool->written = 0;
    spool->read = 0;
}

void spool_release(struct spool *spool)
{
    buffer_release(&spool->memory);
    if (spool->fd >= 0)
        close(spool->fd);
    spool->fd = -1;
}

/* A file without a name. Returns the descriptor or -errno. */
static int spool_open(void)
{
    const char *folder = getenv("TMPDIR");
    if (!folder || folder[0] != '/')
        folder = "/tmp";
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
        return -errno;
    char path[4096]; /* file systems without O_TMPFILE, open(2) */
    int len = snprintf(path, sizeof(path), "%s/zolal-body-XXXXXX", folder);
    if (len < 0 || (size_t)len >= sizeof(path))
        return -ENAMETOOLONG;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -errno;
    unlink(path);
    return fd;
}

/* Write all of `data` at the end of the file. */
static int spool_write_file(struct spool *spool, struct slice data)
{
    while (data.len > 0) {
        ssize_t n = pwrite(spool->fd, data.data, data.len, (off_t)spool->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENOSPC;
        spool->written += (uint64_t)n;
        data.data += n;
        data.len -= (size_t)n;
    }
    return 0;
}

/* Move what memory holds to the file, which is made when there is none. */
static int spool_empty_memory(struct spool *spool)
{
    if (spool->fd < 0) {
        int fd = spool_open();
        if (fd < 0)
            return fd;
        spool->fd = fd;
    }
    int result = spool_write_file(spool, buffer_slice(&spool->memory));
    if (result == 0)
        buffer_consume(&spool->memory, buffer_len(&spool->memory));
    return result;
}

int spool_write(struct spool *spool, struct slice data)
{
    int result = buffer_append(&spool->memory, data);
    if (result != -ENOBUFS)
        return result;
    result = spool_empty_memory(spool);
    if (result < 0)
        return result;
    if (data.len < spool->memory.max)
        return buffer_append(&spool->memory, data);
    return spool_write_file(spool, data);
}

ssize_t spool_read(struct spool *spool, void *data, size_t len)
{
    uint64_t left = spool->written - spool->read;
    if (left == 0) {
        size_t in_memory = buffer_len(&spool->memory);
        size_t n = len < in_memory ? len : in_memory;
        if (n > 0)
            memcpy(data, buffer_slice(&spool->memory).data, n);
        buffer_consume(&spool->memory, n);
        return (ssize_t)n;
    }
    size_t want = len < left ? len : (size_t)left;
    ssize_t n = pread(spool->fd, data, want, (off_t)spool->read);
    if (n <= 0)
        return n < 0 ? -errno : -EIO;
    spool->read += (uint64_t)n;
    return n;
}

uint64_t spool_left(const struct spool *spool)
{
    return buffer_len(&spool->memory) + (spool->written - spool->read);
}
