"""What asyncio builds on the loop: datagrams, files, pipes, processes, signals, TLS, tasks."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings

import pytest

import zolal
import zolal.socket


def test_datagrams():
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data.upper(), address)

    class Client(asyncio.DatagramProtocol):
        def __init__(self):
            self.got = asyncio.Queue()

        def datagram_received(self, data, address):
            self.got.put_nowait(data)

        def error_received(self, failure):
            self.got.put_nowait(failure)

    async def main():
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, protocol = await loop.create_datagram_endpoint(Client, remote_addr=address)
        for i in range(50):
            client.sendto(b"a%d" % i)
            assert await asyncio.wait_for(protocol.got.get(), 10) == b"A%d" % i
        server.close()
        await asyncio.sleep(0.001)
        client.sendto(b"nobody")
        failure = await asyncio.wait_for(protocol.got.get(), 10)
        assert isinstance(failure, ConnectionRefusedError)
        client.close()

    zolal.run(main())


@pytest.mark.parametrize("kind", [socket.socket, zolal.socket.socket])
def test_datagrams_and_connections_by_hand(kind):
    async def main():
        loop = asyncio.get_running_loop()
        with kind(socket.AF_INET, socket.SOCK_STREAM) as listener, kind() as client:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            client.setblocking(False)
            connecting = loop.create_task(loop.sock_connect(client, listener.getsockname()))
            connection, address = await loop.sock_accept(listener)
            await connecting
            assert address == client.getsockname()
            connection.close()
        if sys.version_info < (3, 11):
            return
        with kind(socket.AF_INET, socket.SOCK_DGRAM) as a, kind(type=socket.SOCK_DGRAM) as b:
            for sock in (a, b):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            receiving = loop.create_task(loop.sock_recvfrom(a, 100))
            await asyncio.sleep(0)
            assert await loop.sock_sendto(b, b"one", a.getsockname()) == 3
            assert await receiving == (b"one", b.getsockname())
            buffer = bytearray(100)
            receiving = loop.create_task(loop.sock_recvfrom_into(a, buffer))
            await asyncio.sleep(0)
            await loop.sock_sendto(b, b"four", a.getsockname())
            assert (await receiving)[0] == 4
            for data in (b"x" * 10, b"yy"):  # of a datagram the end is no short read
                await loop.sock_sendto(b, data, a.getsockname())
            assert [await loop.sock_recv(a, 5), await loop.sock_recv(a, 5)] == [b"xxxxx", b"yy"]

    zolal.run(main())


def test_files_are_sent(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)

    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        a.setblocking(False)
        with open(tmp_path / "file", "rb") as file:
            reader, writer = await asyncio.open_connection(sock=b)
            sending = loop.create_task(loop.sock_sendfile(a, file))
            assert await reader.readexactly(len(content)) == content
            assert await sending == len(content)
            other, _ = await asyncio.open_connection(sock=a)
            writer.write(b"before ")
            sending = loop.create_task(loop.sendfile(writer.transport, file, 1000, 5000))
            assert await other.readexactly(5007) == b"before " + content[1000:6000]
            assert await sending == 5000
            writer.write(b"after")
            assert await other.readexactly(5) == b"after"
        writer.close()
        _.close()

    zolal.run(main())


def test_pipes():
    async def main():
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        source, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
        )
        sink, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb"))
        sent = bytes(range(256)) * 2000
        sink.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        sink.close()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        source.close()

    zolal.run(main())


def test_processes():
    async def one(i):
        text = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(int(sys.argv[1]))"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", text, str(i), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(b"a" * 100_000), 60)
        return out == b"A" * 100_000 and process.returncode == i

    async def main():
        assert await asyncio.gather(*(one(i) for i in range(4))) == [True] * 4
        process = await asyncio.create_subprocess_shell("sleep 100")
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGTERM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        zolal.run(main())


def test_signals():
    async def main():
        loop = asyncio.get_running_loop()
        got = asyncio.Queue()
        loop.add_signal_handler(signal.SIGUSR1, got.put_nowait, 1)
        loop.add_signal_handler(signal.SIGUSR2, got.put_nowait, 2)
        for number, sent in ((1, signal.SIGUSR1), (2, signal.SIGUSR2)) * 20:
            os.kill(os.getpid(), sent)
            assert await asyncio.wait_for(got.get(), 10) == number
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert await asyncio.wait_for(got.get(), 10) == 2
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGKILL, print)

    zolal.run(main())
    assert signal.set_wakeup_fd(-1) == -1
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are of Python 3.12")
def test_eager_tasks():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        a, b = socket.socketpair()
        a.setblocking(False)
        b.setblocking(False)
        b.send(b"here")
        task = loop.create_task(loop.sock_recv(a, 10))
        assert task.done() and task.result() == b"here"
        task = asyncio.create_task(loop.sock_recv(a, 10), name="waits")
        assert not task.done() and task.get_name() == "waits"
        await loop.sock_sendall(b, b"later")
        assert await task == b"later"

        async def outer():
            async with asyncio.TaskGroup() as group:
                return [await group.create_task(inner(i)) for i in range(5)]

        async def inner(i):
            assert asyncio.current_task() is not None
            await asyncio.sleep(0.001 * (i % 2))
            return i

        assert await outer() == list(range(5))
        a.close()
        b.close()

    zolal.run(main())


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="factories are given to asyncio.run()")
def test_the_policy():
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(zolal.EventLoopPolicy())
    try:

        async def main():
            return type(asyncio.get_running_loop())

        assert asyncio.run(main()) is zolal.EventLoop
        loop = asyncio.new_event_loop()
        assert type(loop) is zolal.EventLoop
        loop.close()
    finally:
        asyncio.set_event_loop_policy(before)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="loop_factory is of Python 3.12")
def test_as_a_factory():
    async def main():
        return type(asyncio.get_running_loop())

    assert asyncio.run(main(), loop_factory=zolal.EventLoop) is zolal.EventLoop
    assert asyncio.run(main(), loop_factory=zolal.new_event_loop) is zolal.EventLoop


def test_debug_mode(caplog):
    async def slow():
        time.sleep(0.02)

    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.01
        await loop.create_task(slow(), name="the slow one")
        a, b = socket.socketpair()
        for operation in (
            loop.sock_recv(a, 1),
            loop.sock_recv_into(a, bytearray(1)),
            loop.sock_sendall(a, b"x"),
            loop.sock_accept(a),
            loop.sock_connect(a, "x"),
        ):
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await operation
        a.close()
        b.close()

    with caplog.at_level(logging.WARNING, "asyncio"):
        zolal.run(main(), debug=True)
    assert "the slow one" in caplog.text


def test_a_child_goes_on_with_the_loop_of_its_parent():
    text = """
import asyncio, os, signal, socket, zolal
loop = zolal.new_event_loop()
a, b = socket.socketpair()
a.setblocking(False)
async def ask(text):
    loop.call_later(0.001, b.send, text)
    return await asyncio.wait_for(loop.sock_recv(a, 100), 10)
async def signals():
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, done.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(done.wait(), 10)
    await asyncio.wait_for(loop.run_in_executor(None, print, "in a thread", os.getpid() > 0), 10)
assert loop.run_until_complete(ask(b"parent")) == b"parent"
child = os.fork()
if child == 0:
    assert loop.run_until_complete(ask(b"child")) == b"child"
    loop.run_until_complete(signals())
    loop.close()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert loop.run_until_complete(ask(b"again")) == b"again"
loop.close()
print("good")
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("good\n") and done.stderr == "", done.stderr


def test_tls(tls_contexts):
    server_side, client_side = tls_contexts

    async def echo(reader, writer):
        while data := await reader.read(10_000):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_side)
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(
            host, port, ssl=client_side, server_hostname="localhost"
        )
        sent = os.urandom(500_000)
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()
        await writer.wait_closed()
        server.close()

    zolal.run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="StreamWriter.start_tls is of Python 3.11")
def test_start_tls(tls_contexts):
    server_side, client_side = tls_contexts

    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"GO\n")
        await writer.drain()
        await writer.start_tls(server_side)
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"GO\n"
        await writer.start_tls(client_side, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").version().startswith("TLS")
        writer.write(b"secret\n")
        assert await reader.readline() == b"SECRET\n"
        writer.close()
        server.close()

    zolal.run(main())


def test_names_are_looked_up_in_threads():
    async def main():
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        assert {address[4][1] for address in found} == {80}

    zolal.run(main())


def test_asynchronous_generators_are_ended():
    ended = []

    async def numbers():
        try:
            for i in range(10):
                yield i
        finally:
            ended.append(1)

    async def main():
        async for i in numbers():
            if i == 3:
                break
        generator = numbers()
        await generator.__anext__()

    zolal.run(main())
    assert ended == [1, 1]
