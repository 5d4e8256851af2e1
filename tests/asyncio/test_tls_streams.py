"""TLS that begins within a stream, openssl's own programs as peers, and what is left afterwards."""

import asyncio
import ctypes
import gc
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from asyncio import sslproto

import pytest
from running import UNDER_ASAN
from tls_peers import (
    PATIENCE,
    ByHand,
    Told,
    ToldInto,
    both,
    connected,
    needs_own,
    read_exactly,
    run,
    say_goodbye,
    served,
)

import zolal


@needs_own
def test_start_tls_on_a_stream_that_had_messages(tls_contexts):
    server_side, client_side = tls_contexts

    async def of_stream(reader, writer):
        while (line := await reader.readline()) != b"STARTTLS\n":
            writer.write(line.upper())
        writer.write(b"GO\n")
        await writer.start_tls(server_side)
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(of_stream, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"plain\n")
        assert await reader.readline() == b"PLAIN\n"
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"GO\n"
        await writer.start_tls(client_side, server_hostname="localhost")
        for size in (1, 1000, 300_000):
            sent = os.urandom(size)
            writer.write(sent)
            assert await reader.readexactly(size) == sent
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main())


@needs_own
def test_tls_in_tls(tls_contexts):
    server_side, client_side = tls_contexts

    async def of_stream(reader, writer):
        await writer.start_tls(server_side)
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(of_stream, "127.0.0.1", 0, ssl=server_side)
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_side, server_hostname="localhost"
        )
        await writer.start_tls(client_side, server_hostname="localhost")
        for size in (1, 1000, 300_000):
            sent = os.urandom(size)
            writer.write(sent)
            assert await reader.readexactly(size) == sent
        writer.close()
        server.close()

    run(main())


def test_start_tls_refuses_what_asyncio_refuses(tls_contexts):
    async def main():
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        transport, protocol = await loop.create_connection(asyncio.Protocol, sock=a)
        with pytest.raises(TypeError, match="sslcontext is expected to be"):
            await loop.start_tls(transport, protocol, None)
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(object(), protocol, tls_contexts[0])
        transport.close()
        b.close()

    run(main())


def test_a_protocol_that_hands_over_to_another(tls_contexts):
    server_side, client_side = tls_contexts

    class First(Told):
        def data_received(self, data):
            self.add("first", data)
            second = ToldInto(self.story)
            second.transport = self.transport
            self.transport.set_protocol(second)
            assert self.transport.get_protocol() is second
            self.transport.write(b"next")

    def client(port):
        with connected(port, client_side) as secure:
            secure.sendall(b"x")
            assert read_exactly(secure, 4) == b"next"
            secure.sendall(b"y" * 3000)
            assert read_exactly(secure, 3000) == b"y" * 3000
            say_goodbye(secure)

    story, _ = both(First, server_side, client)
    assert ("data", b"y" * 3000) in story


def lines_until(stream, last):
    for line in stream:
        if last in line:
            return line
    raise EOFError(last)


@pytest.mark.parametrize("command", [b"k\n", b"K\n"])
def test_keys_are_changed_in_the_middle(tls_contexts, command):
    """By s_client's commands: K also asks the server for new keys of its own."""
    server_side, _ = tls_contexts

    def client(port):
        words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3"]
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
            for word in (b"before\n", b"between\n", b"after\n"):
                process.stdin.write(word)
                process.stdin.flush()
                lines_until(process.stdout, word)
                process.stdin.write(command)
                process.stdin.flush()
                lines_until(process.stdout, b"KEYUPDATE")
            process.stdin.close()

    story, reports = run(served(Told, server_side, client))
    assert story[1] == ("data", b"before\nbetween\nafter\n")
    assert reports == []


@pytest.mark.parametrize("option, command", [("-tls1_2", b"r\n"), ("-tls1_3", b"K\n")])
def test_a_server_that_negotiates_anew(tls_contexts, tmp_path, option, command):
    """By s_server's commands: r has a new handshake under TLS 1.2, K new keys under 1.3."""
    words = ["openssl", "s_server", "-accept", "127.0.0.1:0", option]
    words += ["-cert", "cert.pem", "-key", "key.pem"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=tmp_path, stdin=pipe, stdout=pipe) as process:
        port = int(lines_until(process.stdout, b"ACCEPT").split(b":")[-1])
        run(asyncio.wait_for(talk_to_s_server(process, port, tls_contexts[1], command), PATIENCE))
        process.terminate()


async def talk_to_s_server(process, port, context, command):
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    for word in (b"one\n", b"two\n", b"three\n"):
        writer.write(word)
        await loop.run_in_executor(None, lines_until, process.stdout, word)
        process.stdin.write(command)  # one that comes together with a line is not seen
        process.stdin.flush()
        await asyncio.sleep(0.2)
        process.stdin.write(word)
        process.stdin.flush()
        assert await reader.readline() == word
    writer.close()


def leave_errors():
    """In this thread's queue of OpenSSL, as other libraries do."""
    library = ctypes.CDLL(vars(sys.modules["_ssl"])["__file__"])
    if not hasattr(library, "ERR_new"):
        pytest.skip("this OpenSSL has no ERR_new()")
    library.ERR_new()
    library.ERR_set_error(20, 258, None)


@needs_own
def test_errors_of_other_code_are_not_taken_for_those_of_the_connection(tls_contexts):
    server_side, client_side = tls_contexts

    class Disturbing(Told):
        def data_received(self, data):
            leave_errors()
            super().data_received(data)
            leave_errors()

    def client(port):
        with ByHand(port, client_side) as peer:
            for _ in range(3):
                record = peer.encrypted(b"hello")
                peer.socket.sendall(record[:9])
                time.sleep(0.01)
                peer.socket.sendall(record[9:])
                assert peer.read_exactly(5) == b"hello"

    story, reports = run(served(Disturbing, server_side, client))
    assert story[1] == ("data", b"hello" * 3)
    assert reports == []


@pytest.mark.skipif(
    UNDER_ASAN, reason="ASan looks for leaks itself; tracemalloc has one of its own"
)
def test_nothing_is_left_of_messages_and_connections(tls_contexts):
    server_side, client_side = tls_contexts

    async def of_stream(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def talk(address, connections, messages):
        for _ in range(connections):
            reader, writer = await asyncio.open_connection(
                *address, ssl=client_side, server_hostname="localhost"
            )
            for _ in range(messages):
                writer.write(b"x" * 3000)
                await reader.readexactly(3000)
            writer.close()
            await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(of_stream, "127.0.0.1", 0, ssl=server_side)
        found = []
        for connections, messages in ((3, 10), (3, 10), (3, 1000), (30, 10)):
            await talk(server.sockets[0].getsockname(), connections, messages)
            await asyncio.sleep(0.1)
            gc.collect()
            found.append(tracemalloc.get_traced_memory()[0])
            assert not [o for o in gc.get_objects() if isinstance(o, sslproto.SSLProtocol)]
        server.close()
        return found

    tracemalloc.start()
    try:
        _, begun, messages, connections = run(main())
    finally:
        tracemalloc.stop()
    assert messages - begun < 100_000
    assert connections - messages < 100_000


def test_loops_in_threads(tls_contexts):
    server_side, client_side = tls_contexts
    done = []

    def one():
        def client(port):
            with connected(port, client_side) as secure:
                for _ in range(200):
                    secure.sendall(b"x" * 2000)
                    assert read_exactly(secure, 2000) == b"x" * 2000
                say_goodbye(secure)

        story, reports = run(served(Told, server_side, client))
        done.append((len(story[1][1]), reports))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == [(400_000, [])] * 4


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes the certificate")
def test_many_at_once(tls_contexts):
    server_side, client_side = tls_contexts

    async def main():
        async def of_stream(reader, writer):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.close()

        async def talk(number):
            reader, writer = await asyncio.open_connection(
                *address, ssl=client_side, server_hostname="localhost"
            )
            for size in (1, 500, 40_000):
                sent = bytes([number]) * size
                writer.write(sent)
                assert await reader.readexactly(size) == sent
            writer.close()

        server = await asyncio.start_server(of_stream, "127.0.0.1", 0, ssl=server_side)
        address = server.sockets[0].getsockname()
        await asyncio.gather(*(talk(number) for number in range(100)))
        server.close()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio's streams have it from 3.11 on")
def test_start_tls_takes_what_had_come_for_the_beginning_of_tls(tls_contexts):
    """gh-142352, of 3.14: else it would be read as if it had come encrypted."""
    server_side, client_side = tls_contexts
    lines = []

    async def serve(reader, writer):
        while not reader._buffer:
            await asyncio.sleep(0.001)
        await writer.start_tls(server_side)
        lines.append(await reader.readline())
        writer.write(b"pong\n")
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await writer.start_tls(client_side, server_hostname="localhost")
        writer.write(b"ping\n")
        lines.append(await asyncio.wait_for(reader.readline(), 20))
        writer.close()
        server.close()

    zolal.run(asyncio.wait_for(main(), 30))
    assert lines == [b"ping\n", b"pong\n"]
