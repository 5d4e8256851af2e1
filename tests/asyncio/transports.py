"""Connections of a server on zolal.EventLoop, and the kernel calls that were made for them."""

import asyncio
import contextlib
import socket
import struct

import zolal
from zolal import _zolal


class Kept(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def connection_made(self, transport):
        self.transport = transport
        self.told.append("made")

    def data_received(self, data):
        self.told.append(data)

    def eof_received(self):
        self.told.append("eof")

    def connection_lost(self, failure):
        self.told.append(failure)


async def until(condition):
    """Let the loop turn until it is true."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come")


@contextlib.asynccontextmanager
async def accepted(listener, made=Kept, **options):
    """A server's protocol, and its client, a blocking socket of the standard library."""
    protocols = []

    def factory():
        protocols.append(made())
        return protocols[-1]

    server = await asyncio.get_running_loop().create_server(factory, sock=listener, **options)
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname())
        await until(lambda: protocols and protocols[0].told)
        yield protocols[0], client, server
    server.close()
    protocols[0].transport.abort()


def kernel_calls(main, first="accept4"):
    """The names of the calls for a connection's descriptor, which main() returns, from
    `first` on."""
    _zolal.recording_stop()
    reader = _zolal.Reader(_zolal.recording_start())
    try:
        fd = zolal.run(main())
        calls = [(one.fd, one.result, one.op, one.args) for one in reader.read()]
    finally:
        reader.close()
        _zolal.recording_stop()
    names = []
    for on, result, name, args in calls:
        if name == "epoll_ctl":
            operation, on = struct.unpack_from("=ii", args)
            name = {1: "add", 2: "delete", 3: "modify"}[operation]
        if fd in (on, result) and name != "epoll_wait":
            names.append(name)
    return names[names.index(first) :]
