"""The standard library's modules on single sockets of zolal, beside its own ones: nothing is put in
place."""

import asyncio
import http.client
import http.server
import selectors
import socket as standard
import socketserver
import ssl
import subprocess
import sys
import threading

import pytest

from zolal import _zolal, socket

PATIENCE = 20


@pytest.fixture
def recorded():
    """A function: {fd: the calls on it} since it was last called."""
    _zolal.recording_stop()
    reader = _zolal.Reader(_zolal.recording_start(4 << 20))

    def recorded():
        found = {}
        for event in reader.read(1 << 20):
            found.setdefault(event.fd, []).append(event.op)
        return found

    yield recorded
    reader.close()
    _zolal.recording_stop()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.mark.parametrize(
    "kind", ["DefaultSelector", "SelectSelector", "PollSelector", "EpollSelector"]
)
def test_selectors(kind):
    a, b = socket.socketpair()
    with getattr(selectors, kind)() as selector, a, b:
        key = selector.register(a, selectors.EVENT_READ, "data")
        assert (key.fileobj, key.fd) == (a, a.fileno())
        assert selector.select(0) == []
        b.send(b"x")
        assert selector.select(PATIENCE) == [(key, selectors.EVENT_READ)]
        key = selector.modify(a, selectors.EVENT_READ | selectors.EVENT_WRITE, "more")
        assert selector.select(PATIENCE) == [(key, selectors.EVENT_READ | selectors.EVENT_WRITE)]
        assert selector.get_key(a) == key
        a.recv(1)
        key = selector.modify(a, selectors.EVENT_READ)
        assert selector.select(0) == []
        with pytest.raises(KeyError):
            selector.register(a, selectors.EVENT_READ)
        a.close()
        assert selector.unregister(a) == key  # closed before: found all the same


def test_asyncio_sock_calls(listener, recorded):
    """The article's server: a listening socket made by hand, and the loop's sock_* calls."""
    listener.setblocking(False)

    async def echo(loop, connection):
        with connection:
            while data := await loop.sock_recv(connection, 100):
                await loop.sock_sendall(connection, data)

    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            connection, address = await loop.sock_accept(listener)
            assert type(connection) is socket.socket and address == client.getsockname()
            assert connection.gettimeout() == 0
            task = loop.create_task(echo(loop, connection))
            large = bytes(range(256)) * 4000
            sending = loop.create_task(loop.sock_sendall(client, large))
            buffer, got = bytearray(1 << 16), bytearray()
            while len(got) < len(large):
                n = await loop.sock_recv_into(client, buffer)
                got += buffer[:n]
            await sending
            assert got == large
            client.shutdown(socket.SHUT_WR)
            await task

    asyncio.run(main())
    called = {op for ops in recorded().values() for op in ops}
    assert {"accept4", "connect", "recvfrom", "sendto", "shutdown", "close"} <= called


def test_asyncio_datagrams(recorded):
    async def main():
        loop = asyncio.get_running_loop()
        one, other = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        with one, other:
            for sock in (one, other):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            if hasattr(loop, "sock_sendto"):  # from Python 3.11 on
                await loop.sock_sendto(one, b"hello", other.getsockname())
                assert await loop.sock_recvfrom(other, 100) == (b"hello", one.getsockname())
            got = loop.create_future()

            class Protocol(asyncio.DatagramProtocol):
                def datagram_received(self, data, address):
                    got.set_result((data, address))

            transport, _ = await loop.create_datagram_endpoint(Protocol, sock=other)
            one.sendto(b"more", other.getsockname())
            assert await asyncio.wait_for(got, PATIENCE) == (b"more", one.getsockname())
            transport.close()
            await asyncio.sleep(0)
            assert other.fileno() == -1

    asyncio.run(main())
    called = {op for ops in recorded().values() for op in ops}
    assert {"bind", "sendto", "recvfrom", "close"} <= called


def test_asyncio_streams_on_given_sockets(listener, recorded):
    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(answer, sock=listener)
        client = socket.create_connection(listener.getsockname())
        fd = client.fileno()
        reader, writer = await asyncio.open_connection(sock=client)
        assert writer.get_extra_info("socket").fileno() == fd
        assert writer.get_extra_info("peername") == listener.getsockname()
        writer.write(b"hello\n")
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"HELLO\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return fd

    fd = asyncio.run(main())
    assert listener.fileno() == -1
    calls = recorded()
    assert {"connect", "recvfrom", "close"} <= set(calls[fd])
    assert {"sendto", "send"} & set(calls[fd])


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_socketserver(kind, recorded):
    class Server(getattr(socketserver, kind)):
        def __init__(self):
            super().__init__(("127.0.0.1", 0), Echo, bind_and_activate=False)
            self.socket.close()
            self.socket = socket.socket(self.address_family, self.socket_type)
            self.server_bind()
            self.server_activate()

    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with socket.create_connection(server.server_address, timeout=PATIENCE) as client:
            client.sendall(b"one\ntwo\n")
            client.shutdown(socket.SHUT_WR)
            with client.makefile("rb") as file:
                assert file.read() == b"ONE\nTWO\n"
        server.shutdown()
        thread.join()
    assert server.socket.fileno() == -1
    calls = [set(ops) for ops in recorded().values()]
    assert any({"bind", "listen", "accept4"} <= ops for ops in calls)


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address():
    """Of a standard HTTP server that returns what it is sent."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("how", ["sock", "_create_connection"])
def test_http_client(address, how, recorded):
    client = http.client.HTTPConnection(*address, timeout=PATIENCE)
    if how == "sock":
        client.sock = socket.create_connection(address, timeout=PATIENCE)
    else:
        client._create_connection = socket.create_connection
    for body in (b"hello", b"x" * 300_000, b""):
        client.request("POST", "/", body=body)
        assert client.getresponse().read() == body
    assert type(client.sock) is socket.socket
    fd = client.sock.fileno()
    client.close()
    assert {"connect", "sendto", "recvfrom", "close"} <= set(recorded()[fd])


def test_tls_takes_the_descriptor_over(listener, tls_contexts, recorded):
    """wrap_socket() works; from then on it is an ssl.SSLSocket, whose calls are OpenSSL's."""
    server_context, client_context = tls_contexts
    client = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
    accepted, _ = listener.accept()
    fd = client.fileno()
    recorded()

    def echo():
        with server_context.wrap_socket(accepted, server_side=True) as inner:
            inner.sendall(inner.recv(100).upper())

    thread = threading.Thread(target=echo)
    thread.start()
    with client_context.wrap_socket(client, server_hostname="localhost") as inner:
        assert (type(inner), inner.fileno(), inner.gettimeout()) == (ssl.SSLSocket, fd, PATIENCE)
        assert isinstance(inner, standard.socket) and client.fileno() == -1
        inner.sendall(b"hello")
        assert inner.recv(100) == b"HELLO"
    thread.join()
    assert {"sendto", "recvfrom"}.isdisjoint(recorded().get(fd, []))


def test_tls_is_refused_where_zolals_module_is_in_the_place_of_socket():
    program = """
import sys
import zolal.socket
sys.modules["socket"] = zolal.socket
import ssl
a, b = zolal.socket.socketpair()
context = ssl.create_default_context()
try:
    context.wrap_socket(a, server_hostname="localhost", do_handshake_on_connect=False)
except TypeError as refusal:
    print(refusal)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert "must be _socket.socket" in done.stdout, done.stderr


def test_tls_of_asyncio_takes_a_socket(listener, tls_contexts, recorded):
    server_context, client_context = tls_contexts

    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()

    async def main():
        server = await asyncio.start_server(answer, sock=listener, ssl=server_context)
        client = socket.create_connection(listener.getsockname())
        client.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=client, ssl=client_context, server_hostname="localhost"
        )
        fd = client.fileno()
        writer.write(b"hello\n")
        assert await asyncio.wait_for(reader.readline(), PATIENCE) == b"HELLO\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return fd

    fd = asyncio.run(main())
    assert {"sendto", "recvfrom"} <= set(recorded()[fd])  # here it is the loop that calls
