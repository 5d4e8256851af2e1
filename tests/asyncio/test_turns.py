"""When zolal.EventLoop looks at epoll: not in each turn while callbacks are ready, but soon."""

import asyncio
import ctypes
import functools
import os
import signal
import socket
import threading

import pytest

import zolal

TIMES = 1000


def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    return a, b


async def two_turns():
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def spin(until, counts):
    """The loop is never without something that is ready."""
    while not until():
        counts.append(1)
        await asyncio.sleep(0)


class Count(asyncio.Protocol):
    received = 0

    def data_received(self, data):
        self.received += len(data)


def test_what_the_loop_sends_to_itself_is_there_two_turns_later():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
        other, protocol = await loop.create_connection(Count, sock=b)
        for number in range(1, TIMES):
            transport.write(b".")
            await two_turns()
            assert protocol.received == number
        other.close()
        transport.close()
        a, b = pair()
        found = []
        loop.add_reader(b, lambda: found.append(b.recv(10)))
        for number in range(1, TIMES):
            await loop.sock_sendall(a, b".")
            await two_turns()
            assert len(found) == number
        loop.remove_reader(b)
        a.close()
        b.close()

    zolal.run(main())


def test_a_reader_is_called_two_turns_after_it_was_added():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        a.send(b".")
        found = []
        for number in range(1, TIMES):
            loop.add_reader(b, found.append, number)
            await two_turns()
            assert found[-1:] == [number]
            loop.remove_reader(b)
            for _ in range(5):
                await asyncio.sleep(0)
        a.close()
        b.close()

    zolal.run(main())


def test_each_run_begins_with_a_look():
    loop = zolal.new_event_loop()
    a, b = pair()
    found = []
    loop.add_reader(b, lambda: found.append(b.recv(10)))
    for number in range(1, TIMES):
        a.send(b".")
        loop.run_until_complete(asyncio.sleep(0))
        assert len(found) == number
    loop.close()
    a.close()
    b.close()


def test_who_spins_keeps_nobody_from_the_loop():
    """Sockets, signals, timers and other threads: each has its turn."""

    async def main():
        loop = asyncio.get_running_loop()
        done, counts = set(), []
        a, b = pair()

        def ask():
            for _ in range(100):
                counts.append(-1)
            a.send(b".")
            loop.call_soon_threadsafe(done.add, "call")
            os.kill(os.getpid(), signal.SIGUSR1)

        loop.add_signal_handler(signal.SIGUSR1, done.add, "signal")
        loop.add_reader(b, done.add, "socket")
        loop.call_later(0.01, done.add, "timer")
        thread = threading.Thread(target=ask)
        thread.start()
        await asyncio.wait_for(spin(lambda: len(done) == 4, counts), 30)
        thread.join()
        loop.remove_reader(b)
        loop.remove_signal_handler(signal.SIGUSR1)
        a.close()
        b.close()

    zolal.run(main())


def spin_in_c(loop):
    """A callback that asks for itself again, and runs no Python."""
    again = functools.partial(loop.call_soon)
    again.__setstate__((loop.call_soon, (again,), {}, {}))
    loop.call_soon(again)
    return again


def stop_spinning(again):
    again.__setstate__((int, (), {}, {}))


@pytest.mark.parametrize("how", ["signal", "thread", "exception of a signal", "exception"])
def test_what_spins_without_python_can_be_ended(how):
    loop = zolal.new_event_loop()
    main, seen = threading.get_ident(), []

    def stop(*unused):
        seen.append(how)
        if "exception" in how:
            raise KeyboardInterrupt(how)
        loop.stop()

    def end():
        if "signal" in how:
            signal.pthread_kill(main, signal.SIGALRM)
        elif how == "exception":
            set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
            set_exception(ctypes.c_ulong(main), ctypes.py_object(KeyboardInterrupt))
        else:
            loop.call_soon_threadsafe(stop)

    again, before = spin_in_c(loop), signal.signal(signal.SIGALRM, stop)
    timer = threading.Timer(0.05, end)
    timer.start()
    try:
        if "exception" in how:
            with pytest.raises(KeyboardInterrupt):
                loop.run_forever()
        else:
            loop.run_forever()
        assert seen == [how] or how == "exception"
    finally:
        signal.signal(signal.SIGALRM, before)
        timer.join()
        stop_spinning(again)
        loop.close()


@pytest.mark.parametrize("where", ["class", "instance", "patched"])
def test_who_puts_itself_in_the_place_of_a_turn_sees_each(where, monkeypatch):
    counts = []

    class Counting(zolal.EventLoop):
        if where == "class":

            def _run_once(self):
                counts.append(1)
                super()._run_once()

    loop = Counting()
    own = loop._run_once
    if where == "instance":
        loop._run_once = lambda: counts.append(own())
    elif where == "patched":
        patch = lambda self: counts.append(own())  # noqa: E731
        monkeypatch.setattr(zolal.EventLoop, "_run_once", patch, raising=False)

    async def turns():
        for _ in range(100):
            await asyncio.sleep(0)

    loop.run_until_complete(turns())
    assert 100 <= len(counts) <= 105
    loop.call_soon(loop.call_soon, counts.clear)
    own()  # one turn: what it makes ready waits
    assert counts
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
