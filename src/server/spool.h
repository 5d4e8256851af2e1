/* A request body on its way to the application: in memory up to a limit, then in a temporary file
 * that has no name. Written at its end, read from its front. */
#ifndef ZOLAL_SERVER_SPOOL_H
#define ZOLAL_SERVER_SPOOL_H

#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/slice.h"

/* `fd`: the file, -1 while all is in memory. `written`, `read`: bytes of the file; what `memory`
 * holds comes behind them, so that small writes reach the file together. */
struct spool {
    struct buffer memory;
    int fd;
    uint64_t written;
    uint64_t read;
};

/* Empty, keeping at most `memory_max` bytes in memory. Allocates nothing. */
void spool_init(struct spool *spool, size_t memory_max);

/* Free the memory, close the file. */
void spool_release(struct spool *spool);

/* Add bytes. The file is made in $TMPDIR (else /tmp) by O_TMPFILE, else mkostemp(3) and unlink(2).
 * Returns 0, -ENOMEM, or -errno of the file (ENOSPC, EMFILE, EDQUOT). */
int spool_write(struct spool *spool, struct slice data);

/* Take at most `len` bytes off the front. Returns their number, 0 when empty, -errno of the file.
 */
ssize_t spool_read(struct spool *spool, void *data, size_t len);

/* Bytes that are not read yet. */
uint64_t spool_left(const struct spool *spool);

#endif
