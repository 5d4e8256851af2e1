"""What a program does to zolal.EventLoop at a bad moment."""

import array
import asyncio
import contextvars
import gc
import os
import random
import socket
import struct
import time
import warnings
import weakref

import pytest

import zolal
from zolal import _zolal


def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    return a, b


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        a = socket.create_connection(listener.getsockname())
        b, _ = listener.accept()
    a.setblocking(False)
    return a, b


async def is_waiting(loop, sock):
    """A receive that waits has the socket watched edge-triggered, from then on."""
    task = loop.create_task(loop.sock_recv(sock, 100))
    await asyncio.sleep(0.001)
    return task


def test_bytes_that_come_with_descriptors_are_a_short_read_and_not_the_last():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        task = await is_waiting(loop, a)
        with open(os.devnull) as file:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]))
            b.sendmsg([b"one"], [rights])
        b.send(b"two")
        assert await task == b"one"
        assert await asyncio.wait_for(loop.sock_recv(a, 100), 10) == b"two"
        a.close()
        b.close()

    zolal.run(main())


def test_urgent_data_make_a_short_read_and_not_the_last():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = tcp_pair()
        task = await is_waiting(loop, a)
        b.send(b"one")
        b.send(b"!", socket.MSG_OOB)
        b.send(b"two")
        assert await task == b"one"
        assert await asyncio.wait_for(loop.sock_recv(a, 100), 10) == b"two"
        a.close()
        b.close()

    zolal.run(main())


def test_a_descriptor_that_is_closed_while_it_is_watched_does_not_end_the_loop():
    """A duplicate keeps the registration, so events come for a number that is nobody's."""

    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()
        fd, duplicate = a.fileno(), os.dup(a.fileno())
        task = loop.create_task(loop.sock_recv(a, 1))
        loop.add_writer(a, lambda: None)
        await asyncio.sleep(0)
        a.close()
        b.send(b"x")
        with pytest.raises(OSError, match="Bad file descriptor"):
            await asyncio.wait_for(task, 10)
        assert loop.remove_writer(fd)
        await asyncio.sleep(0.001)
        list(reader.read())
        await asyncio.sleep(0.05)
        assert sum(event.op == "epoll_wait" for event in reader.read()) < 10
        os.close(duplicate)
        b.close()

    _zolal.recording_stop()
    reader = _zolal.Reader(_zolal.recording_start())
    zolal.run(main())
    reader.close()
    _zolal.recording_stop()


def test_what_a_cancelled_timers_context_does_at_its_end():
    """Its destructor asks for timers while the cancelled ones are dropped."""
    seen = []

    class Value:
        def __del__(self):
            for _ in range(200):
                loop.call_later(0.001, seen.append, 1)

    variable = contextvars.ContextVar("variable")
    loop = zolal.new_event_loop()
    for i in range(300):
        context = contextvars.copy_context()
        if i % 100 == 0:
            context.run(variable.set, Value())
        loop.call_later(60 + i, print, context=context).cancel()
    del context
    loop.run_until_complete(asyncio.sleep(0.02))
    assert len(seen) == 3 * 200
    loop.close()


def test_an_operation_that_is_used_inside_itself():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = pair()

        class Length:
            def __index__(self):
                for use in (lambda: operation.send(None), operation.close):
                    with pytest.raises(ValueError, match="already executing"):
                        use()
                return 10

        operation = loop.sock_recv(a, Length())
        b.send(b"x")
        assert await operation == b"x"
        with pytest.raises(RuntimeError, match="already awaited"):
            await operation
        a.close()
        b.close()

    zolal.run(main())


def test_half_closes_with_data():
    async def main():
        loop = asyncio.get_running_loop()
        for size in (1, 100, 5000, 300_000):
            a, b = tcp_pair()
            task = await is_waiting(loop, a)
            sending = loop.run_in_executor(None, lambda b=b, size=size: b.sendall(bytes(size)))
            got = len(await task)
            await sending if size < 5000 else None
            closing = loop.run_in_executor(None, lambda b=b: b.shutdown(socket.SHUT_WR))
            await sending
            await closing
            while piece := await asyncio.wait_for(loop.sock_recv(a, 1000), 10):
                got += len(piece)
            assert got == size
            await loop.sock_sendall(a, b"answer")
            assert b.recv(100) == b"answer"
            a.close()
            b.close()

    zolal.run(main())


def test_cancellation_at_random_while_numbers_come_again():
    """Echoes that are cut off by a cancel, a reset or an end; the others lose nothing."""
    randomly = random.Random(3)

    async def echo(loop, connection):
        with connection:
            while data := await loop.sock_recv(connection, 100):
                await loop.sock_sendall(connection, data)

    async def client(loop, address, rounds):
        sock = socket.socket()
        sock.setblocking(False)
        with sock:
            await loop.sock_connect(sock, address)
            for i in range(rounds):
                sent = b"%d" % i * randomly.randrange(1, 30)
                await loop.sock_sendall(sock, sent)
                got = b""
                while len(got) < len(sent):
                    got += await loop.sock_recv(sock, randomly.choice((1, 7, 1000)))
                assert got == sent
            if randomly.random() < 0.3:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return rounds

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)  # of echoes whose client is gone
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
            listener.setblocking(False)
            address = listener.getsockname()

            async def accept():
                while True:
                    connection, _ = await loop.sock_accept(listener)
                    loop.create_task(echo(loop, connection))

            accepting = loop.create_task(accept())
            end, whole, cut = time.monotonic() + 1.5, 0, 0
            while time.monotonic() < end:
                clients = [
                    loop.create_task(client(loop, address, randomly.randrange(20)))
                    for _ in range(30)
                ]
                for _ in range(randomly.randrange(20)):
                    await asyncio.sleep(0)
                for task in randomly.sample(clients, 10):
                    task.cancel()
                results = await asyncio.wait_for(
                    asyncio.gather(*clients, return_exceptions=True), 30
                )
                for result in results:
                    whole += isinstance(result, int)
                    cut += isinstance(result, asyncio.CancelledError)
                    assert isinstance(result, int | asyncio.CancelledError), repr(result)
            accepting.cancel()
        assert whole > 100 and cut > 10

    before = len(os.listdir("/proc/self/fd"))
    zolal.run(main())
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_used_after_the_loops_end():
    loop = zolal.new_event_loop()
    a, b = pair()
    receiving, sending = loop.sock_recv(a, 1), loop.sock_sendall(b, bytes(1_000_000))
    tasks = [loop.create_task(one) for one in (receiving, sending)]
    reader = loop.add_reader(b, print)
    timer = loop.call_later(60, print)
    loop.run_until_complete(asyncio.sleep(0.001))
    soon = loop.call_soon(print)
    loop.close()
    for handle in (timer, soon):
        handle.cancel()
        assert handle.cancelled() and "cancelled" in repr(handle)
    assert reader is None and not loop.remove_reader(b) and not loop.remove_writer(b)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_reader(b, print)
    for task in tasks:
        task._log_destroy_pending = False
        task.cancel()
    for operation in (receiving, sending):
        operation.close()
        with pytest.raises(RuntimeError, match="already awaited"):
            operation.send(None)
    del tasks, task, receiving, sending, operation
    gc.collect()
    a.close()
    b.close()


def test_a_loop_that_is_forgotten_is_collected():
    loop = zolal.new_event_loop()
    a, b = pair()
    task = loop.create_task(loop.sock_recv(a, 1))
    task._log_destroy_pending = False
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.call_later(60, print, loop)
    loop.call_soon(print, loop)
    loop.add_reader(b, print, loop)
    gone = [weakref.ref(loop), weakref.ref(task), weakref.ref(a)]
    before = len(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del loop, task, a
        gc.collect()
    assert [one() for one in gone] == [None] * 3
    assert len(os.listdir("/proc/self/fd")) == before - 1 - 4  # a; epoll, eventfd, the pipe
    b.close()


def test_what_ends_the_loop_leaves_the_rest_to_the_next_run():
    loop = zolal.new_event_loop()
    seen = []

    def fails():
        raise SystemExit(3)

    loop.call_soon(seen.append, 1)
    loop.call_soon(fails)
    loop.call_soon(seen.append, 2)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert seen == [1]
    loop.call_soon(seen.append, 3)
    loop.run_until_complete(asyncio.sleep(0))
    assert seen == [1, 2, 3]
    with pytest.raises(RuntimeError, match="already running"):
        loop.run_until_complete(runs_itself(loop))
    loop.close()


async def runs_itself(loop):
    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        loop.close()
    waiting = asyncio.sleep(0)
    try:
        loop.run_until_complete(waiting)
    finally:
        waiting.close()
