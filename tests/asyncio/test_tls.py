"""TLS on the event loop: messages, and what is known of a connection."""

import asyncio
import gc
import os
import socket
import ssl
import time

import pytest
from tls_peers import (
    VERSIONS,
    ByHand,
    Foreign,
    Told,
    ToldInto,
    both,
    connected,
    needs_own,
    read_exactly,
    run,
    say_goodbye,
    served,
)

import zolal


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [Told, ToldInto])
def test_what_is_sent_comes_back(tls_contexts, kind, version):
    server_side, client_side = tls_contexts
    sizes = [1, 2, 1000, 1001, 16384, 16385, 100_000, 1_000_000]

    def client(port):
        with connected(port, client_side, version) as secure:
            for size in sizes:
                sent = os.urandom(size)
                secure.sendall(sent)
                assert read_exactly(secure, size) == sent

    story, reports = run(served(kind, server_side, client))
    assert [name for name, _ in story] == ["made", "data", "eof", "lost"]
    assert len(story[1][1]) == sum(sizes)
    assert reports == []


@pytest.mark.parametrize("kind", [Told, ToldInto])
def test_records_cut_at_every_byte(tls_contexts, kind):
    server_side, client_side = tls_contexts
    sent = [b"first", b"second message", b"3"]

    def client(port):
        with ByHand(port, client_side) as peer:
            for byte in peer.encrypted(sent[0]):
                peer.socket.sendall(bytes([byte]))
                time.sleep(0.0005)
            assert peer.read_exactly(len(sent[0])) == sent[0]

    def split(port):
        with ByHand(port, client_side) as peer:
            at = 0
            while True:
                records = peer.encrypted(sent[1]) + peer.encrypted(sent[2])
                if at > len(records):
                    return
                peer.socket.sendall(records[:at])
                time.sleep(0.0005)
                peer.socket.sendall(records[at:])
                whole = sent[1] + sent[2]
                assert peer.read_exactly(len(whole)) == whole
                at += 1

    story, reports = run(served(kind, server_side, client))
    assert (story[0], story[1]) == (("made", b""), ("data", sent[0]))
    story, reports = run(served(kind, server_side, split))
    assert len(story[1][1]) % len(sent[1] + sent[2]) == 0
    assert reports == []


class Bulk(Told):
    """Sends much at once, and counts how often it is to pause."""

    much = 8_000_000
    pauses = 0

    def connection_made(self, transport):
        super().connection_made(transport)
        Bulk.pauses = 0
        self.left = self.much
        self.may = True
        self.go_on()

    def go_on(self):
        while self.may and self.left:
            self.transport.write(bytes(50_000))
            self.left -= 50_000

    def pause_writing(self):
        Bulk.pauses += 1
        self.may = False

    def resume_writing(self):
        self.may = True
        self.go_on()

    def answer(self, data):
        pass


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_reads_late_holds_the_writer(tls_contexts, version):
    server_side, client_side = tls_contexts

    def client(port):
        with connected(port, client_side, version) as secure:
            time.sleep(0.2)
            assert read_exactly(secure, Bulk.much) == bytes(Bulk.much)

    story, reports = run(served(Bulk, server_side, client))
    assert Bulk.pauses > 0
    assert story[-1] == ("lost", (type(None), None, "None"))
    assert reports == []


class Pausing(Told):
    """Reads only after a while, and pauses at each piece."""

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.pause_reading()
        self.is_paused = True
        self.loop = asyncio.get_running_loop()
        self.loop.call_later(0.1, self.resume)

    def resume(self):
        self.is_paused = False
        self.transport.resume_reading()

    def data_received(self, data):
        assert not self.is_paused
        self.is_paused = True
        self.transport.pause_reading()
        self.add("data", data)
        self.loop.call_later(0.002, self.resume)


@needs_own
def test_nothing_comes_while_reading_is_paused(tls_contexts):
    server_side, client_side = tls_contexts
    sent = os.urandom(5_000_000)

    def client(port):
        with connected(port, client_side) as secure:
            secure.sendall(sent)
            say_goodbye(secure)

    story, reports = run(served(Pausing, server_side, client))
    assert story[1] == ("data", sent)
    assert reports == []


class Greeting(Told):
    """Writes everything that can be written, before anything came."""

    kinds = (
        b"bytes",
        bytearray(b"array"),
        memoryview(b"xviewx")[1:5],
        b"",
        [b"a", b"", b"b" * 40_000],
    )

    def connection_made(self, transport):
        super().connection_made(transport)
        for data in self.kinds:
            if isinstance(data, list):
                transport.writelines(data)
            else:
                transport.write(data)
        changed = bytearray(b"kept")
        transport.write(changed)
        changed[:] = b"lost"
        for wrong in ("text", 1, None):
            with pytest.raises(TypeError):
                transport.write(wrong)
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        assert transport.can_write_eof() is False
        assert transport.is_closing() is False


def test_all_that_can_be_written(tls_contexts):
    server_side, client_side = tls_contexts
    expected = b"bytesarrayviewab" + b"b" * 39_999 + b"kept"

    def client(port):
        with connected(port, client_side) as secure:
            assert read_exactly(secure, len(expected)) == expected

    _, reports = both(Greeting, server_side, client)
    assert reports == []


@needs_own
@pytest.mark.parametrize("object_class", [ssl.SSLObject, Foreign])
def test_openssl_is_called_without_ssl(tls_contexts, monkeypatch, object_class):
    """But for an SSLObject of a program's own class."""
    server_side, client_side = tls_contexts
    server_side.sslobject_class = object_class
    calls = []
    for name in ("read", "write"):
        inner = getattr(ssl.SSLObject, name)

        def counted(*arguments, inner=inner, name=name):
            calls.append(name)
            return inner(*arguments)

        monkeypatch.setattr(ssl.SSLObject, name, counted)

    def client(port):
        with connected(port, client_side) as secure:
            for _ in range(100):
                secure.sendall(b"hello")
                assert read_exactly(secure, 5) == b"hello"

    run(served(Told, server_side, client))
    most = {ssl.SSLObject: 5, Foreign: 1000}[object_class]
    least = {ssl.SSLObject: 0, Foreign: 200}[object_class]
    assert least <= len(calls) <= most


@needs_own
def test_no_connection_has_a_buffer_of_its_own(tls_contexts):
    server_side, client_side = tls_contexts
    sizes = []

    class Looking(Told):
        def data_received(self, data):
            tls = self.transport._ssl_protocol
            assert isinstance(tls, zolal._zolal.TLSCore)
            sizes.append(len(tls._ssl_buffer))

    def client(port):
        with connected(port, client_side) as secure:
            secure.sendall(b"x")
            say_goodbye(secure)

    run(served(Looking, server_side, client))
    assert sizes == [0]


def test_what_is_known_of_a_connection(tls_contexts):
    server_side, client_side = tls_contexts
    names = []
    server_side.set_alpn_protocols(["h2", "zolal"])
    client_side.set_alpn_protocols(["zolal"])
    server_side.sni_callback = lambda _, name, context: names.append((name, context is server_side))

    async def main():
        async def of_stream(reader, writer):
            tls = writer.get_extra_info("ssl_object")
            found.append((tls.selected_alpn_protocol(), tls.version(), tls.server_side))
            found.append(writer.get_extra_info("cipher") == tls.cipher())
            writer.close()

        found = []
        server = await asyncio.start_server(of_stream, "127.0.0.1", 0, ssl=server_side)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(
            *address, ssl=client_side, server_hostname="localhost"
        )
        assert writer.get_extra_info("peercert")["subject"] == ((("commonName", "localhost"),),)
        assert writer.get_extra_info("sslcontext") is client_side
        assert writer.get_extra_info("peername") == address
        assert await reader.read() == b""
        assert writer.get_extra_info("compression") is None
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(*address, ssl=client_side, server_hostname="elsewhere")
        server.close()
        return found

    found = run(main())
    assert found[:2] == [("zolal", "TLSv1.3", True), True]
    assert names[0] == ("localhost", True)


@needs_own
def test_time_outs(tls_contexts):
    server_side, client_side = tls_contexts

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as silent:
            with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
                await asyncio.open_connection(
                    *silent.getsockname(),
                    ssl=client_side,
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.05,
                )
        loop = asyncio.get_running_loop()
        story = []
        server = await loop.create_server(
            lambda: Told(story), "127.0.0.1", 0, ssl=server_side, ssl_shutdown_timeout=0.05
        )
        port = server.sockets[0].getsockname()[1]
        peer = await loop.run_in_executor(None, ByHand, port, client_side)
        while not story:
            await asyncio.sleep(0.01)
        server_transport = next(
            o for o in gc.get_objects() if isinstance(o, Told) and o.story is story
        ).transport
        server_transport.close()
        while story[-1][0] != "lost":
            await asyncio.sleep(0.01)
        peer.socket.close()
        server.close()
        return story[-1]

    assert run(main())[1][2] == "SSL shutdown timed out"
