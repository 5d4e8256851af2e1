#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trace/reader.h"
#include "trace/recorder.h"
#include "trace/recording.h"

/* An errno for the next call of each kind; 0: it is made. */
static int open_fails, fallocate_fails, mmap_fails, calloc_fails;

static int fails(int *code)
{
    errno = *code;
    *code = 0;
    return errno;
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_posix_fallocate64(int fd, off_t offset, off_t len);
int __wrap_posix_fallocate64(int fd, off_t offset, off_t len);
void *__real_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t offset);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

int __wrap_open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return open_fails && fails(&open_fails) ? -1 : __real_open64(path, flags, mode);
}

int __wrap_posix_fallocate64(int fd, off_t offset, off_t len)
{
    return fallocate_fails ? fails(&fallocate_fails) : __real_posix_fallocate64(fd, offset, len);
}

void *__wrap_mmap64(void *addr, size_t len, int protection, int flags, int fd, off_t offset)
{
    if (mmap_fails && fails(&mmap_fails))
        return MAP_FAILED;
    return __real_mmap64(addr, len, protection, flags, fd, offset);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return calloc_fails && fails(&calloc_fails) ? NULL : __real_calloc(count, size);
}

static char folder[] = "/tmp/zolal-recording-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return !mkdtemp(folder) || setenv("XDG_RUNTIME_DIR", folder, 1);
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); /* fails when a recording was left */
}

static struct recording *create(size_t size)
{
    struct recording *recording;
    struct error err = {0};
    assert_int_equal(recording_create(&recording, size, &err), 0);
    assert_int_equal(strncmp(recording_path(recording), folder, strlen(folder)), 0);
    return recording;
}

static void test_the_file_is_ours_alone_and_whole(void **state)
{
    struct stat status;
    (void)state;
    struct recording *recording = create(0);
    assert_int_equal(stat(recording_path(recording), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_true(status.st_size <= RECORDING_DEFAULT_SIZE);
    assert_true(status.st_blocks * 512 >= status.st_size); /* nothing sparse */
    char path[256];
    strcpy(path, recording_path(recording));
    recording_close(recording, true);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_what_an_earlier_process_left_is_replaced(void **state)
{
    (void)state;
    struct recording *recording = create(0);
    char path[256];
    strcpy(path, recording_path(recording));
    recording_close(recording, false);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    assert_int_equal(symlink("/nowhere/else", path), 0); /* nor is a link followed */
    recording = create(0);
    assert_string_equal(recording_path(recording), path);
    recording_close(recording, true);
}

static void test_without_a_file_it_lies_in_memory(void **state)
{
    struct {
        int *call;
        int code;
    } rows[] = {{&open_fails, EACCES}, {&fallocate_fails, ENOSPC}, {&mmap_fails, ENOMEM}};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct recording *recording;
        struct error err = {0};
        *rows[i].call = rows[i].code;
        assert_int_equal(recording_create(&recording, 0, &err), 0);
        assert_string_equal(recording_path(recording), "");
        assert_int_equal(err.code, rows[i].code);
        assert_non_null(strstr(err.text, strerror(rows[i].code)));
        assert_int_equal(recorder_attach(recording), 0);
        trace_call(TRACE_CLOSE, 3, 0, 0, trace_start());
        recorder_detach();
        recording_close(recording, true);
    }
}

static void test_without_memory_there_is_none(void **state)
{
    struct recording *recording = NULL;
    struct error err = {0};
    (void)state;
    calloc_fails = ENOMEM;
    assert_int_equal(recording_create(&recording, 0, &err), -ENOMEM);
    open_fails = EACCES;
    mmap_fails = ENOMEM;
    assert_int_equal(recording_create(&recording, 0, &err), -ENOMEM);
    recording = create(0);
    calloc_fails = ENOMEM;
    assert_int_equal(recorder_attach(recording), -ENOMEM);
    assert_null(recorder_here);
    recording_close(recording, true);
}

static void test_sizes_are_bounded(void **state)
{
    struct stat status;
    (void)state;
    struct recording *recording = create(1);
    assert_int_equal(stat(recording_path(recording), &status), 0);
    assert_int_equal(status.st_size,
                     RECORDING_HEADER_SIZE + RECORDING_NAMES_SIZE + 2 * RECORDING_CHUNK_SIZE);
    recording_close(recording, true);
}

/* What a forked child does is not in its parent's recording. */
static void test_a_child_leaves_it_alone(void **state)
{
    struct reader *reader;
    struct reader_event event;
    (void)state;
    struct recording *recording = create(0);
    assert_int_equal(recorder_attach(recording), 0);
    assert_int_equal(recorder_attach(recording), -EBUSY);
    pid_t pid = fork();
    if (pid == 0) {
        recorder_forget();
        recording_forget(recording);
        trace_call(TRACE_CLOSE, 3, 0, 0, trace_start());
        _exit(recorder_here != NULL);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    trace_call(TRACE_SHUTDOWN, 4, 0, 0, trace_start());
    assert_int_equal(reader_open(&reader, recording_path(recording), 0, NULL), 0);
    assert_int_equal(reader_header(reader)->state, RECORDING_LIVE);
    assert_int_equal(reader_next(reader, &event), 1);
    assert_int_equal(event.event.op, TRACE_SHUTDOWN);
    assert_int_equal(reader_next(reader, &event), 0);
    reader_close(reader);
    recorder_detach();
    recording_close(recording, true);
}

/* A process that is killed leaves what it recorded. */
static void test_a_killed_process_can_be_read(void **state)
{
    int pipes[2];
    char path[256] = "";
    struct reader *reader;
    struct reader_event event;
    (void)state;
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct recording *recording;
        recording_create(&recording, 0, NULL);
        recorder_attach(recording);
        for (int i = 0; i < 100; i++)
            trace_call(TRACE_CLOSE, i, 0, 0, trace_start());
        ssize_t written = write(pipes[1], recording_path(recording), 256);
        _exit(written == 256 ? raise(SIGKILL) : 1);
    }
    assert_int_equal(read(pipes[0], path, sizeof(path)), sizeof(path));
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(reader_open(&reader, path, 0, NULL), 0);
    assert_int_equal(reader_header(reader)->pid, pid);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(reader_next(reader, &event), 1);
        assert_int_equal(event.event.fd, i);
    }
    assert_int_equal(reader_next(reader, &event), 0);
    reader_close(reader);
    unlink(path);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_file_is_ours_alone_and_whole),
        cmocka_unit_test(test_what_an_earlier_process_left_is_replaced),
        cmocka_unit_test(test_without_a_file_it_lies_in_memory),
        cmocka_unit_test(test_without_memory_there_is_none),
        cmocka_unit_test(test_sizes_are_bounded),
        cmocka_unit_test(test_a_child_leaves_it_alone),
        cmocka_unit_test(test_a_killed_process_can_be_read),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
