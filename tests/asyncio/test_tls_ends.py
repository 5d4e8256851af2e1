"""How connections with TLS end: what a protocol is told is what asyncio's own loop tells it."""

import asyncio
import gc
import socket
import ssl
import struct

import pytest
from tls_peers import (
    PATIENCE,
    ByHand,
    Told,
    ToldInto,
    both,
    connected,
    in_thread,
    read_exactly,
    say_goodbye,
)

import zolal


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


ENDS = {}


def an_end(client):
    ENDS[client.__name__] = client
    return client


@an_end
def nothing_said(port, _):
    socket.create_connection(("127.0.0.1", port)).close()


@an_end
def half_a_hello(port, context):
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(outgoing.read()[:100])


@an_end
def no_tls_at_all(port, _):
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        plain.recv(100)


@an_end
def close_notify_then_the_end(port, context):
    with connected(port, context) as secure:
        secure.sendall(b"last")
        read_exactly(secure, 4)
        say_goodbye(secure)


@an_end
def close_notify_with_the_data(port, context):
    with ByHand(port, context) as peer:
        last = peer.encrypted(b"one") + peer.encrypted(b"two")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.unwrap()
        peer.socket.sendall(last + peer.outgoing.read())
        while peer.socket.recv(1000):
            pass


@an_end
def end_without_close_notify(port, context):
    with ByHand(port, context) as peer:
        peer.socket.sendall(peer.encrypted(b"last"))
        peer.read_exactly(4)
        peer.socket.shutdown(socket.SHUT_WR)
        while peer.socket.recv(1000):
            pass


@an_end
def end_in_a_record(port, context):
    with ByHand(port, context) as peer:
        peer.socket.sendall(peer.encrypted(b"whole") + peer.encrypted(b"cut")[:-1])
        peer.read_exactly(5)
        peer.socket.shutdown(socket.SHUT_WR)
        while peer.socket.recv(1000):
            pass


@an_end
def a_record_that_was_changed(port, context):
    with ByHand(port, context) as peer:
        record = bytearray(peer.encrypted(b"changed"))
        record[-1] ^= 1
        peer.socket.sendall(record)
        while peer.socket.recv(1000):
            pass


@an_end
def a_whole_record_and_one_that_was_changed(port, context):
    with ByHand(port, context) as peer:
        record = bytearray(peer.encrypted(b"whole") + peer.encrypted(b"changed"))
        record[-1] ^= 1
        peer.socket.sendall(record)
        while peer.socket.recv(1000):
            pass


@an_end
def garbage_after_the_handshake(port, context):
    with ByHand(port, context) as peer:
        peer.socket.sendall(b"this is no record at all, and not of a known type")
        while peer.socket.recv(1000):
            pass


@an_end
def a_reset(port, context):
    with ByHand(port, context) as peer:
        peer.socket.sendall(peer.encrypted(b"last"))
        peer.read_exactly(4)
        reset(peer.socket)


@pytest.mark.parametrize("kind", [Told, ToldInto])
@pytest.mark.parametrize("end", ENDS)
def test_the_ends_of_a_connection_are_told_as_asyncio_tells_them(tls_contexts, kind, end):
    server_side, client_side = tls_contexts
    both(kind, server_side, lambda port: ENDS[end](port, client_side))


def test_a_changed_record_is_told_with_its_reason(tls_contexts):
    server_side, client_side = tls_contexts

    def client(port):
        a_record_that_was_changed(port, client_side)

    story, _ = both(Told, server_side, client)
    # The latter: of OpenSSL from 3.5 on.
    reasons = ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "RECORD_LAYER_FAILURE")
    assert story[-1][1][1] in reasons


def test_a_client_without_its_certificate(tls_contexts):
    server_side, client_side = tls_contexts
    server_side.verify_mode = ssl.CERT_REQUIRED

    def client(port):
        with pytest.raises((OSError, EOFError)), connected(port, client_side) as secure:
            secure.sendall(b"x")
            read_exactly(secure, 1)

    story, _ = both(Told, server_side, client)
    assert not any(name == "data" for name, _ in story)


class ClosingAt(Told):
    """Closes when it has the n-th piece."""

    def data_received(self, data):
        self.add("data", data)
        self.transport.write(b"last words")
        assert self.transport.is_closing() is False
        getattr(self.transport, self.way)()
        assert self.transport.is_closing() is True
        self.transport.write(b"lost words")


@pytest.mark.parametrize("way", ["close", "abort"])
def test_closing_in_a_callback(tls_contexts, way):
    server_side, client_side = tls_contexts
    kind = type("Closing", (ClosingAt,), {"way": way})

    def client(port):
        with connected(port, client_side) as secure:
            secure.sendall(b"x")
            assert read_exactly(secure, 10) == b"last words"
            assert secure.recv(10) == b""

    both(kind, server_side, client)


class Failing(Told):
    def data_received(self, data):
        raise self.failure("of a callback")


@pytest.mark.parametrize("failure", [ValueError, OSError, ssl.SSLError, asyncio.CancelledError])
@pytest.mark.parametrize("base", [Told, ToldInto])
def test_a_callback_that_fails(tls_contexts, failure, base):
    server_side, client_side = tls_contexts
    kind = type("Failing", (Failing, base), {"failure": failure})

    def client(port):
        with connected(port, client_side) as secure:
            secure.sendall(b"x")
            try:
                assert secure.recv(10) == b""
            except OSError:
                pass  # it went without a close_notify

    both(kind, server_side, client)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
def test_a_callback_that_ends_the_program(tls_contexts, failure):
    server_side, client_side = tls_contexts
    kind = type("Failing", (Failing,), {"failure": failure})

    def client(port):
        with connected(port, client_side) as secure:
            secure.sendall(b"x")
            secure.recv(10)

    loop = zolal.new_event_loop()
    listener = loop.run_until_complete(
        loop.create_server(lambda: kind([]), "127.0.0.1", 0, ssl=server_side)
    )
    thread = in_thread(client, listener.sockets[0].getsockname()[1])
    with pytest.raises(failure):
        loop.run_forever()
    listener.close()
    loop.close()
    gc.collect()
    thread.join(PATIENCE)
