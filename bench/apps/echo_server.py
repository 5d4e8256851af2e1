"""An echo server in one of four ways, on one of the loops:

echo_server.py LOOP sock|protocol|streams|tls PORT [CERTIFICATE]"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys

from loops import new_loop

MOST = 4096  # bytes that are asked for at once
BACKLOG = 4096


def listening(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    listener.setblocking(False)
    return listener


async def forever(server: object) -> None:
    """It serves already; rloop's serve_forever() does not."""
    while True:
        await asyncio.sleep(3600)


async def echo(connection: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
    with connection:
        while data := await loop.sock_recv(connection, MOST):
            await loop.sock_sendall(connection, data)


async def by_sock(port: int) -> None:
    loop, tasks = asyncio.get_running_loop(), set()
    listener = listening(port)
    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(echo(connection, loop))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


class Echo(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def by_protocol(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=BACKLOG)
    await forever(server)


async def of_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(MOST):
        writer.write(data)
        await writer.drain()
    writer.close()


async def by_streams(port: int, context: ssl.SSLContext | None = None) -> None:
    server = await asyncio.start_server(of_stream, "127.0.0.1", port, backlog=BACKLOG, ssl=context)
    await forever(server)


async def by_tls(port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4])
    await by_streams(port, context)


def main() -> None:
    loop = new_loop(sys.argv[1])
    ways = {"sock": by_sock, "protocol": by_protocol, "streams": by_streams, "tls": by_tls}
    asyncio.set_event_loop(loop)
    loop.run_until_complete(ways[sys.argv[2]](int(sys.argv[3])))


if __name__ == "__main__":
    main()
