"""An echo server by hand on asyncio's sockets."""

import asyncio
import socket
import sys


async def echo(client, loop):
    with client:
        while data := await loop.sock_recv(client, 1024):
            await loop.sock_sendall(client, data)


async def listen_for_connection(server, loop):
    tasks = set()
    while True:
        client, _ = await loop.sock_accept(server)
        client.setblocking(False)
        tasks.add(asyncio.create_task(echo(client, loop)))


async def main():
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setblocking(False)
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen()
    await listen_for_connection(server, asyncio.get_running_loop())


asyncio.run(main())
