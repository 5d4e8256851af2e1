"""What is received goes into asyncio's StreamReader without its Python code, and only where it is
asyncio's: whatever a program puts in its place is called."""

import asyncio
import contextlib
import socket

import pytest
from transports import until

import zolal


@contextlib.asynccontextmanager
async def stream(**options):
    """A reader, its writer, and the peer: a blocking socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader, writer = await asyncio.open_connection(*listener.getsockname(), **options)
        peer, _ = listener.accept()
    with peer:
        yield reader, writer, peer
    writer.close()
    with contextlib.suppress(Exception):  # of what the tests have broken
        await writer.wait_closed()


def run(using):
    """using(reader, writer, peer), on zolal's loop."""

    async def main():
        async with stream() as ends:
            return await using(*ends)

    return zolal.run(main())


def test_the_python_code_does_not_run(monkeypatch):
    """Else the tests below would prove nothing."""

    async def main(reader, writer, peer):
        called = []
        code = asyncio.StreamReader._wakeup_waiter
        monkeypatch.setattr(
            asyncio.StreamReader, "_wakeup_waiter", lambda self: called.append(1) or code(self)
        )
        peer.sendall(b"x")
        assert await reader.read(10) == b"x"
        assert not called

    run(main)


@pytest.mark.parametrize("of", ["class", "instance"])
@pytest.mark.parametrize("name", ["data_received", "feed_data"])
def test_a_method_of_the_program_s_is_called(of, name, monkeypatch):
    async def main(reader, writer, peer):
        owner = writer.transport.get_protocol() if name == "data_received" else reader
        seen = []
        code = getattr(type(owner), name)
        if of == "class":
            monkeypatch.setattr(
                type(owner), name, lambda self, data: seen.append(data) or code(self, data)
            )
        else:
            setattr(owner, name, lambda data: seen.append(data) or code(owner, data))
        peer.sendall(b"x")
        assert await reader.read(10) == b"x"
        assert seen == [b"x"]

    run(main)


def test_a_class_of_the_program_s_is_called():
    class Reader(asyncio.StreamReader):
        def feed_data(self, data):
            super().feed_data(data.upper())

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader = Reader(loop=loop)
            transport, _ = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(reader), *listener.getsockname()
            )
            peer, _ = listener.accept()
        with peer:
            peer.sendall(b"x")
            assert await reader.read(10) == b"X"
        transport.close()

    zolal.run(main())


@pytest.mark.parametrize("limit", [100, 1e3])
def test_a_reader_that_is_full_receives_no_more(limit):
    async def main():
        async with stream(limit=limit) as (reader, writer, peer):
            full = 2 * int(limit)
            peer.sendall(b"x" * full)
            await until(lambda: len(reader._buffer) == full)
            assert writer.transport.is_reading()
            peer.sendall(b"y")
            await until(lambda: not writer.transport.is_reading())
            peer.sendall(b"z")
            await asyncio.sleep(0.01)
            assert len(reader._buffer) == full + 1
            assert await reader.readexactly(full + 2) == b"x" * full + b"yz"
            assert writer.transport.is_reading()

    zolal.run(main())


def test_a_wait_that_was_cancelled_takes_nothing():
    async def main(reader, writer, peer):
        waits = asyncio.ensure_future(reader.read(10))
        await asyncio.sleep(0)
        waits.cancel()
        peer.sendall(b"x")
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert await reader.read(10) == b"x"

    run(main)


def test_a_waiter_that_is_cancelled_already_is_left_alone():
    async def main(reader, writer, peer):
        reader._waiter = asyncio.get_running_loop().create_future()
        reader._waiter.cancel()
        peer.sendall(b"x")
        await until(lambda: reader._buffer)
        assert reader._waiter is None
        assert await reader.read(10) == b"x"

    run(main)


def test_a_protocol_whose_reader_is_gone_feeds_nobody():
    """It does not hold its reader."""

    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            readers = [asyncio.StreamReader(loop=loop)]
            transport, protocol = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(readers[0]), *listener.getsockname()
            )
            peer, _ = listener.accept()
        with peer:
            readers.clear()
            await until(lambda: protocol._stream_reader is None)
            peer.sendall(b"x")
            await asyncio.sleep(0.01)
            assert not transport.is_closing()
        transport.close()

    zolal.run(main())


@pytest.mark.parametrize("broken", ["_buffer", "_waiter", "_limit"])
def test_what_fails_inside_is_reported_as_data_received_s(broken):
    async def main(reader, writer, peer):
        loop, reports = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        setattr(reader, broken, object())
        peer.sendall(b"x")
        await until(lambda: reports)
        assert reports[0]["message"] == "Fatal error: protocol.data_received() call failed."
        assert isinstance(reports[0]["exception"], (TypeError, AttributeError))
        assert writer.transport.is_closing()
        reader._waiter, reader._buffer = None, bytearray()

    run(main)


def test_a_buffer_that_is_looked_at_cannot_grow():
    async def main(reader, writer, peer):
        loop, reports = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        with memoryview(reader._buffer):
            peer.sendall(b"x")
            await until(lambda: reports)
        assert isinstance(reports[0]["exception"], BufferError)

    run(main)


def test_data_after_the_end_are_refused_as_asyncio_refuses_them():
    async def main(reader, writer, peer):
        loop, reports = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        reader.feed_eof()
        peer.sendall(b"x")
        await until(lambda: reports)
        assert isinstance(reports[0]["exception"], AssertionError)

    run(main)
