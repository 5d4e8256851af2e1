"""zolal.EventLoop for `--minutes`: servers of three kinds on one, clients on another that come,
cancel, half-close and reset at random. Every byte is compared as it comes back."""

import asyncio
import contextlib
import ctypes
import gc
import os
import random
import socket
import struct
import threading
import time

import pytest
from probe import descriptors, private_memory

import zolal

MIB = 1 << 20
CLIENTS = 60
MEMORY = 3 * MIB
OBJECTS = 1000
RESET = struct.pack("ii", 1, 0)


async def patiently(chance, operation):
    """Await operation() until it is done, and cancel it at random moments: nothing is lost."""
    while True:
        try:
            return await asyncio.wait_for(operation(), chance.choice([0, 0.0001, 0.001, 0.01, 5]))
        except asyncio.TimeoutError:  # noqa: UP041 another class in 3.10
            pass


async def echo_by_hand(chance, sock):
    loop = asyncio.get_running_loop()
    with sock, contextlib.suppress(ConnectionError):
        while data := await patiently(chance, lambda: loop.sock_recv(sock, 20_000)):
            await loop.sock_sendall(sock, data)


async def echo_streams(chance, reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await patiently(chance, lambda: reader.read(20_000)):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Servers:
    """Three echo servers on a loop of a thread of their own. `ports`; `tasks()`: those that are
    there for connections."""

    def __init__(self):
        self.ports = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: zolal.run(self._main()))

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *unused):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def tasks(self):
        names = {echo_by_hand.__qualname__, echo_streams.__qualname__}
        return sum(one.get_coro().__qualname__ in names for one in asyncio.all_tasks(self._loop))

    async def _accept(self, listener):
        chance, tasks = random.Random(1), set()
        while True:
            sock, _ = await patiently(chance, lambda: self._loop.sock_accept(listener))
            task = self._loop.create_task(echo_by_hand(random.Random(len(tasks)), sock))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _main(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        chance = random.Random(2)
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        listener.setblocking(False)
        streams = await asyncio.start_server(
            lambda reader, writer: echo_streams(chance, reader, writer), "127.0.0.1", 0
        )
        protocols = await self._loop.create_server(Echo, "127.0.0.1", 0)
        accepting = self._loop.create_task(self._accept(listener))
        sockets = [listener, *streams.sockets, *protocols.sockets]
        self.ports = [one.getsockname()[1] for one in sockets]
        self._ready.set()
        await self._over.wait()
        accepting.cancel()
        listener.close()
        for server in (streams, protocols):
            server.close()


async def talk(chance, sock):
    """Messages that come back as they went, then a half-close, behind more data at times."""
    loop = asyncio.get_running_loop()
    for _ in range(chance.randint(1, 8)):
        data = os.urandom(chance.choice([1, 100, 5_000, 70_000, 600_000]))
        sending = loop.create_task(loop.sock_sendall(sock, data))
        assert await receive(loop, sock, len(data)) == data
        await sending
    last = os.urandom(chance.choice([0, 0, 3_000]))
    await loop.sock_sendall(sock, last)
    sock.shutdown(socket.SHUT_WR)
    assert await receive(loop, sock, len(last) + 1) == last


async def receive(loop, sock, count):
    got = bytearray()
    while len(got) < count and (data := await loop.sock_recv(sock, count - len(got))):
        got += data
    return bytes(got)


async def visit(chance, ports):
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)  # no TIME_WAIT
        await loop.sock_connect(sock, ("127.0.0.1", chance.choice(ports)))
        await talk(chance, sock)


async def come_and_go(seed, ports, end, counts):
    """One client after another; every third leaves at a random moment."""
    chance = random.Random(seed)
    while time.monotonic() < end:
        if chance.random() < 0.33:
            task = asyncio.ensure_future(visit(chance, ports))
            await asyncio.sleep(chance.choice([0, 0.0005, 0.005, 0.05]))
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            counts["left"] += 1
        else:
            await asyncio.wait_for(visit(chance, ports), 60)
            counts["served"] += 1


async def all_clients(ports, seconds, counts):
    end = time.monotonic() + seconds
    await asyncio.gather(*(come_and_go(n, ports, end, counts) for n in range(CLIENTS)))


def settled(servers):
    """What this process holds once the connections are over."""
    for _ in range(2000):
        if servers.tasks() == 0:
            break
        time.sleep(0.01)
    assert servers.tasks() == 0
    gc.collect()
    # What is free stays with glibc in pieces, 10 MiB and more of it by chance: that is nobody's.
    ctypes.CDLL(None).malloc_trim(0)
    return descriptors(os.getpid()), private_memory(os.getpid()), len(gc.get_objects())


@pytest.mark.soak
def test_loop_soak(request):
    seconds = request.config.getoption("minutes") * 60
    counts = {"left": 0, "served": 0}
    with Servers() as servers:
        zolal.run(all_clients(servers.ports, min(10, seconds), counts))
        before = settled(servers)
        zolal.run(all_clients(servers.ports, seconds, counts))
        after = settled(servers)
    print(f"\n{counts}; descriptors, bytes, objects: {before} then {after}")
    assert min(counts.values()) > 100
    assert after[0] == before[0]
    assert after[1] - before[1] < MEMORY
    assert after[2] - before[2] < OBJECTS
