"""zolal.EventLoop: callbacks, timers, threads, signals, fork, debug mode."""

import asyncio
import contextvars
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

import zolal


def test_callbacks_run_in_order_with_their_context():
    number = contextvars.ContextVar("number", default=0)
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        context.run(number.set, 7)
        loop.call_soon(lambda: seen.append(("a", number.get())))
        loop.call_soon(seen.append, ("b", 1), context=context)
        loop.call_soon(lambda: seen.append(("c", number.get())), context=context)
        loop.call_soon(seen.append, "never").cancel()
        await asyncio.sleep(0.001)

    zolal.run(main())
    assert seen == [("a", 0), ("b", 1), ("c", 7)]


def test_timers_run_in_the_order_of_their_times_then_of_their_making():
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        now = loop.time()
        for i in range(500):
            loop.call_at(now + (i * 7 % 5) / 1000, seen.append, ((i * 7) % 5, i))
        dropped = [loop.call_later(0.001, seen.append, "never") for _ in range(500)]
        for handle in dropped:
            handle.cancel()
        await asyncio.sleep(0.02)

    zolal.run(main())
    assert len(seen) == 500
    assert seen == sorted(seen)


def test_handles_are_those_of_asyncio():
    async def main():
        loop = asyncio.get_running_loop()
        soon = loop.call_soon(print, "x")
        later = loop.call_later(60, print, "y")
        assert isinstance(soon, asyncio.Handle)
        assert isinstance(later, asyncio.TimerHandle)
        assert weakref.ref(soon)() is soon
        assert 59 < later.when() - loop.time() <= 60
        assert "<Handle print(" in repr(soon)
        soon.cancel()
        later.cancel()
        assert soon.cancelled() and later.cancelled()
        assert repr(soon) == "<Handle cancelled>"

    zolal.run(main(), debug=False)


def test_a_callback_that_fails_is_reported_and_the_loop_goes_on():
    reports = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    zolal.run(main())
    assert isinstance(reports[0]["exception"], ZeroDivisionError)
    assert "Exception in callback" in reports[0]["message"]


def test_other_threads_wake_the_loop():
    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        done = asyncio.Event()

        def count(i):
            seen.append(i)
            if len(seen) == 4000:
                done.set()

        def work():
            for i in range(1000):
                loop.call_soon_threadsafe(count, i)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(done.wait(), 30)
        for thread in threads:
            thread.join()
        assert sorted(seen) == sorted(list(range(1000)) * 4)

    zolal.run(main())


def test_two_loops_in_two_threads():
    results = []

    async def main(n):
        reader, writer = await asyncio.open_connection(sock=ends[n])
        for i in range(200):
            writer.write(b"%d\n" % i)
            assert await reader.readline() == b"%d\n" % i
        results.append(n)
        writer.close()

    import socket

    ends = socket.socketpair()
    threads = [threading.Thread(target=zolal.run, args=(main(n),)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == [0, 1]


def test_debug_mode_tells_of_a_slow_callback_and_of_a_wrong_thread(caplog):
    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.01
        loop.call_soon(time.sleep, 0.02)
        await asyncio.sleep(0.03)
        with pytest.raises(RuntimeError, match="Non-thread-safe"):
            await loop.run_in_executor(None, loop.call_soon, print)
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            loop.call_soon(main)

    with caplog.at_level(logging.WARNING, "asyncio"):
        zolal.run(main(), debug=True)
    assert "sleep" in caplog.text and "seconds" in caplog.text


def test_a_closed_loop_takes_nothing_more():
    loop = zolal.new_event_loop()
    loop.close()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_later(1, print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_forever()


def run_python(text, **options):
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=60, **options
    )


def test_a_forked_child_has_its_own_loop_and_leaves_its_parents_alone():
    done = run_python("""
import asyncio, os, socket, zolal
async def main():
    loop = asyncio.get_running_loop()
    a, b = socket.socketpair()
    a.setblocking(False)
    waiting = loop.create_task(loop.sock_recv(a, 10))
    await asyncio.sleep(0)
    child = os.fork()
    if child == 0:
        loop.close = None
        other = zolal.new_event_loop()
        asyncio._set_running_loop(None)
        other.run_until_complete(asyncio.sleep(0.001))
        other.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    loop.call_later(0.01, b.send, b"hello")
    assert await asyncio.wait_for(waiting, 10) == b"hello"
    print("good")
zolal.run(main())
""")
    assert (done.stdout, done.stderr) == ("good\n", "")


@pytest.mark.parametrize("callback", ["None", "loop.call_soon(spin)"])
def test_ctrl_c_ends_it_at_any_moment(callback):
    text = f"""
import asyncio, zolal
def spin():
    asyncio.get_running_loop().call_soon(spin)
async def main():
    loop = asyncio.get_running_loop()
    {callback}
    try:
        print("here", flush=True)
        await asyncio.sleep(3600)
    finally:
        print("cleaned", flush=True)
try:
    zolal.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    program = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout.readline() == "here\n"
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert out == "cleaned\ninterrupted\n", err


def test_nothing_is_left_of_a_loop():
    def once():
        async def main():
            loop = asyncio.get_running_loop()
            loop.call_later(3600, print)
            await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(10)))

        zolal.run(main())

    def count():
        gc.collect()
        kinds = ("Handle", "TimerHandle", "EventLoop", "Waiter", "SocketOperation", "Task")
        return sum(type(thing).__name__ in kinds for thing in gc.get_objects())

    once()
    before, descriptors = count(), len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        once()
    assert count() <= before
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_task_is_what_asyncio_has_for_it_now(monkeypatch):
    class Other(asyncio.Task):
        pass

    async def main():
        async def nothing():
            pass

        before = asyncio.create_task(nothing())
        monkeypatch.setattr(asyncio.tasks, "Task", Other)
        tasks = [asyncio.create_task(nothing()), asyncio.create_task(nothing(), name="one")]
        monkeypatch.undo()
        await asyncio.gather(before, *tasks)
        return [type(task) for task in (before, *tasks)]

    assert zolal.run(main()) == [asyncio.Task, Other, Other]


@pytest.mark.skipif(
    not hasattr(asyncio.events, "_ThreadSafeHandle"), reason="this asyncio has no such handles"
)
@pytest.mark.parametrize("method", ["cancel", "cancelled"])
@pytest.mark.parametrize("waiting", [1, 3])
def test_a_thread_waits_for_the_end_of_its_call(method, waiting):
    loop = zolal.new_event_loop()
    started, ended, seen = threading.Event(), [], []

    def call():
        started.set()
        getattr(handle, method)()  # its own thread does not wait
        time.sleep(0.2)
        ended.append(1)

    def ask():
        started.wait()
        getattr(handle, method)()
        seen.append(len(ended))

    handle = loop.call_soon_threadsafe(call)
    assert isinstance(handle, asyncio.events._ThreadSafeHandle)
    threads = [threading.Thread(target=ask) for _ in range(waiting)]
    for thread in threads:
        thread.start()
    loop.run_until_complete(asyncio.sleep(0.01))
    for thread in threads:
        thread.join(20)
    assert seen == [1] * waiting
    assert handle.cancelled() == (method == "cancel")
    loop.close()
