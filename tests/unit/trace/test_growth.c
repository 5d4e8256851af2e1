#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/reader.h"
#include "trace/recorder.h"
#include "trace/recording.h"

#define CHUNK_EVENTS (RECORDING_CHUNK_SIZE / 64 - 1)
#define SIZE         (32u << 20)

static char folder[] = "/tmp/zolal-growth-XXXXXX", path[64], copy[64];
static struct recording *recording;

/* The number of the call from which on it fails, counted down; 0: never. */
static int madvise_fails, mremap_fails, code_of_failure;

int __real_madvise(void *addr, size_t len, int advice);
int __wrap_madvise(void *addr, size_t len, int advice);
void *__real_mremap(void *addr, size_t old_len, size_t len, int flags, ...);
void *__wrap_mremap(void *addr, size_t old_len, size_t len, int flags, ...);

static bool fails(int *calls)
{
    if (*calls == 0 || --*calls > 0)
        return false;
    *calls = 1;
    errno = code_of_failure;
    return true;
}

int __wrap_madvise(void *addr, size_t len, int advice)
{
    return fails(&madvise_fails) ? -1 : __real_madvise(addr, len, advice);
}

void *__wrap_mremap(void *addr, size_t old_len, size_t len, int flags, ...)
{
    return fails(&mremap_fails) ? MAP_FAILED : __real_mremap(addr, old_len, len, flags);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/one", folder);
    snprintf(copy, sizeof(copy), "%s/copy", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int remove_files(void **state)
{
    (void)state;
    madvise_fails = mremap_fails = 0;
    unlink(path);
    unlink(copy);
    return 0;
}

static void begin(size_t size, _Atomic int64_t *budget)
{
    struct error err = {0};
    assert_int_equal(recording_create_growing(&recording, path, size, budget, 7, &err), 0);
    assert_int_equal(recorder_attach(recording), 0);
}

static void write_calls(int count)
{
    for (int i = 0; i < count; i++)
        trace_call(TRACE_CLOSE, i, 0, 0, trace_start());
}

static void end(void)
{
    recorder_detach();
    recording_close(recording, false);
}

struct found {
    int calls, lost;
    int first, last; /* descriptors */
    uint32_t filled_up;
};

static struct found read_back(const char *from, uint64_t offset)
{
    struct reader *reader;
    struct reader_event event;
    struct found found = {.first = -1};
    assert_int_equal(reader_open(&reader, from, offset, NULL), 0);
    while (reader_next(reader, &event)) {
        if (event.event.kind == TRACE_LOST) {
            found.lost += (int)event.event.argument;
            continue;
        }
        found.first = found.first < 0 ? event.event.fd : found.first;
        found.last = event.event.fd;
        found.calls++;
    }
    found.filled_up = reader_header(reader)->filled_up;
    assert_int_equal(reader_header(reader)->parent, 7);
    reader_close(reader);
    return found;
}

static void test_it_takes_what_it_needs(void **state)
{
    struct stat status;
    (void)state;
    begin(SIZE, NULL);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_true(status.st_size > SIZE - RECORDING_CHUNK_SIZE && status.st_size <= SIZE);
    assert_true(status.st_blocks * 512 <= 4 * RECORDING_CHUNK_SIZE);
    write_calls(10);
    end();
    struct found found = read_back(path, 0);
    assert_int_equal(found.calls, 10);
    assert_int_equal(found.filled_up, 0);
}

/* More than one segment, which are mapped one by one. */
static void test_it_grows_to_its_size_and_goes_round(void **state)
{
    (void)state;
    begin(SIZE, NULL);
    write_calls(200 * (int)CHUNK_EVENTS);
    struct found found = read_back(path, 0);
    assert_int_equal(found.calls, 200 * CHUNK_EVENTS);
    assert_int_equal(found.lost, 0);
    write_calls(1000 * (int)CHUNK_EVENTS);
    end();
    found = read_back(path, 0);
    assert_int_equal(found.last, 1000 * CHUNK_EVENTS - 1);
    assert_int_equal(found.calls + found.lost, 1200 * CHUNK_EVENTS);
    assert_int_equal(found.filled_up, 0);
}

static void test_the_budget_is_shared_and_kept(void **state)
{
    _Atomic int64_t budget = 5 * RECORDING_CHUNK_SIZE + 1;
    (void)state;
    begin(SIZE, &budget);
    write_calls(20 * (int)CHUNK_EVENTS);
    end();
    struct found found = read_back(path, 0);
    assert_int_equal(budget, 1);
    assert_int_equal(found.filled_up, EDQUOT);
    assert_int_equal(found.last, 20 * CHUNK_EVENTS - 1);
    /* Two are free, and five were paid for. */
    assert_int_equal(found.calls, 7 * CHUNK_EVENTS);
    assert_int_equal(found.lost, 13 * CHUNK_EVENTS);
    unlink(path);
    begin(SIZE, &budget); /* one that comes late is seen, too */
    write_calls(10);
    end();
    assert_int_equal(read_back(path, 0).calls, 10);
}

static void test_a_full_disk(void **state)
{
    _Atomic int64_t budget = 1 << 30;
    (void)state;
    begin(SIZE, &budget);
    write_calls(4 * (int)CHUNK_EVENTS);
    int64_t before = budget;
    madvise_fails = 1;
    code_of_failure = EFAULT;
    write_calls(4 * (int)CHUNK_EVENTS);
    end();
    struct found found = read_back(path, 0);
    assert_int_equal(found.filled_up, ENOSPC);
    assert_int_equal(found.last, 4 * CHUNK_EVENTS - 1);
    assert_int_equal(found.calls, 4 * CHUNK_EVENTS);
    assert_int_equal(budget, before);
}

static void test_names_on_a_full_disk(void **state)
{
    char text[800];
    (void)state;
    memset(text, 'n', sizeof(text));
    begin(SIZE, NULL);
    for (int i = 0; i < 60; i++)
        assert_int_not_equal(trace_name(slice_of(text, sizeof(text))), 0);
    madvise_fails = 1;
    code_of_failure = EFAULT;
    for (int i = 0; i < 60; i++)
        trace_name(slice_of(text, sizeof(text)));
    assert_int_equal(trace_name(slice_of(text, sizeof(text))), 0);
    end();
}

static void test_no_room_for_addresses(void **state)
{
    (void)state;
    begin(SIZE, NULL);
    mremap_fails = 1;
    code_of_failure = ENOMEM;
    write_calls(100 * (int)CHUNK_EVENTS);
    end();
    struct found found = read_back(path, 0);
    assert_int_equal(found.filled_up, ENOMEM);
    assert_int_equal(found.calls, 64 * CHUNK_EVENTS); /* the first segment */
    assert_int_equal(found.last, 100 * CHUNK_EVENTS - 1);
}

static void test_what_cannot_be_made(void **state)
{
    struct error err = {0};
    struct rlimit most, less;
    (void)state;
    madvise_fails = 1;
    code_of_failure = EINVAL;
    assert_int_equal(recording_create_growing(&recording, path, SIZE, NULL, 7, &err), -EINVAL);
    assert_int_equal(access(path, F_OK), -1);
    madvise_fails = 0;
    getrlimit(RLIMIT_FSIZE, &most);
    less = (struct rlimit){1000, most.rlim_max};
    setrlimit(RLIMIT_FSIZE, &less); /* and no SIGXFSZ comes */
    assert_int_equal(recording_create_growing(&recording, path, SIZE, NULL, 7, &err), -EFBIG);
    setrlimit(RLIMIT_FSIZE, &most);
    assert_int_equal(access(path, F_OK), -1);
    begin(SIZE, NULL);
    struct recording *other;
    assert_int_equal(recording_create_growing(&other, path, SIZE, NULL, 7, &err), -EEXIST);
    end();
    unlink(path);
    assert_int_equal(recording_create_growing(&other, "/nowhere/one", SIZE, NULL, 7, &err),
                     -ENOENT);
}

static void *write_in_thread(void *unused)
{
    (void)unused;
    recorder_attach(recording);
    write_calls(20 * (int)CHUNK_EVENTS);
    recorder_detach();
    return NULL;
}

static void test_threads_that_grow_it_together(void **state)
{
    pthread_t ids[8];
    _Atomic int64_t budget = 1 << 30;
    (void)state;
    begin(SIZE, &budget);
    for (int i = 0; i < 8; i++)
        pthread_create(&ids[i], NULL, write_in_thread, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(ids[i], NULL);
    end();
    struct found found = read_back(path, 0);
    assert_int_equal(found.calls, 160 * CHUNK_EVENTS);
    assert_int_equal(budget % RECORDING_CHUNK_SIZE, 0);
}

enum { TOGETHER = 16, ROUNDS = 100 };

static void *write_three(void *barrier)
{
    recorder_attach(recording);
    write_calls(3);
    pthread_barrier_wait(barrier); /* all have a chunk */
    recorder_detach();
    return NULL;
}

/* A server's threads, as many at once as it has clients: those that come go on in the chunks of all
 * that have gone, not of the last one only. */
static void test_threads_that_end_together_leave_their_room(void **state)
{
    pthread_t ids[TOGETHER];
    pthread_barrier_t barrier;
    _Atomic int64_t budget = 1 << 30;
    (void)state;
    pthread_barrier_init(&barrier, NULL, TOGETHER);
    begin(SIZE, &budget);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < TOGETHER; i++)
            pthread_create(&ids[i], NULL, write_three, &barrier);
        for (int i = 0; i < TOGETHER; i++)
            pthread_join(ids[i], NULL);
    }
    end();
    pthread_barrier_destroy(&barrier);
    assert_int_equal(read_back(path, 0).calls, TOGETHER * ROUNDS * 3);
    int64_t taken = ((1 << 30) - budget) / RECORDING_CHUNK_SIZE;
    assert_true(taken <= TOGETHER + TOGETHER * ROUNDS * 4 / (int)CHUNK_EVENTS);
}

/* What belongs to a call is told with it, at a chunk's end, too. */
static void test_arguments_stay_with_their_call(void **state)
{
    struct reader *reader;
    struct reader_event event;
    int sizes[] = {0, 8, 48}, count = 0;
    char args[48] = "arguments", line[] = "GET /a/path/that/is/longer/than/one/slot HTTP/1.1";
    (void)state;
    begin(SIZE, NULL);
    for (int i = 0; i < 5000; i++) {
        trace_call_args(TRACE_ACCEPT, i, 0, 0, trace_start(), args, (size_t)sizes[i % 3]);
        if (i % 7 == 0)
            trace_first_line(i, TRACE_SENT, slice_of_text(line));
    }
    end();
    assert_int_equal(reader_open(&reader, path, 0, NULL), 0);
    while (reader_next(reader, &event)) {
        if (event.event.kind == TRACE_FIRST_LINE) {
            assert_int_equal(event.args_len, strlen(line));
            assert_memory_equal(event.args, line, strlen(line));
            continue;
        }
        assert_int_equal(event.event.kind, TRACE_CALL);
        assert_int_equal(event.event.fd, count);
        assert_int_equal(event.args_len, sizes[count % 3]);
        count++;
    }
    assert_int_equal(count, 5000);
    reader_close(reader);
}

/* A copy has what the original has, without its holes, and may begin anywhere in a file. */
static void test_a_copy(void **state)
{
    struct reader *reader;
    struct stat status;
    (void)state;
    begin(SIZE, NULL);
    write_calls(3 * (int)CHUNK_EVENTS);
    uint32_t name = trace_name(slice_of_text("main (app.py)"));
    end();
    assert_int_equal(reader_open(&reader, path, 0, NULL), 0);
    int fd = open(copy, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, "before it", 9), 9);
    int64_t size = reader_copy(reader, fd);
    reader_close(reader);
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(size, status.st_size - 9);
    assert_true(size < 6 * RECORDING_CHUNK_SIZE);
    assert_int_equal(read_back(copy, 9).calls, 3 * CHUNK_EVENTS);
    assert_int_equal(reader_open(&reader, copy, 9, NULL), 0);
    assert_true(slice_equal(reader_name(reader, name), slice_of_text("main (app.py)")));
    int full = open("/dev/full", O_WRONLY);
    assert_int_equal(reader_copy(reader, full), -ENOSPC);
    close(full);
    reader_close(reader);
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, remove_files)
    const struct CMUnitTest tests[] = {
        TEST(test_it_takes_what_it_needs),
        TEST(test_it_grows_to_its_size_and_goes_round),
        TEST(test_the_budget_is_shared_and_kept),
        TEST(test_a_full_disk),
        TEST(test_names_on_a_full_disk),
        TEST(test_no_room_for_addresses),
        TEST(test_what_cannot_be_made),
        TEST(test_threads_that_grow_it_together),
        TEST(test_threads_that_end_together_leave_their_room),
        TEST(test_arguments_stay_with_their_call),
        TEST(test_a_copy),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
