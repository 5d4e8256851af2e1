"""Servers with TLS whose protocols write down what they are told, and their blocking clients."""

import asyncio
import contextlib
import socket
import ssl
import sys
import threading

import pytest

import zolal

PATIENCE = 20
# On Python 3.10 TLS is asyncio's own.
needs_own = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has its own way")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Told(asyncio.Protocol):
    """Writes down each call; of data that come in a row, the sum. Echoes them."""

    def __init__(self, story):
        self.story = story
        self.transport = None

    def add(self, name, value=b""):
        if name == "data" and self.story and self.story[-1][0] == "data":
            value = self.story.pop()[1] + value
        self.story.append((name, value))

    def connection_made(self, transport):
        self.transport = transport
        self.add("made")

    def data_received(self, data):
        self.add("data", data)
        self.answer(data)

    def answer(self, data):
        self.transport.write(data)

    def eof_received(self):
        self.add("eof")

    def connection_lost(self, failure):
        self.add("lost", (type(failure), getattr(failure, "reason", None), text_of(failure)))


class ToldInto(Told, asyncio.BufferedProtocol):
    """The same by a buffer of its own, which is small."""

    room = 1000

    def get_buffer(self, hint):
        self.buffer = bytearray(self.room)
        return memoryview(self.buffer)

    def buffer_updated(self, count):
        self.data_received(bytes(self.buffer[:count]))


def text_of(failure):
    """Without the line of Modules/_ssl.c, which says where it was found."""
    return str(failure).partition(" (_ssl.c")[0]


async def served(kind, context, client, **options):
    """What one connection's protocol was told, and what the exception handler was, while the client
    (called with the port, in a thread) did what it does."""
    loop = asyncio.get_running_loop()
    story, reports, made = [], [], []

    def handler(_, said):
        reports.append((said["message"], type(said.get("exception"))))

    loop.set_exception_handler(handler)

    def factory():
        made.append(kind(story))
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context, **options)
    port = server.sockets[0].getsockname()[1]
    await asyncio.wait_for(loop.run_in_executor(None, client, port), PATIENCE)
    while not made or any(transport._sock for transport in loop._transports.values()):
        await asyncio.sleep(0.01)
    server.close()
    await server.wait_closed()
    return story, reports


@contextlib.contextmanager
def connected(port, context, version=None):
    """A client's socket, its handshake done."""
    if version:
        context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            yield secure


class ByHand:
    """A client that has its ciphertext in its hands."""

    def __init__(self, port, context):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.step(self.tls.do_handshake)
        self.flush()

    def flush(self):
        self.socket.sendall(self.outgoing.read())

    def step(self, call, *arguments):
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                received = self.socket.recv(1 << 16)
                if not received:
                    raise EOFError from None
                self.incoming.write(received)

    def encrypted(self, data):
        self.tls.write(data)
        return self.outgoing.read()

    def read_exactly(self, count):
        data = b""
        while len(data) < count:
            data += self.step(self.tls.read, count - len(data))
        return data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def say_goodbye(secure):
    """close_notify; Python 3.10's asyncio answers with none."""
    with contextlib.suppress(OSError):
        secure.unwrap()


def read_exactly(secure, count):
    data = bytearray()
    while len(data) < count:
        piece = secure.recv(min(1 << 16, count - len(data)))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def in_thread(call, *arguments):
    thread = threading.Thread(target=call, args=arguments, daemon=True)
    thread.start()
    return thread


class Foreign(ssl.SSLObject):
    """One of a program's own: zolal leaves it to `_ssl`."""


def run(main, factory=zolal.new_event_loop):
    loop = factory()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def both(kind, context, client, **options):
    """What is told on zolal's loop, which must be what asyncio tells: directly, and by `_ssl`."""
    expected = run(served(kind, context, client, **options), asyncio.SelectorEventLoop)
    found = run(served(kind, context, client, **options))
    assert found == expected
    try:
        context.sslobject_class = Foreign
        assert run(served(kind, context, client, **options)) == expected
    finally:
        del context.sslobject_class
    return found
