"""The article's echo server on zolal's event loop, and a client: python examples/event_loop.py"""

import asyncio

import zolal
from zolal import socket


async def echo(connection, loop):
    with connection:
        while data := await loop.sock_recv(connection, 1024):
            await loop.sock_sendall(connection, data)


async def listen(listener, loop):
    connection, address = await loop.sock_accept(listener)
    await loop.create_task(echo(connection, loop), name="echo")


async def ask(client, loop, address):
    await loop.sock_connect(client, address)
    await loop.sock_sendall(client, b"hello")
    return await loop.sock_recv(client, 1024)


async def main():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        serving = loop.create_task(listen(listener, loop), name="listen")
        assert await ask(client, loop, listener.getsockname()) == b"hello"
        client.shutdown(socket.SHUT_WR)
        await serving


zolal.run(main(), xray=True)
