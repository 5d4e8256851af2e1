"""sock_recv(), sock_recv_into(), sock_sendall() and sock_accept() of zolal.EventLoop."""

import asyncio
import gc
import random
import socket
import ssl
import struct
import sys

import pytest

import zolal
import zolal.socket


def listening(kind=socket.socket):
    listener = kind(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    listener.setblocking(False)
    return listener


@pytest.mark.parametrize("kind", [socket.socket, zolal.socket.socket])
def test_the_echo_server_by_hand(kind):
    async def echo(connection, loop):
        while data := await loop.sock_recv(connection, 1024):
            await loop.sock_sendall(connection, data)
        connection.close()

    async def listen(listener, loop):
        while True:
            connection, address = await loop.sock_accept(listener)
            assert type(connection) is kind
            assert connection.getpeername() == address
            assert connection.gettimeout() == 0
            loop.create_task(echo(connection, loop))

    async def client(address, sent):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        with listening(kind) as listener:
            server = loop.create_task(listen(listener, loop))
            address = listener.getsockname()
            await asyncio.gather(*(client(address, bytes([i]) * i * 997) for i in range(100)))
            server.cancel()

    zolal.run(main())


def test_resets_half_closes_and_numbers_that_come_again():
    async def serve(connection, loop, got):
        data = b""
        try:
            while piece := await loop.sock_recv(connection, random.choice((1, 64, 4096))):
                data += piece
        except ConnectionResetError:
            data = None
        connection.close()
        got.append(data)

    async def main():
        loop = asyncio.get_running_loop()
        got, sent, tasks = [], [], []
        with listening() as listener:
            for i in range(1000):
                client = socket.create_connection(listener.getsockname())
                connection, _ = await loop.sock_accept(listener)
                tasks.append(loop.create_task(serve(connection, loop, got)))
                del connection
                await asyncio.sleep(0)
                if i % 3 == 0:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sent.append(None)
                else:
                    sent.append(b"%d" % i)
                    client.send(sent[-1])
                client.close()
                if i % 7 == 0:
                    await asyncio.gather(*tasks)
                    tasks.clear()
            await asyncio.wait_for(asyncio.gather(*tasks), 30)
        assert sorted(got, key=repr) == sorted(sent, key=repr)

    zolal.run(main())


def test_a_cancelled_receive_loses_nothing():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.setblocking(False)
        sent, got = bytearray(), bytearray()
        randomly = random.Random(1)
        while len(sent) < 200_000:
            task = loop.create_task(loop.sock_recv(a, randomly.randrange(1, 600)))
            for _ in range(randomly.randrange(3)):
                await asyncio.sleep(0)
            piece = randomly.randbytes(randomly.randrange(1, 500))
            b.send(piece)
            sent += piece
            for _ in range(randomly.randrange(3)):
                await asyncio.sleep(0)
            was_done = task.done()
            task.cancel()
            try:
                got += await task
            except asyncio.CancelledError:
                assert not was_done
        b.close()
        while piece := await loop.sock_recv(a, 65536):
            got += piece
        a.close()
        assert got == sent

    zolal.run(main())


def test_wait_for_and_its_time_out():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.setblocking(False)
        for i in range(100):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(loop.sock_recv(a, 10), 0.0005)
            b.send(b"%d" % i)
            assert await asyncio.wait_for(loop.sock_recv(a, 10), 10) == b"%d" % i
        a.close()
        b.close()

    zolal.run(main())


def test_sendall_waits_for_room_and_readers_are_woken_by_what_comes():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.setblocking(False)
        b.setblocking(False)
        sent = random.Random(2).randbytes(5_000_000)
        sending = loop.create_task(loop.sock_sendall(a, sent))
        got, buffer = bytearray(), bytearray(70_000)
        while len(got) < len(sent):
            got += buffer[: await loop.sock_recv_into(b, buffer)]
        await sending
        assert got == sent
        a.close()
        b.close()

    zolal.run(main())


def test_a_socket_that_is_always_ready_does_not_hold_the_loop():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.setblocking(False)
        b.send(bytes(5000))
        ticks = []
        received = 0
        loop.call_soon(lambda: ticks.append(received))
        while received < 5000:
            received += len(await loop.sock_recv(a, 1))
        assert ticks and ticks[0] < 1000
        a.close()
        b.close()

    zolal.run(main())


def test_readers_and_operations_on_the_same_socket():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.setblocking(False)
        seen = []
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0)
        loop.add_reader(a, seen.append, 1)
        b.send(b"x")
        assert await asyncio.wait_for(task, 10) == b"x"
        assert loop.remove_reader(a) is True
        assert loop.remove_reader(a) is False
        b.send(b"y")
        assert await asyncio.wait_for(loop.sock_recv(a, 10), 10) == b"y"
        task = loop.create_task(loop.sock_recv(a, 10))
        await asyncio.sleep(0.001)
        b.send(b"z")
        assert await asyncio.wait_for(task, 10) == b"z"
        a.close()
        b.close()

    zolal.run(main())


def test_what_is_refused():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await loop.sock_recv(a, 1)
        a.setblocking(False)
        a.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            await loop.sock_recv(a, 1)
        context = ssl.create_default_context()
        b.setblocking(False)
        with pytest.raises(TypeError):
            await loop.sock_recv(b, "x")
        tls = context.wrap_socket(
            socket.socket(), server_hostname="x", do_handshake_on_connect=False
        )
        with tls, pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
            await loop.sock_recv(tls, 1)
        b.close()

    zolal.run(main(), debug=True)


def test_an_operation_that_is_never_awaited_is_told():
    loop = zolal.new_event_loop()
    with socket.socket() as sock, pytest.warns(RuntimeWarning, match="never awaited"):
        loop.sock_recv(sock, 1)
    loop.close()


def test_tasks_in_python_wait_for_sockets():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(
            lambda loop, coro, **names: asyncio.tasks._PyTask(coro, loop=loop, **names)
        )
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            b.setblocking(False)
            receiving = loop.create_task(loop.sock_recv(a, 10))
            await asyncio.sleep(0)
            await loop.sock_sendall(b, b"there")
            assert await receiving == b"there"
            receiving = loop.create_task(loop.sock_recv(a, 10))
            await asyncio.sleep(0)
            receiving.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await receiving

    zolal.run(main())


def test_what_an_operation_waits_on():
    """A callback that is no task's is called with the future, in its context, once."""

    async def main(loop):
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            called = []
            operation = loop.sock_recv(a, 10)
            future = operation.send(None)
            future.add_done_callback(called.append)
            assert future.remove_done_callback(called.append) == 1
            future.add_done_callback(called.append)
            with pytest.raises(TypeError, match="once"):
                future.add_done_callback(called.append)
            with pytest.raises(RuntimeError, match="not ready yet"):
                future.result()
            b.send(b"there")
            while not called:
                await asyncio.sleep(0)
            assert called == [future] and future.result() is None
            with pytest.raises(StopIteration) as stop:
                operation.send(None)
            assert stop.value.value == b"there"

            failed = []
            loop.set_exception_handler(lambda loop, context: failed.append(context))
            operation = loop.sock_recv(a, 10)
            future = operation.send(None)
            future.add_done_callback(lambda future: 1 / 0)
            assert future.cancel() and not future.cancel()
            while not failed:
                await asyncio.sleep(0)
            assert isinstance(failed[0]["exception"], ZeroDivisionError)
            assert isinstance(failed[0]["handle"], asyncio.Handle)
            operation.close()

    for debug in (False, True):
        loop = zolal.new_event_loop()
        loop.set_debug(debug)
        loop.run_until_complete(main(loop))
        loop.close()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is of Python 3.11")
def test_a_task_group_cancels_who_waits():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.setblocking(False)
        with pytest.raises(BaseExceptionGroup):  # noqa: F821
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(loop.sock_recv(a, 1))
                group.create_task(asyncio.sleep(0.001)).add_done_callback(
                    lambda _: group.create_task(fail())
                )
        assert waiting.cancelled()
        a.close()
        b.close()

    async def fail():
        raise OSError("no")

    zolal.run(main())


def test_nothing_is_left_of_operations():
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.setblocking(False)
        b.setblocking(False)

        async def some():
            for _ in range(500):
                task = loop.create_task(loop.sock_recv(a, 100))
                await asyncio.sleep(0)
                await loop.sock_sendall(b, b"x" * 50)
                assert await task == b"x" * 50
                task = loop.create_task(loop.sock_recv(a, 100))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.sleep(0)
            del task
            gc.collect()
            return len(gc.get_objects()), sys.getrefcount(loop), sys.getrefcount(a)

        await some()
        first = await some()
        second = await some()
        assert second[0] - first[0] < 20
        assert second[1:] == first[1:]
        a.close()
        b.close()

    zolal.run(main())
