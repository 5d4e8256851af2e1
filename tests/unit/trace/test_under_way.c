/* The call that a thread is about to make, as whoever reads the recording of a process that was
 * killed finds it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "trace/reader.h"
#include "trace/recorder.h"
#include "trace/recording.h"

static char folder[] = "/tmp/zolal-under-way-XXXXXX", path[64];
static struct recording *recording;

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/one", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int begin(void **state)
{
    (void)state;
    struct error err = {0};
    if (recording_create_growing(&recording, path, 1 << 20, NULL, 0, &err) < 0)
        return -1;
    return recorder_attach(recording);
}

static int end(void **state)
{
    (void)state;
    recorder_detach();
    recording_close(recording, true);
    return 0;
}

/* Those that are noted; the last of them in `event`. */
static int noted(struct reader_event *event)
{
    struct reader *reader;
    int count = 0, result;
    assert_int_equal(reader_open(&reader, path, 0, NULL), 0);
    for (uint32_t i = 0; (result = reader_under_way(reader, i, event)) >= 0; i++)
        count += result;
    assert_int_equal(result, -ERANGE);
    reader_close(reader);
    return count;
}

static void test_it_is_there_before_the_call(void **state)
{
    struct reader_event event;
    (void)state;
    assert_int_equal(noted(&event), 0);
    uint64_t t0 = trace_start();
    trace_under_way(TRACE_RECVFROM, 7, 4096, 5, t0); /* the thread's first call */
    assert_int_equal(noted(&event), 1);
    assert_int_equal(event.thread, gettid());
    assert_int_equal(event.event.kind, TRACE_CALL);
    assert_int_equal(event.event.op, TRACE_RECVFROM);
    assert_int_equal(event.event.fd, 7);
    assert_int_equal(event.event.argument, 4096);
    assert_int_equal(event.event.name, 5);
    assert_int_equal(event.event.t0, t0);
    trace_under_way(TRACE_ACCEPT4, 3, 0, 0, t0 + 1);
    assert_int_equal(noted(&event), 1);
    assert_int_equal(event.event.op, TRACE_ACCEPT4);
    assert_int_equal(event.event.t0, t0 + 1);
}

static void *note_and_end(void *unused)
{
    recorder_attach(recording);
    trace_under_way(TRACE_READ, 9, 0, 0, trace_start());
    recorder_detach();
    return unused;
}

static void *attach_only(void *unused)
{
    struct reader_event event;
    recorder_attach(recording);
    trace_call(TRACE_CLOSE, 1, 0, 0, trace_start()); /* in the chunk of the one before */
    assert_int_equal(noted(&event), 0);
    recorder_detach();
    return unused;
}

static void test_it_goes_with_its_thread(void **state)
{
    struct reader_event event;
    pthread_t id;
    (void)state;
    pthread_create(&id, NULL, note_and_end, NULL);
    pthread_join(id, NULL);
    assert_int_equal(noted(&event), 0);
    pthread_create(&id, NULL, attach_only, NULL);
    pthread_join(id, NULL);
}

/* A thread's next chunk has no note of the last holder's, nor of a call that is over. */
static void test_it_goes_with_its_chunk(void **state)
{
    struct reader_event event;
    int without = 0;
    (void)state;
    for (uint32_t i = 0; i < 3 * RECORDING_CHUNK_SIZE / sizeof(struct trace_event); i++) {
        uint64_t t0 = trace_start();
        trace_under_way(TRACE_READ, 9, 0, 0, t0);
        assert_int_equal(noted(&event), 1);
        assert_int_equal(event.event.t0, t0);
        trace_call(TRACE_READ, 9, 0, 0, t0);
        if (noted(&event) == 0)
            without++;
        else
            assert_int_equal(event.event.t0, t0);
    }
    assert_int_equal(without, 3);
}

enum { HOLDERS = 64 };

static void *hold(void *barrier)
{
    recorder_attach(recording);
    trace_call(TRACE_CLOSE, 1, 0, 0, trace_start());
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    recorder_detach();
    return NULL;
}

/* Where all chunks are held it is not noted, and nothing is lost by that. */
static void test_without_a_chunk(void **state)
{
    pthread_t ids[HOLDERS];
    pthread_barrier_t barrier;
    struct reader_event event;
    (void)state;
    pthread_barrier_init(&barrier, NULL, HOLDERS + 1);
    for (int i = 0; i < HOLDERS; i++)
        pthread_create(&ids[i], NULL, hold, &barrier);
    pthread_barrier_wait(&barrier);
    uint64_t dropped = recording_header_of(recording)->dropped;
    trace_under_way(TRACE_READ, 9, 0, 0, trace_start());
    assert_int_equal(noted(&event), 0);
    assert_int_equal(recording_header_of(recording)->dropped, dropped);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < HOLDERS; i++)
        pthread_join(ids[i], NULL);
    pthread_barrier_destroy(&barrier);
}

static void test_without_a_recorder(void **state)
{
    struct reader_event event;
    (void)state;
    recorder_detach();
    trace_under_way(TRACE_READ, 9, 0, 0, 1);
    assert_int_equal(noted(&event), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_it_is_there_before_the_call), TEST(test_it_goes_with_its_thread),
        TEST(test_it_goes_with_its_chunk),      TEST(test_without_a_chunk),
        TEST(test_without_a_recorder),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
