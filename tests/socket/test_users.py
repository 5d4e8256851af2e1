"""Who uses sockets: many threads, the standard library's own modules; nothing leaks."""

import array
import gc
import os
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import weakref

import pytest
from running import UNDER_ASAN

from zolal import socket


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_many_threads_echo():
    """Each of 40 clients gets its own bytes back, all of them."""
    size, rounds = 5000, 20
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:

        def echo(connection):
            with connection:
                while data := connection.recv(4096):
                    connection.sendall(data)

        def serve():
            for _ in range(40):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=echo, args=(connection,)))
                threads[-1].start()

        wrong = []

        def ask(i):
            with socket.create_connection(listener.getsockname(), timeout=20) as client:
                for turn in range(rounds):
                    data = bytes([i, turn]) * size
                    client.sendall(data)
                    with client.makefile("rb") as file:
                        if file.read(len(data)) != data:
                            wrong.append((i, turn))

        threads = []
        server = threading.Thread(target=serve)
        clients = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
        for thread in [server, *clients]:
            thread.start()
        for thread in [server, *clients]:
            thread.join()
        for thread in threads:
            thread.join()
    assert wrong == []


def use_all(folder):
    """A little of everything, failures included."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname(), timeout=5) as client:
            accepted, _ = listener.accept()
            with accepted, accepted.makefile("rwb") as file:
                client.sendall(b"line\n" * 3)
                file.readline()
                file.write(b"x" * 100)
                file.flush()
                client.recv(10)
                client.recvfrom(10)
                client.recvmsg(10, 100)
                buffer = bytearray(10)
                client.recv_into(buffer)
                client.recvmsg_into([buffer, memoryview(buffer)[2:]])
                client.recv(20_000)
                client.sendmsg([b"a", b"b"])
                client.getpeername()
                client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8)
                for bad in (
                    lambda: client.recv("x"),
                    lambda: client.send("x"),
                    lambda: client.sendmsg([b"a", 5]),
                    lambda: client.sendmsg([b"a"], [(1, 2, b"x"), 5]),
                    lambda: client.recvmsg_into([buffer, b"x"]),
                    lambda: client.recv_into(buffer, 100),
                    lambda: client.recv_into(buffer, other=1),
                    lambda: client.connect((5, 5)),
                    lambda: client.connect(("a", 1 << 40)),
                    lambda: client.bind(("127.0.0.1", 1 << 20)),
                    lambda: client.sendto(b"x", "y"),
                    lambda: client.setsockopt(1, 2, "x"),
                    lambda: client.makefile("x"),
                    lambda: client.makefile("r", 0).close(),
                    lambda: socket.socket(fileno=99999),
                    lambda: socket.socket(99),
                    lambda: socket.socket(family="x"),
                    lambda: socket.create_connection(("127.0.0.1", 1)),
                ):
                    with pytest.raises((TypeError, ValueError, OverflowError, OSError)):
                        bad()
    a, b = socket.socketpair()
    with a, b:
        a.settimeout(0.001)
        for method in (a.recv, a.recvfrom, a.recvmsg):
            with pytest.raises(TimeoutError):
                method(100_000)
        socket.send_fds(a, [b"x"], [0])
        for fd in socket.recv_fds(b, 10, 5)[1]:
            os.close(fd)
        with open(folder / "file", "wb+") as file:
            file.write(b"x" * 1000)
            file.flush()
            a.sendfile(file, 10, 100)
        b.dup().close()
        os.close(b.dup().detach())
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0zolal-test-users")
        unix.getsockname()
    socket.socket.__new__(socket.socket)


@pytest.mark.skipif(
    UNDER_ASAN, reason="ASan looks for leaks itself; tracemalloc has one of its own"
)
def test_nothing_leaks(tmp_path):
    for _ in range(5):
        use_all(tmp_path)
    gc.collect()
    before = descriptors()
    tracemalloc.start()
    use_all(tmp_path)
    gc.collect()
    first = tracemalloc.get_traced_memory()[0]
    for _ in range(100):
        use_all(tmp_path)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - first
    tracemalloc.stop()
    assert descriptors() == before
    assert grown < 20_000  # a single object a round would be more


def test_references():
    sock = socket.socket()
    seen = weakref.ref(sock)

    class Mine(socket.socket):
        extra = None

    with Mine() as mine, sock:
        mine.extra = mine  # a cycle, for the collector
        assert type(mine.dup().__enter__()) is Mine
        gc.collect()
    with pytest.warns(ResourceWarning):
        kept = Mine()
        kept.extra = kept
        again = weakref.ref(kept)
        del kept
        gc.collect()
    assert again() is None
    del sock
    assert seen() is None
    with pytest.raises(AttributeError):
        socket.socket().other = 1


def test_one_that_comes_back_to_life():
    """A warning handler may keep the socket that is being dropped."""
    kept = []

    class Mine(socket.socket):
        def __del__(self):
            kept.append(self)

    before = descriptors()
    Mine()
    assert kept[0].fileno() >= 0
    kept[0].close()
    kept.clear()
    assert descriptors() == before


# `import socket` gives zolal.socket there.
IN_PLACE = """
import sys
import zolal.socket
sys.modules["socket"] = zolal.socket
from zolal import _zolal
import threading
reader = _zolal.Reader(_zolal.recording_start())
"""


def test_what_is_sent_may_change_its_own_list():
    """An argument that is asked for its number may empty the list that it came in."""
    a, b = socket.socketpair()

    class Emptying:
        def __init__(self, items):
            self.items = items

        def __index__(self):
            self.items.clear()
            return socket.SOL_SOCKET

    with a, b:
        items = []
        items += [(Emptying(items), socket.SCM_RIGHTS, bytes(4)) for _ in range(300)]
        with pytest.raises(OSError):  # one message takes 253
            a.sendmsg([b"x"], items)
        assert items == []
        parts = [b"x"] * 10
        ends = array.array("i", [a.fileno()])
        a.sendmsg(parts, [(Emptying(parts), socket.SCM_RIGHTS, ends)])
        data, (right,), _, _ = b.recvmsg(100, socket.CMSG_SPACE(4))
        assert data == b"x" * 10 and right[:2] == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        os.close(array.array("i", right[2])[0])


PROGRAMS = {
    "socketserver and http.client": """
        import http.client, http.server, socketserver

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"hello")

            def log_message(self, *arguments):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            assert type(server.socket) is zolal.socket.socket
            server.daemon_threads = False  # they are waited for, or their objects are leaks
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            client = http.client.HTTPConnection(*server.server_address, timeout=20)
            for _ in range(3):
                client.request("GET", "/")
                assert client.getresponse().read() == b"hello"
            client.close()
            server.shutdown()
        wanted = {"accept4", "recvfrom", "sendto", "connect", "close"}
    """,
    "urllib": """
        import http.server, urllib.request

        server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
        server.RequestHandlerClass.log_message = lambda *arguments: None
        threading.Thread(target=server.handle_request).start()
        url = "http://127.0.0.1:%d/" % server.server_port
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert opener.open(url, timeout=20).status == 200
        server.server_close()
        wanted = {"accept4", "recvfrom", "sendto", "connect", "close"}
    """,
    "selectors": """
        import selectors
        a, b = zolal.socket.socketpair()
        with selectors.DefaultSelector() as selector, a, b:
            selector.register(a, selectors.EVENT_READ)
            b.send(b"x")
            [(key, _)] = selector.select(20)
            assert key.fileobj.recv(1) == b"x"
        wanted = {"socketpair", "sendto", "recvfrom", "close"}
    """,
    "asyncio": """
        import asyncio

        async def main():
            loop = asyncio.get_running_loop()
            listener = zolal.socket.create_server(("127.0.0.1", 0))
            listener.setblocking(False)

            async def serve():
                connection, _ = await loop.sock_accept(listener)
                connection.setblocking(False)
                while data := await loop.sock_recv(connection, 100):
                    await loop.sock_sendall(connection, data)
                connection.close()

            task = loop.create_task(serve())
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"hello\\n")
            assert await reader.readline() == b"hello\\n"
            writer.close()
            await task
            listener.close()

            async def answer(reader, writer):
                writer.write((await reader.readline()).upper())
                writer.close()

            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            client = zolal.socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(b"hello\\n")
            assert await reader.readline() == b"HELLO\\n"
            writer.close()
            server.close()

        asyncio.run(main())
        wanted = {"accept4", "recvfrom", "sendto", "connect", "close", "socketpair", "listen"}
    """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_standard_library_works_on_it(name, tmp_path):
    program = IN_PLACE + textwrap.dedent(PROGRAMS[name])
    program += (
        "\nmissing = wanted - {event.op for event in reader.read()}\nassert not missing, missing"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
