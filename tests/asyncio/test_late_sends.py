"""What a transport sends when there is room again, whom it connects to and how it closes: in the
recording, and nothing lost."""

import asyncio
import itertools
import socket
import struct
import threading

import pytest
from transports import Kept, accepted, kernel_calls, until

import zolal

SIZE = 6 << 20  # more than the kernel keeps for a connection of its own accord
PATTERN = bytes(itertools.islice(itertools.cycle(range(251)), SIZE))


def read_all(client):
    """What comes until the end."""
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


class Paused(Kept):
    """Notes too whether it is to write."""

    def pause_writing(self):
        self.told.append("pause")

    def resume_writing(self):
        self.told.append("resume")


def as_lines(transport):
    transport.writelines(PATTERN[i : i + 50_000] for i in range(0, SIZE, 50_000))


def as_pieces(transport):
    kinds = itertools.cycle((bytes, bytearray, memoryview))
    sizes = itertools.cycle((1, 70_000, 3, 1_000_000))
    done = 0
    while done < SIZE:
        piece = PATTERN[done : done + next(sizes)]
        transport.write(next(kinds)(piece))
        done += len(piece)


@pytest.mark.parametrize("end", ["close", "write_eof"])
@pytest.mark.parametrize("write", [as_pieces, as_lines, lambda transport: transport.write(PATTERN)])
def test_all_comes_in_order_and_then_the_end(write, end):
    received = []

    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0)), Paused) as (
            protocol,
            client,
            _,
        ):
            transport = protocol.transport
            write(transport)
            assert protocol.told == ["made", "pause"]
            assert transport.get_write_buffer_size() > 0
            getattr(transport, end)()
            reading = threading.Thread(target=lambda: received.append(read_all(client)))
            reading.start()
            await until(lambda: received)
            reading.join()
            assert protocol.told[:3] == ["made", "pause", "resume"]
            if end == "write_eof":
                transport.close()
            await until(lambda: protocol.told[-1] is None)
            return transport._sock_fd

    names = kernel_calls(main)
    assert received == [PATTERN]
    assert names.count("sendto") + names.count("sendmsg") > 1
    assert names.count("shutdown") == (end == "write_eof")
    assert names[-1] == "close"


def test_a_client_that_goes_away_ends_it():
    """What it was to get is dropped, and that is told once."""

    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0)), Paused) as (
            protocol,
            client,
            _,
        ):
            transport = protocol.transport
            transport.pause_reading()
            transport.write(PATTERN)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await until(lambda: len(protocol.told) == 3)
            assert isinstance(protocol.told[2], ConnectionResetError)
            assert transport.get_write_buffer_size() == 0
            transport.write(b"x")
            await asyncio.sleep(0.01)
            assert len(protocol.told) == 3

    zolal.run(main())


def test_one_that_is_aborted_when_it_may_go_on():
    class Aborts(Paused):
        def resume_writing(self):
            super().resume_writing()
            self.transport.abort()

    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0)), Aborts) as (
            protocol,
            client,
            _,
        ):
            protocol.transport.write(PATTERN)
            reading = threading.Thread(target=lambda: read_all(client))
            reading.start()
            await until(lambda: protocol.told[-1] is None)
            reading.join()
            await asyncio.sleep(0.01)
            assert protocol.told == ["made", "pause", "resume", None]

    zolal.run(main())


def test_one_that_writes_more_when_it_may_go_on():
    class More(Paused):
        def resume_writing(self):
            super().resume_writing()
            if self.told.count("resume") < 3:
                self.transport.write(PATTERN)
            else:
                self.transport.close()

    received = []

    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0)), More) as (protocol, client, _):
            protocol.transport.write(PATTERN)
            reading = threading.Thread(target=lambda: received.append(read_all(client)))
            reading.start()
            await until(lambda: protocol.told[-1] is None)
            reading.join()

    zolal.run(main())
    assert received[0] == PATTERN * 3


def client_calls(main):
    """The calls of a client's descriptor, which main(host, port) returns, from connect(2) on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return kernel_calls(lambda: main(*listener.getsockname()), first="connect")


def test_a_client_connects_and_closes_in_the_recording():
    async def main(host, port):
        _, writer = await asyncio.open_connection(host, port)
        fd = writer.get_extra_info("socket").fileno()
        writer.write(b"x")
        writer.close()
        await writer.wait_closed()
        return fd

    names = client_calls(main)
    assert names[:3] == ["connect", "add", "getsockopt"]
    assert [name for name in names if name in ("sendto", "close")] == ["sendto", "close"]


def test_a_socket_of_the_program_is_closed_with_its_transport():
    async def main(host, port):
        sock = socket.socket()
        sock.setblocking(False)
        fd = sock.fileno()
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (host, port))
        transport, _ = await loop.create_connection(Kept, sock=sock)
        transport.close()
        await until(lambda: sock.fileno() == -1)
        return fd

    assert client_calls(main)[-1] == "close"


def test_a_file_of_the_socket_outlives_the_transport():
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sock = socket.create_connection(listener.getsockname())
            accepted_one, _ = listener.accept()
        file = sock.makefile("rb", buffering=0)
        sock.setblocking(False)
        transport, protocol = await asyncio.get_running_loop().create_connection(Kept, sock=sock)
        transport.close()
        await until(lambda: protocol.told[-1] is None)
        with accepted_one:
            accepted_one.sendall(b"later")
            assert file.read(5) == b"later"
        file.close()
        assert sock.fileno() == -1

    zolal.run(main())


@pytest.mark.parametrize("address", [("127.0.0.1", 1), "/nowhere/at/all"])
def test_who_cannot_be_reached_is_named_as_asyncio_names_it(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET

    async def main():
        with socket.socket(family) as sock:
            sock.setblocking(False)
            with pytest.raises(OSError) as raised:
                await asyncio.get_running_loop().sock_connect(sock, address)
            return type(raised.value), str(raised.value)

    assert zolal.run(main()) == asyncio.run(main())


@pytest.mark.parametrize("address", [("127.0.0.1", 99999), ("127.0.0.1",), 7, None])
def test_an_address_that_is_none_is_refused(address):
    async def main():
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises((TypeError, OverflowError, ValueError)) as raised:
                await asyncio.get_running_loop().sock_connect(sock, address)
            return type(raised.value)

    assert zolal.run(main()) is asyncio.run(main())


def test_a_closed_socket_does_not_connect():
    async def main():
        sock = socket.socket()
        sock.setblocking(False)
        sock.close()
        with pytest.raises(OSError, match="Bad file descriptor|file descriptor cannot"):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", 1))

    zolal.run(main())
