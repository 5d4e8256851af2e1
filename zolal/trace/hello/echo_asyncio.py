"""An echo server by hand on asyncio: what comes goes back."""

import asyncio
import socket
import sys


async def echo(connection, loop):
    with connection:
        while data := await loop.sock_recv(connection, 1024):
            await loop.sock_sendall(connection, data)


async def listen_for_connection(server_socket, loop):
    tasks = set()
    while True:
        connection, address = await loop.sock_accept(server_socket)
        connection.setblocking(False)
        task = asyncio.create_task(echo(connection, loop))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def main():
    server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server_socket.setblocking(False)
    server_socket.bind(("127.0.0.1", int(sys.argv[1])))
    server_socket.listen()
    await listen_for_connection(server_socket, asyncio.get_running_loop())


asyncio.run(main())
