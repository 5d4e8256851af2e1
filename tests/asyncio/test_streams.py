"""Transports, protocols and streams on zolal.EventLoop."""

import asyncio
import gc
import socket
import struct
import weakref

import pytest

import zolal
from zolal import _zolal


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.buffer = bytearray(1000)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.transport.write(self.buffer[:nbytes])


@pytest.mark.parametrize("protocol", [Echo, BufferedEcho])
def test_a_protocol_echoes_more_than_the_kernel_holds(protocol):
    async def main():
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        sent = bytes(range(256)) * 40_000
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent
        writer.close()
        await writer.wait_closed()
        server.close()

    zolal.run(main())


def test_what_is_written_while_the_peer_does_not_read_keeps_its_order():
    async def main():
        a, b = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=a)
        sent = b""
        for i in range(3000):
            piece = b"%d " % i * 100
            writer.write((piece, bytearray(piece), memoryview(piece))[i % 3])
            sent += piece
        assert writer.transport.get_write_buffer_size() > 0
        reader, other = await asyncio.open_connection(sock=b)
        assert await reader.readexactly(len(sent)) == sent
        await writer.drain()
        writer.close()
        other.close()

    zolal.run(main())


def lost_of(protocol_failure, end):
    """What connection_lost() is given, and the reports, when `end` ends the peer's side."""
    lost, reports = [], []

    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            if protocol_failure:
                raise protocol_failure

        def connection_lost(self, failure):
            lost.append(failure)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.send(b"x")
            await asyncio.sleep(0.01)
            end(client)
        while not lost:
            await asyncio.sleep(0.001)
        server.close()

    zolal.run(main())
    return lost[0], reports


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_how_a_connection_ends():
    assert lost_of(None, lambda client: None) == (None, [])
    assert isinstance(lost_of(None, reset)[0], ConnectionResetError)
    failure, reports = lost_of(ValueError("no"), lambda client: None)
    assert isinstance(failure, ValueError)
    assert reports == ["Fatal error: protocol.data_received() call failed."]


def test_what_write_refuses():
    async def main():
        a, b = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=a)
        with pytest.raises(TypeError, match="bytes"):
            writer.transport.write("text")
        writer.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            writer.write(b"x")
        writer.close()
        b.close()

    zolal.run(main())


class Keeper(asyncio.Protocol):
    """Keeps every other message; each has the hash of what is in it."""

    def __init__(self):
        self.kept, self.count, self.lengths = [], 0, set()

    def data_received(self, data):
        self.lengths.add(len(data))
        assert hash(data) == hash(bytes(bytearray(data)))
        self.count += 1
        if self.count % 2:
            self.kept.append((data, bytearray(data)))


def test_a_message_that_was_kept_stays_as_it_was():
    async def main():
        loop = asyncio.get_running_loop()
        failed = []
        loop.set_exception_handler(lambda loop, context: failed.append(context))
        a, b = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
        other, keeper = await loop.create_connection(Keeper, sock=b)
        lengths = [1, 511, 512, 600, 700, 700, 1024, 1024, 1024, 600, 1024, 3000, 3000, 65536]
        for number, length in enumerate(3 * lengths):
            transport.write(bytes([number + 1]) * length)
            while keeper.count == number and not failed:
                await asyncio.sleep(0)
        assert keeper.lengths == set(lengths) and not failed
        assert len(keeper.kept) == keeper.count // 2
        assert all(data == copy for data, copy in keeper.kept)
        transport.close()
        other.close()

    zolal.run(main())


def test_nothing_is_left_of_a_transport():
    gone = []

    class Protocol(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            gone.extend((weakref.ref(self), weakref.ref(transport)))

    async def main():
        loop = asyncio.get_running_loop()
        for ends in (socket.socketpair() for _ in range(20)):
            await loop.connect_accepted_socket(Protocol, ends[0])
            ends[1].send(b"x")
            await asyncio.sleep(0.001)
            assert ends[1].recv(10) == b"x"
            ends[1].close()
            await asyncio.sleep(0.001)
        gc.collect()
        return [one() for one in gone]

    assert zolal.run(main()) == [None] * 40


def test_the_attributes_of_transports_are_those_of_asyncio():
    async def main():
        a, b = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=a)
        transport = writer.transport
        assert (transport._loop, transport._sock_fd) == (asyncio.get_running_loop(), a.fileno())
        assert (transport._eof, transport._conn_lost, len(transport._buffer)) == (False, 0, 0)
        assert transport._protocol is transport.get_protocol()
        transport.set_protocol(asyncio.Protocol())
        assert transport._protocol is transport.get_protocol()
        writer.close()
        b.close()

    zolal.run(main())
    with pytest.raises(TypeError, match="is no class"):
        _zolal.make_stream_transport(1)
