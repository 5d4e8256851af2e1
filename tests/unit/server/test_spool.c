#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/spool.h"

/* An errno for the next call of each kind; 0: it is made. The names are those of large files: meson
 * builds with _FILE_OFFSET_BITS=64. */
static int open_fails, pwrite_fails, pread_fails, allocation_fails;
static unsigned pwrite_calls;

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
ssize_t __real_pwrite64(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset);
ssize_t __real_pread64(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

static int fails(int *code)
{
    errno = *code;
    *code = 0;
    return errno != 0;
}

int __wrap_open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return open_fails && fails(&open_fails) ? -1 : __real_open64(path, flags, mode);
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t offset)
{
    pwrite_calls++;
    return pwrite_fails && fails(&pwrite_fails) ? -1 : __real_pwrite64(fd, data, len, offset);
}

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t offset)
{
    return pread_fails && fails(&pread_fails) ? -1 : __real_pread64(fd, data, len, offset);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return allocation_fails && fails(&allocation_fails) ? NULL
                                                        : __real_reallocarray(old, count, size);
}

/* Byte I of the body. */
static char body_byte(size_t i)
{
    return (char)('a' + i % 23);
}

/* Write `total` bytes in pieces of `piece`, then read them in pieces of `take`. */
static void round_trip(size_t memory_max, size_t total, size_t piece, size_t take)
{
    struct spool spool;
    char data[512];
    spool_init(&spool, memory_max);
    for (size_t done = 0; done < total;) {
        size_t len = total - done < piece ? total - done : piece;
        for (size_t i = 0; i < len; i++)
            data[i] = body_byte(done + i);
        assert_int_equal(spool_write(&spool, slice_of(data, len)), 0);
        done += len;
        assert_int_equal(spool_left(&spool), done);
    }
    assert_int_equal(spool.fd >= 0, total > memory_max);
    size_t got = 0;
    for (;;) {
        ssize_t n = spool_read(&spool, data, take);
        assert_true(n >= 0);
        if (n == 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(data[i], body_byte(got + (size_t)i));
        got += (size_t)n;
    }
    assert_int_equal(got, total);
    assert_int_equal(spool_left(&spool), 0);
    spool_release(&spool);
}

static void test_bytes_come_back_in_order(void **state)
{
    (void)state;
    round_trip(1000, 0, 10, 10);
    round_trip(1000, 999, 100, 7);
    round_trip(1000, 1000, 100, 512);
    round_trip(1000, 1001, 100, 512);
    round_trip(1000, 20000, 512, 511);
    round_trip(1, 300, 3, 5);
}

static void test_small_writes_reach_the_file_together(void **state)
{
    (void)state;
    pwrite_calls = 0;
    round_trip(1000, 20000, 1, 512);
    assert_true(pwrite_calls >= 1 && pwrite_calls <= 20);
    pwrite_calls = 0;
    round_trip(1000, 20000, 100, 1);
    assert_true(pwrite_calls >= 1 && pwrite_calls <= 20);
}

static void test_bytes_come_back_in_order_while_more_come(void **state)
{
    struct spool spool;
    size_t written = 0, got = 0;
    char data[7];
    (void)state;
    spool_init(&spool, 50);
    /* The front moves on while its end grows, in memory, in the file, and in memory again. */
    for (int turn = 0; turn < 2000; turn++) {
        size_t piece = turn % 600 < 400 ? 3 : 1;
        for (size_t i = 0; i < piece; i++) {
            char byte = body_byte(written++);
            assert_int_equal(spool_write(&spool, slice_of(&byte, 1)), 0);
        }
        ssize_t n = spool_read(&spool, data, turn % 600 < 400 ? 2 : 7);
        assert_true(n >= 0);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(data[i], body_byte(got + (size_t)i));
        got += (size_t)n;
        assert_int_equal(spool_left(&spool), written - got);
    }
    assert_true(spool.fd >= 0);
    assert_true(got > 1000);
    spool_release(&spool);
}

static void test_the_file_has_no_name(void **state)
{
    struct spool spool;
    struct stat status;
    (void)state;
    spool_init(&spool, 4);
    assert_int_equal(spool_write(&spool, SLICE("123456")), 0);
    assert_int_equal(fstat(spool.fd, &status), 0);
    assert_int_equal(status.st_nlink, 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(fcntl(spool.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    int fd = spool.fd;
    spool_release(&spool);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_a_file_system_without_o_tmpfile(void **state)
{
    struct spool spool;
    struct stat status;
    char data[8];
    (void)state;
    spool_init(&spool, 4);
    open_fails = EOPNOTSUPP;
    assert_int_equal(spool_write(&spool, SLICE("123456")), 0);
    assert_int_equal(fstat(spool.fd, &status), 0);
    assert_int_equal(status.st_nlink, 0);
    assert_int_equal(spool_read(&spool, data, 8), 6);
    spool_release(&spool);
}

static void test_failures_are_passed_on(void **state)
{
    struct spool spool;
    char data[8];
    (void)state;
    spool_init(&spool, 4);
    allocation_fails = ENOMEM;
    assert_int_equal(spool_write(&spool, SLICE("12")), -ENOMEM);
    open_fails = EMFILE;
    assert_int_equal(spool_write(&spool, SLICE("123456")), -EMFILE);
    assert_int_equal(spool.fd, -1);
    pwrite_fails = ENOSPC;
    assert_int_equal(spool_write(&spool, SLICE("123456")), -ENOSPC);
    pwrite_fails = EINTR;
    assert_int_equal(spool_write(&spool, SLICE("123456")), 0);
    pread_fails = EIO;
    assert_int_equal(spool_read(&spool, data, 8), -EIO);
    assert_int_equal(spool_read(&spool, data, 8), 6);
    spool_release(&spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_come_back_in_order),
        cmocka_unit_test(test_small_writes_reach_the_file_together),
        cmocka_unit_test(test_bytes_come_back_in_order_while_more_come),
        cmocka_unit_test(test_the_file_has_no_name),
        cmocka_unit_test(test_a_file_system_without_o_tmpfile),
        cmocka_unit_test(test_failures_are_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
