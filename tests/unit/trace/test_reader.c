#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace/reader.h"
#include "trace/recorder.h"
#include "trace/recording_state.h"

static char folder[] = "/tmp/zolal-reader-XXXXXX";
static struct recording *recording;
static struct reader *reader;

static int make_folder(void **state)
{
    (void)state;
    return !mkdtemp(folder) || setenv("XDG_RUNTIME_DIR", folder, 1);
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void begin(size_t size)
{
    assert_int_equal(recording_create(&recording, size, NULL), 0);
    assert_string_not_equal(recording_path(recording), "");
    assert_int_equal(recorder_attach(recording), 0);
    assert_int_equal(reader_open(&reader, recording_path(recording), 0, NULL), 0);
}

static void end(void)
{
    recorder_detach();
    reader_close(reader);
    recording_close(recording, true);
}

static struct reader_event next(void)
{
    struct reader_event event;
    assert_int_equal(reader_next(reader, &event), 1);
    return event;
}

static void test_a_call_comes_back_as_it_was(void **state)
{
    (void)state;
    begin(0);
    trace_subject(7, 9);
    uint64_t t0 = trace_start();
    trace_call(TRACE_RECVFROM, 5, 65536, -104, t0);
    struct reader_event event = next();
    assert_int_equal(event.event.kind, TRACE_CALL);
    assert_int_equal(event.event.op, TRACE_RECVFROM);
    assert_int_equal(event.event.fd, 5);
    assert_int_equal(event.event.argument, 65536);
    assert_int_equal(event.event.result, -104);
    assert_int_equal(event.event.connection, 7);
    assert_int_equal(event.event.request, 9);
    assert_int_equal(event.event.t0, t0);
    assert_true(event.event.t1 >= t0);
    assert_int_equal(event.event.t1, trace_last());
    assert_int_equal(event.thread, gettid());
    assert_int_equal(event.args_len, 0);
    end();
}

static void test_arguments_are_joined_and_cut(void **state)
{
    unsigned char args[100];
    (void)state;
    for (size_t i = 0; i < sizeof(args); i++)
        args[i] = (unsigned char)i;
    begin(0);
    for (size_t len = 0; len <= 100; len += 10) {
        trace_call_args(TRACE_BIND, 3, 0, 0, trace_start(), args, len);
        struct reader_event event = next();
        size_t kept = len < 48 ? len : 48;
        assert_int_equal(event.args_len, kept);
        assert_memory_equal(event.args, args, kept);
    }
    end();
}

static void test_marks(void **state)
{
    char target[200];
    (void)state;
    memset(target, 't', sizeof(target));
    begin(0);
    trace_request_begin(SLICE("GET"), slice_of(target, sizeof(target)));
    trace_request_end(404, 1234);
    trace_state(2, 5);
    uint32_t name = trace_name(SLICE("view (/a.py)"));
    trace_python_enter(TRACE_PYTHON_NEXT, name, 17);
    trace_python_leave(TRACE_PYTHON_NEXT, true);
    struct reader_event event = next();
    assert_int_equal(event.event.kind, TRACE_REQUEST_BEGIN);
    assert_int_equal(event.args_len, 96);
    assert_memory_equal(event.args, "GET tttt", 8);
    event = next();
    assert_int_equal(event.event.kind, TRACE_REQUEST_END);
    assert_int_equal(event.event.result, 404);
    assert_int_equal(event.event.argument, 1234);
    event = next();
    assert_int_equal(event.event.kind, TRACE_STATE);
    assert_int_equal(event.event.op, 2);
    assert_int_equal(event.event.argument, 5);
    event = next();
    assert_int_equal(event.event.kind, TRACE_PYTHON_ENTER);
    assert_int_equal(event.event.argument, 17);
    assert_true(slice_equal(reader_name(reader, event.event.name), SLICE("view (/a.py)")));
    event = next();
    assert_int_equal(event.event.kind, TRACE_PYTHON_LEAVE);
    assert_int_equal(event.event.result, -1);
    end();
}

static void test_a_short_title_with_a_long_method(void **state)
{
    (void)state;
    begin(0);
    trace_request_begin(slice_of("MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM", 46), SLICE("/"));
    struct reader_event event = next();
    assert_int_equal(event.args_len, 34);
    assert_memory_equal(event.args + 32, " /", 2);
    end();
}

static void test_without_a_recorder_nothing_happens(void **state)
{
    struct reader_event event;
    (void)state;
    begin(0);
    recorder_detach();
    assert_int_equal(trace_start(), 0);
    assert_int_equal(trace_last(), 0);
    assert_int_equal(trace_name(SLICE("x")), 0);
    trace_subject(1, 1);
    assert_int_equal(trace_place(1), 0);
    assert_int_equal(trace_place(0), 0);
    trace_call(TRACE_CLOSE, 1, 0, 0, 0);
    trace_call_args(TRACE_BIND, 1, 0, 0, 0, "x", 1);
    trace_request_begin(SLICE("GET"), SLICE("/"));
    trace_request_end(200, 0);
    trace_state(0, 1);
    trace_python_enter(TRACE_PYTHON_READ, 0, 0);
    trace_python_leave(TRACE_PYTHON_READ, false);
    assert_int_equal(reader_next(reader, &event), 0);
    end();
}

static void test_calls_are_made_for_a_place(void **state)
{
    struct trace_frame frames[TRACE_FRAMES_MAX + 1] = {{7, 8}, {9, 10}};
    struct trace_frame found[TRACE_FRAMES_MAX];
    (void)state;
    begin(0);
    uint32_t place = trace_name(slice_of((const char *)frames, 2 * sizeof(frames[0])));
    assert_int_equal(trace_place(place), 0);
    trace_call(TRACE_CLOSE, 5, 0, 0, trace_start());
    trace_state(2, 5);
    assert_int_equal(trace_place(0), place);
    trace_call(TRACE_CLOSE, 5, 0, 0, trace_start());
    assert_int_equal(reader_place(reader, next().event.name, found), 2);
    assert_memory_equal(found, frames, 2 * sizeof(frames[0]));
    assert_int_equal(next().event.name, 0); /* a mark has a name of its own */
    assert_int_equal(next().event.name, 0);
    assert_int_equal(reader_place(reader, 0, found), 0);
    assert_int_equal(reader_place(reader, UINT32_MAX, found), 0);
    place = trace_name(slice_of((const char *)frames, sizeof(frames)));
    assert_int_equal(reader_place(reader, place, found), TRACE_FRAMES_MAX); /* cut */
    end();
}

static void test_names_end_when_they_are_full(void **state)
{
    char text[2000];
    uint32_t first = 0, name;
    (void)state;
    memset(text, 'n', sizeof(text));
    begin(0);
    first = trace_name(slice_of(text, sizeof(text)));
    assert_int_equal(reader_name(reader, first).len, 1000); /* cut */
    int count = 1;
    while ((name = trace_name(slice_of(text, 100))) != 0) {
        assert_int_equal(reader_name(reader, name).len, 100);
        assert_true(++count < 1000);
    }
    assert_true(count > 400);
    assert_int_equal(reader_name(reader, 0).len, 0);
    assert_int_equal(reader_name(reader, UINT32_MAX).len, 0);
    end();
}

/* A reader that comes too late is told how much it missed, and then sees the newest. */
static void test_what_was_overwritten_is_told(void **state)
{
    const int64_t total = 20000;
    int64_t expected = 0, lost = 0;
    struct reader_event event;
    (void)state;
    begin(1); /* two chunks of 1,023 slots */
    for (int64_t i = 0; i < total; i++) {
        trace_call(TRACE_CLOSE, 1, 0, i, trace_start());
        if (i == 100)
            for (; reader_next(reader, &event) == 1; expected++)
                assert_int_equal(event.event.result, expected);
    }
    while (reader_next(reader, &event) == 1) {
        if (event.event.kind == TRACE_LOST) {
            lost += (int64_t)event.event.argument;
            continue;
        }
        assert_true(event.event.result >= expected);
        expected = event.event.result + 1;
    }
    assert_true(lost > 0);
    assert_int_equal(expected, total);
    end();
}

#define THREADS    2
#define PER_THREAD 300000
static atomic_int writers;

/* Each event proves itself: its argument and request follow from its result. */
static void *write_events(void *argument)
{
    (void)argument;
    assert_int_equal(recorder_attach(recording), 0);
    for (int64_t i = 1; i <= PER_THREAD; i++) {
        trace_subject((uint32_t)(i * 3), (uint64_t)i * 5);
        trace_call(TRACE_CLOSE, (int)i, (uint64_t)(i * i), i, trace_start());
    }
    recorder_detach();
    atomic_fetch_sub(&writers, 1);
    return NULL;
}

static void test_a_reader_beside_writers_at_full_rate(void **state)
{
    pthread_t threads[THREADS];
    struct reader_event event;
    uint32_t ids[THREADS] = {0};
    int64_t last[THREADS] = {0};
    size_t seen = 0;
    (void)state;
    begin(0);
    atomic_store(&writers, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_events, NULL), 0);
    bool more = true;
    while (more) {
        more = atomic_load(&writers) > 0;
        while (reader_next(reader, &event) == 1) {
            if (event.event.kind == TRACE_LOST)
                continue;
            int64_t i = event.event.result;
            assert_true(i >= 1 && i <= PER_THREAD);
            assert_int_equal(event.event.argument, i * i);
            assert_int_equal(event.event.request, i * 5);
            assert_int_equal(event.event.connection, (uint32_t)(i * 3));
            int who = ids[0] == event.thread || ids[0] == 0 ? 0 : 1;
            ids[who] = event.thread;
            assert_true(i > last[who]); /* in its thread's order, none twice */
            last[who] = i;
            seen++;
        }
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_true(seen > 1000);
    end();
}

static void *hold_a_chunk(void *argument)
{
    pthread_barrier_t *barrier = argument;
    assert_int_equal(recorder_attach(recording), 0);
    trace_call(TRACE_CLOSE, 1, 0, 0, trace_start());
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    recorder_detach();
    return NULL;
}

static void test_when_all_chunks_are_held_events_are_dropped_and_counted(void **state)
{
    pthread_t threads[2];
    pthread_barrier_t barrier;
    (void)state;
    begin(1);
    pthread_barrier_init(&barrier, NULL, 3);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, hold_a_chunk, &barrier);
    pthread_barrier_wait(&barrier);
    trace_call(TRACE_CLOSE, 2, 0, 0, trace_start());
    assert_int_equal(recording->header->dropped, 1);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    trace_call(TRACE_CLOSE, 3, 0, 0, trace_start()); /* they were given back */
    assert_int_equal(recording->header->dropped, 1);
    pthread_barrier_destroy(&barrier);
    end();
}

static void write_file(const char *path, const char *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

/* Whatever the file holds, reading it ends and touches nothing that is not its own. */
static void read_hostile(const char *path)
{
    struct reader *hostile;
    struct reader_event event;
    struct error err = {0};
    if (reader_open(&hostile, path, 0, &err) < 0) {
        assert_string_not_equal(err.text, "");
        return;
    }
    for (int i = 0; i < 5000 && reader_next(hostile, &event) == 1; i++) {
        reader_name(hostile, event.event.name);
        reader_monotonic_ns(hostile, event.event.t0);
    }
    reader_close(hostile);
}

static void test_hostile_files(void **state)
{
    char path[300], *data;
    size_t size = RECORDING_HEADER_SIZE + RECORDING_NAMES_SIZE + 2 * RECORDING_CHUNK_SIZE;
    uint32_t random = 7;
    (void)state;
    begin(1);
    for (int i = 0; i < 500; i++)
        trace_call_args(TRACE_BIND, i, 0, 0, trace_start(), "0123456789", 10);
    data = malloc(size);
    memcpy(data, recording->header, size);
    end();
    snprintf(path, sizeof(path), "%s/hostile", folder);
    for (size_t len = 0; len < size; len += len < 256 ? 8 : 7919) {
        write_file(path, data, len);
        read_hostile(path);
    }
    for (int i = 0; i < 300; i++) {
        char *copy = malloc(size);
        memcpy(copy, data, size);
        for (int flips = 0; flips < 20; flips++) {
            random = random * 1664525 + 1013904223;
            size_t at = random >> 8;
            /* Half of them in the header, where they hurt most. */
            copy[flips % 2 ? at % sizeof(struct recording_header) : at % size] ^=
                (char)(1 << (random % 8));
        }
        write_file(path, copy, size);
        read_hostile(path);
        free(copy);
    }
    unlink(path);
    free(data);
}

static void test_what_is_no_recording_is_said(void **state)
{
    struct error err = {0};
    struct reader *none;
    char path[300], bytes[8192] = "not a recording";
    (void)state;
    assert_int_equal(reader_open(&none, "/no/such/file", 0, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/no/such/file: No such file"));
    assert_int_equal(reader_open(&none, folder, 0, &err), -EINVAL);
    snprintf(path, sizeof(path), "%s/other", folder);
    write_file(path, bytes, sizeof(bytes));
    assert_int_equal(reader_open(&none, path, 0, &err), -EINVAL);
    assert_non_null(strstr(err.text, "is not a recording"));
    struct recording_header header = {.version = 99};
    memcpy(header.magic, RECORDING_MAGIC, 8);
    memcpy(bytes, &header, sizeof(header));
    write_file(path, bytes, sizeof(bytes));
    assert_int_equal(reader_open(&none, path, 0, &err), -EPROTO);
    assert_non_null(strstr(err.text, "version 99"));
    unlink(path);
}

static void *record_and_end(void *thread)
{
    assert_int_equal(recorder_attach_until_end(recording), 0);
    assert_int_equal(recorder_attach_until_end(recording), 0); /* once is enough */
    *(uint32_t *)thread = (uint32_t)gettid();
    for (int i = 0; i < 3; i++)
        trace_call(TRACE_CLOSE, i, 0, 0, trace_start());
    return NULL;
}

/* One after the other: each gives its chunk back when it ends, and the next goes on in it. */
static void test_threads_that_are_not_ours_share_a_chunk(void **state)
{
    uint32_t count = (uint32_t)(RECORDING_CHUNK_SLOTS / 4) * 3; /* three chunks full */
    (void)state;
    begin(1);
    for (uint32_t i = 0; i < count; i++) {
        pthread_t thread;
        uint32_t id = 0;
        assert_int_equal(pthread_create(&thread, NULL, record_and_end, &id), 0);
        pthread_join(thread, NULL);
        for (int fd = 0; fd < 3; fd++) {
            struct reader_event event = next();
            assert_int_equal(event.event.kind, TRACE_CALL);
            assert_int_equal(event.event.fd, fd);
            assert_int_equal(event.thread, id);
        }
    }
    assert_true(atomic_load(&recording->header->next_chunk) <= 4);
    assert_int_equal(atomic_load(&recording->header->dropped), 0);
    assert_int_equal(atomic_load(&recording->users), 2);
    end();
}

enum { SPAWNERS = 4, SPAWNED = 100, EVENTS_EACH = 5 };

static void *record_five(void *unused)
{
    assert_int_equal(recorder_attach_until_end(recording), 0);
    for (int i = 0; i < EVENTS_EACH; i++)
        trace_call(TRACE_CLOSE, i, (uint64_t)gettid(), 0, trace_start());
    return unused;
}

static void *spawn(void *unused)
{
    for (int i = 0; i < SPAWNED; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, record_five, NULL), 0);
        pthread_join(thread, NULL);
    }
    return unused;
}

/* Several at once pass chunks on to each other while a reader looks: nothing is lost or mixed up.
 */
static void test_chunks_are_passed_on_between_threads(void **state)
{
    pthread_t threads[SPAWNERS];
    struct reader_event event;
    size_t seen = 0;
    (void)state;
    begin(64 << 20); /* a chunk for each, if it came to that */
    for (int i = 0; i < SPAWNERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spawn, NULL), 0);
    for (int i = 0; i < SPAWNERS; i++) {
        while (reader_next(reader, &event) == 1) {
            assert_int_equal(event.event.argument, event.thread);
            seen++;
        }
        pthread_join(threads[i], NULL);
    }
    while (reader_next(reader, &event) == 1) {
        assert_int_equal(event.event.kind, TRACE_CALL);
        assert_int_equal(event.event.argument, event.thread);
        seen++;
    }
    assert_int_equal(seen, SPAWNERS * SPAWNED * EVENTS_EACH);
    end();
}

/* Attach, and go on writing when the recording has ended and another has begun. */
static void *outlive_a_recording(void *argument)
{
    pthread_barrier_t *barrier = argument;
    assert_int_equal(recorder_attach_until_end(recording), 0);
    trace_call(TRACE_CLOSE, 1, 0, 0, trace_start());
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    for (int i = 0; i < 2000; i++)
        trace_call(TRACE_CLOSE, 2, 0, 0, trace_start());
    assert_false(recorder_is_of(recording));
    assert_int_equal(recorder_attach_until_end(recording), 0);
    trace_call(TRACE_CLOSE, 3, 0, 0, trace_start());
    return NULL;
}

static void test_a_recording_ends_while_a_thread_writes(void **state)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    (void)state;
    pthread_barrier_init(&barrier, NULL, 2);
    begin(1);
    assert_int_equal(pthread_create(&thread, NULL, outlive_a_recording, &barrier), 0);
    pthread_barrier_wait(&barrier);
    assert_int_equal(next().event.fd, 1);
    end();
    begin(1);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    assert_int_equal(next().event.fd, 3);
    end();
    pthread_barrier_destroy(&barrier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_comes_back_as_it_was),
        cmocka_unit_test(test_arguments_are_joined_and_cut),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_a_short_title_with_a_long_method),
        cmocka_unit_test(test_without_a_recorder_nothing_happens),
        cmocka_unit_test(test_calls_are_made_for_a_place),
        cmocka_unit_test(test_names_end_when_they_are_full),
        cmocka_unit_test(test_what_was_overwritten_is_told),
        cmocka_unit_test(test_a_reader_beside_writers_at_full_rate),
        cmocka_unit_test(test_when_all_chunks_are_held_events_are_dropped_and_counted),
        cmocka_unit_test(test_threads_that_are_not_ours_share_a_chunk),
        cmocka_unit_test(test_chunks_are_passed_on_between_threads),
        cmocka_unit_test(test_a_recording_ends_while_a_thread_writes),
        cmocka_unit_test(test_hostile_files),
        cmocka_unit_test(test_what_is_no_recording_is_said),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
