"""As many connections as a process may have, both ends on one zolal.EventLoop."""

import asyncio
import gc
import socket
import struct

import pytest

import zolal

CONNECTIONS = 10_000
SPARE = 200  # descriptors that this process needs for other things
AT_ONCE = 200
RESET = struct.pack("ii", 1, 0)  # no port stays in TIME_WAIT


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def serve_by_hand(loop, listener, count):
    async def echo(sock):
        with sock:
            while data := await loop.sock_recv(sock, 100):
                await loop.sock_sendall(sock, data)

    tasks = [loop.create_task(echo((await loop.sock_accept(listener))[0])) for _ in range(count)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(result is None or isinstance(result, ConnectionError) for result in results)


async def connect(loop, address):
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await loop.sock_connect(sock, address)
    return sock


async def ask(loop, sock, text):
    await loop.sock_sendall(sock, text)
    assert await loop.sock_recv(sock, 100) == text


async def main(kind, count):
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=AT_ONCE)
    listener.setblocking(False)
    address = listener.getsockname()
    if kind == "protocol":
        server = await loop.create_server(Echo, sock=listener, backlog=AT_ONCE)
    else:
        server = loop.create_task(serve_by_hand(loop, listener, count))
    clients = []
    for _ in range(0, count, AT_ONCE):
        some = min(AT_ONCE, count - len(clients))
        clients += await asyncio.gather(*(connect(loop, address) for _ in range(some)))
    for _ in range(2):
        await asyncio.gather(*(ask(loop, sock, b"%d" % n) for n, sock in enumerate(clients)))
    for sock in clients:
        sock.close()
    if kind == "protocol":
        server.close()
    else:
        await server
    listener.close()


@pytest.mark.parametrize("kind", ["protocol", "by hand"])
def test_ten_thousand_connections(own_limit, kind):
    gc.collect()
    count = min(CONNECTIONS, (own_limit - SPARE) // 2)
    zolal.run(main(kind, count))
