"""How transports for streams begin and end on zolal.EventLoop, and what they say of themselves."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import resource
import socket
import sys
import types
import weakref

import pytest
from transports import Kept, accepted, kernel_calls, until

import zolal
import zolal.socket

LISTENERS = {
    "IPv4": lambda folder: socket.create_server(("127.0.0.1", 0)),
    "IPv6": lambda folder: socket.create_server(("::1", 0), family=socket.AF_INET6),
    "UNIX": lambda folder: unix_listener(socket, folder),
    "zolal": lambda folder: zolal.socket.create_server(("127.0.0.1", 0)),
    "zolal UNIX": lambda folder: unix_listener(zolal.socket, folder),
}


def unix_listener(module, folder):
    listener = module.socket(socket.AF_UNIX)
    listener.bind(str(folder / "listener"))
    return listener


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("kind", LISTENERS)
def test_an_accepted_transport_knows_its_socket(kind, debug, tmp_path):
    async def main():
        listener = LISTENERS[kind](tmp_path)
        async with accepted(listener) as (protocol, client, _):
            transport = protocol.transport
            assert transport.get_extra_info("peername") == client.getsockname()
            assert transport.get_extra_info("sockname") == client.getpeername()
            shown = transport.get_extra_info("socket")
            assert isinstance(shown, asyncio.trsock.TransportSocket)
            assert shown is transport.get_extra_info("socket")
            assert type(transport._sock) is type(listener)
            assert transport._sock.fileno() == transport._sock_fd == shown.fileno()
            assert (shown.family, shown.type, shown.proto) == (
                listener.family,
                socket.SOCK_STREAM,
                listener.proto,
            )
            assert not transport._sock.getblocking()
            assert not os.get_inheritable(transport._sock_fd)
            assert transport.get_extra_info("sslcontext") is None
            assert transport.get_extra_info("nothing", 5) == 5
            assert transport.get_extra_info(name="nothing", default=6) == 6
            with pytest.raises(TypeError):
                transport.get_extra_info()
            assert set(transport._extra) == {"socket", "sockname", "peername"}
            assert transport.get_extra_info("nothing", 7) == 7

    zolal.run(main(), debug=debug)


@pytest.mark.parametrize("kind", LISTENERS)
@pytest.mark.parametrize("asked", [False, True])
def test_what_is_known_after_the_end(kind, asked, tmp_path):
    async def main():
        listener = LISTENERS[kind](tmp_path)
        async with accepted(listener) as (protocol, client, _):
            names = client.getpeername(), client.getsockname()
            transport = protocol.transport
            if asked:
                assert transport.get_extra_info("socket").fileno() >= 0
            transport.close()
            assert transport.is_closing() and protocol.told == ["made"]
            await until(lambda: protocol.told[-1] is None)
            assert (transport.get_extra_info("sockname"), transport.get_extra_info("peername")) == (
                names
            )
            shown = transport.get_extra_info("socket")
            assert (shown.fileno(), shown.family) == (-1, listener.family)
            assert transport._sock is transport._loop is transport._protocol is None
            assert repr(transport) == f"<_StreamTransport closed fd={transport._sock_fd}>"
            transport.close()
            transport.abort()
            assert client.recv(1) == b""

    zolal.run(main())


def test_a_transport_that_nobody_asks_has_no_socket_object():
    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, client, _):
            client.sendall(b"x")
            await until(lambda: b"x" in protocol.told)
            assert protocol.transport.get_extra_info("peername") == client.getsockname()
            made = [
                one
                for one in gc.get_objects()
                if type(one) is socket.socket and one.fileno() == protocol.transport._sock_fd
            ]
            assert not made
            fd = protocol.transport._sock.fileno()
            assert repr(protocol.transport) == (
                f"<_StreamTransport fd={fd} read=polling write=<idle, bufsize=0>>"
            )

    zolal.run(main())


def test_the_order_of_what_a_protocol_is_told():
    order = []

    class Protocol(Kept):
        def __init__(self):
            super().__init__()
            order.append("factory")
            asyncio.get_running_loop().call_soon(order.append, "soon after the factory")

        def connection_made(self, transport):
            super().connection_made(transport)
            order.append("made")

        def data_received(self, data):
            super().data_received(data)
            order.append(data)

    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        with socket.create_connection(listener.getsockname()) as early:
            early.sendall(b"early")
            server = await asyncio.get_running_loop().create_server(Protocol, sock=listener)
            await until(lambda: b"early" in order)
            server.close()

    zolal.run(main())
    assert order == ["factory", "soon after the factory", "made", b"early"]


def test_each_connection_has_a_context_of_its_own():
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Protocol(Kept):
        def __init__(self):
            super().__init__()
            seen.append(("factory", variable.get()))
            variable.set(f"of {len(seen)}")

        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(("made", variable.get()))
            variable.set("made")

        def data_received(self, data):
            super().data_received(data)
            seen.append(("data", variable.get()))

    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        variable.set("server")
        server = await asyncio.get_running_loop().create_server(Protocol, sock=listener)
        variable.set("later")
        for count in (3, 6):
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(b"x")
                await until(lambda count=count: len(seen) == count)
        server.close()

    zolal.run(main())
    assert seen == [
        ("factory", "server"),
        ("made", "of 1"),
        ("data", "of 1"),
        ("factory", "server"),
        ("made", "of 4"),
        ("data", "of 4"),
    ]


def test_no_task_is_made_for_a_connection():
    async def main():
        loop, made = asyncio.get_running_loop(), []

        def factory(loop, coroutine, **options):
            made.append(coroutine)
            return asyncio.Task(coroutine, loop=loop, **options)

        loop.set_task_factory(factory)
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, _, _):
            assert len(asyncio.all_tasks()) == 1
            assert asyncio.current_task() is not None
            assert protocol.told == ["made"]
        assert not made

    zolal.run(main())


@pytest.mark.parametrize("debug", [False, True])
def test_a_factory_that_raises(debug):
    reports = []

    def factory():
        raise ValueError("no protocol")

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        listener = socket.create_server(("127.0.0.1", 0))
        server = await loop.create_server(factory, sock=listener)
        for _ in range(3):
            with socket.create_connection(listener.getsockname()) as client:
                client.setblocking(False)
                assert await loop.sock_recv(client, 1) == b""
        server.close()

    with pytest.warns(ResourceWarning) if debug else contextlib.nullcontext():
        zolal.run(main(), debug=debug)
        gc.collect()
    said = [(one["message"], str(one["exception"])) for one in reports]
    assert said == [("Error on transport creation for incoming connection", "no protocol")] * (
        3 if debug else 0
    )


def test_a_factory_that_exits_ends_the_loop():
    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(lambda: sys.exit(7), sock=listener)
        with socket.create_connection(listener.getsockname()):
            await server.serve_forever()

    with pytest.raises(SystemExit) as exit:
        zolal.run(main())
    assert exit.value.code == 7


def test_connection_made_that_raises_is_reported_and_the_connection_lives():
    class Protocol(Kept):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ValueError("not made")

    async def main():
        reports = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        async with accepted(socket.create_server(("127.0.0.1", 0)), Protocol) as (
            protocol,
            client,
            _,
        ):
            client.sendall(b"x")
            await until(lambda: b"x" in protocol.told)
        assert [str(one["exception"]) for one in reports] == ["not made"]
        assert "connection_made" in reports[0]["message"]

    zolal.run(main())


@pytest.mark.parametrize("debug", [False, True])
def test_descriptors_that_run_out_make_the_server_wait(debug, monkeypatch):
    monkeypatch.setattr("zolal.event_loop.ACCEPT_RETRY_DELAY", 0.01)
    reports = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        listener = socket.create_server(("127.0.0.1", 0))
        made = []
        server = await loop.create_server(lambda: made.append(Kept()) or made[-1], sock=listener)
        with socket.create_connection(listener.getsockname()) as client:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                await until(lambda: len(reports) >= 2)
                assert not made
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client.sendall(b"x")
            await until(lambda: made and b"x" in made[0].told)
            made[0].transport.close()
        server.close()

    zolal.run(main(), debug=debug)
    assert {one["message"] for one in reports} == {"socket.accept() out of system resource"}
    assert isinstance(reports[0]["exception"], OSError)
    assert isinstance(reports[0]["socket"], asyncio.trsock.TransportSocket)


def test_debug_mode_says_what_came(caplog):
    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, client, _):
            client.shutdown(socket.SHUT_WR)
            await until(lambda: protocol.told[-1] is None)

    with caplog.at_level(logging.DEBUG, "asyncio"):
        zolal.run(main(), debug=True)
    assert "got a new connection from ('127.0.0.1'" in caplog.text
    assert "received EOF" in caplog.text


def test_one_that_is_forgotten_warns_and_is_closed():
    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, client, _):
            transport = protocol.transport
            transport.pause_reading()
            gone, fd = weakref.ref(transport), transport._sock_fd
            with pytest.warns(
                ResourceWarning, match=f"unclosed transport <_StreamTransport fd={fd} "
            ):
                protocol.transport = transport = None
                gc.collect()
            assert gone() is None
            assert client.recv(1) == b""
            protocol.transport = types.SimpleNamespace(abort=lambda: None)
            asyncio.get_running_loop()._ensure_fd_no_transport(fd)

    zolal.run(main())


def test_a_descriptor_belongs_to_its_transport():
    async def main():
        loop = asyncio.get_running_loop()
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, client, _):
            transport = protocol.transport
            for one in (transport._sock_fd, transport.get_extra_info("socket")):
                for method in (loop.remove_reader, loop.remove_writer):
                    with pytest.raises(RuntimeError, match="is used by transport <_Stream"):
                        method(one)
                with pytest.raises(RuntimeError, match="is used by transport <_Stream"):
                    loop.add_reader(one, print)
            with pytest.raises(RuntimeError, match="is used by transport <_Stream"):
                await loop.sock_recv(transport._sock, 1)
            transport.close()
            assert not loop.remove_reader(transport._sock_fd)
            with pytest.raises(ValueError, match="Invalid file object"):
                loop.remove_reader("text")

    zolal.run(main())


def test_a_server_waits_for_its_connections():
    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, client, server):
            server.close()
            waiting = asyncio.ensure_future(server.wait_closed())
            await asyncio.sleep(0.01)
            assert waiting.done() == (sys.version_info < (3, 12))
            protocol.transport.close()
            await waiting
            await until(lambda: protocol.told[-1] is None)
            assert protocol.transport._server is None

    zolal.run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="is of Python 3.13")
@pytest.mark.parametrize("end", ["close_clients", "abort_clients"])
def test_a_server_ends_its_connections(end):
    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, client, server):
            server.close()
            getattr(server, end)()
            await server.wait_closed()
            assert protocol.told[-1] is None

    zolal.run(main())


def test_what_connection_lost_raises_does_not_keep_the_socket():
    class Protocol(Kept):
        def connection_lost(self, failure):
            super().connection_lost(failure)
            raise ValueError("lost badly")

    async def main():
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        async with accepted(socket.create_server(("127.0.0.1", 0)), Protocol) as (
            protocol,
            client,
            _,
        ):
            client.shutdown(socket.SHUT_WR)
            await until(lambda: reports)
            assert str(reports[0]["exception"]) == "lost badly"
            assert client.recv(1) == b""
            assert protocol.transport._sock is None

    zolal.run(main())


def test_an_end_that_keeps_the_connection_open():
    class Protocol(Kept):
        def eof_received(self):
            super().eof_received()
            return True

    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0)), Protocol) as (
            protocol,
            client,
            _,
        ):
            client.shutdown(socket.SHUT_WR)
            await until(lambda: "eof" in protocol.told)
            protocol.transport.write(b"after")
            assert client.recv(10) == b"after"
            assert "read=idle" in repr(protocol.transport)
            protocol.transport.write_eof()
            assert client.recv(1) == b""
            assert protocol.told == ["made", "eof"]

    zolal.run(main())


def test_asyncios_own_methods_work_on_it():
    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, client, _):
            transport = protocol.transport
            assert transport.get_write_buffer_limits() == (16384, 65536)
            transport.set_write_buffer_limits(high=10)
            assert transport.get_write_buffer_limits() == (2, 10)
            assert transport.get_write_buffer_size() == 0
            assert transport.is_reading()
            transport.pause_reading()
            client.sendall(b"x")
            await asyncio.sleep(0.01)
            assert (transport.is_reading(), protocol.told) == (False, ["made"])
            transport.resume_reading()
            await until(lambda: b"x" in protocol.told)
            transport.name = "a program's own attribute"
            assert transport.name and transport._server
            asyncio.selector_events._SelectorTransport.close(transport)
            await until(lambda: protocol.told[-1] is None)

    zolal.run(main())


def test_a_transport_begins_once():
    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, _, _):
            transport = protocol.transport
            loop = asyncio.get_running_loop()
            with pytest.raises(RuntimeError, match="begun already"):
                transport.__init__(loop, transport._sock, protocol)
            with pytest.raises(TypeError):
                type(transport)(None, transport._sock, protocol)
            unbegun = type(transport).__new__(type(transport))
            assert unbegun._sock is unbegun._loop is None

    zolal.run(main())


def test_a_program_s_extra_info_is_filled():
    async def main():
        a, b = socket.socketpair()
        extra = {"peername": "mine", "more": 1}
        loop = asyncio.get_running_loop()
        with b:
            transport = loop._make_socket_transport(a, Kept(), extra=extra)
            assert extra["socket"].fileno() == a.fileno()
            assert extra == {
                "peername": "mine",
                "more": 1,
                "sockname": "",
                "socket": extra["socket"],
            }
            assert transport._extra is extra
            assert transport.get_extra_info("more") == 1
            transport.close()
            await asyncio.sleep(0)

    zolal.run(main())


async def connection_that_ends():
    async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, client, _):
        client.sendall(b"x")
        await until(lambda: b"x" in protocol.told)
        client.shutdown(socket.SHUT_WR)
        await until(lambda: protocol.told[-1] is None)
        return protocol.transport._sock_fd


def test_the_kernel_calls_of_a_servers_connection_are_recorded():
    names = kernel_calls(connection_that_ends)
    assert names == ["accept4", "getsockname", "add", "recvfrom", "recvfrom", "close"]


@pytest.mark.parametrize("stays", [False, True])
def test_an_end_that_is_read_is_told_to_epoll_only_where_the_connection_stays(stays):
    class Protocol(Kept):
        def eof_received(self):
            super().eof_received()
            if not stays:
                asyncio.get_running_loop().call_soon(self.transport.close)
            return True

    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0)), Protocol) as (
            protocol,
            client,
            _,
        ):
            client.shutdown(socket.SHUT_WR)
            await until(lambda: protocol.told[-1] == ("eof" if stays else None))
            await asyncio.sleep(0.01)
            protocol.transport.write(b"x")
            assert client.recv(1) == (b"x" if stays else b"")
            protocol.transport.close()
            await until(lambda: protocol.told[-1] is None)
            return protocol.transport._sock_fd

    names = kernel_calls(main)
    before = ["delete", "sendto"] if stays else []
    assert names == ["accept4", "getsockname", "add", "recvfrom", *before, "close"]


def test_a_child_that_has_the_descriptor_too_makes_no_events():
    """Then close(2) does not take it out of epoll."""

    async def main():
        async with accepted(socket.create_server(("127.0.0.1", 0))) as (protocol, client, _):
            over = os.pipe()
            if (child := os.fork()) == 0:
                os.read(over[0], 1)
                os._exit(0)
            try:
                protocol.transport.close()
                await until(lambda: protocol.told[-1] is None)
                client.sendall(b"x")
                await asyncio.sleep(0.01)
                return protocol.transport._sock_fd
            finally:
                os.write(over[1], b"x")
                os.waitpid(child, 0)
                for end in over:
                    os.close(end)

    assert kernel_calls(main) == ["accept4", "getsockname", "add", "delete", "close"]


def test_a_number_that_comes_again_is_a_new_connections():
    """A duplicate of the old one goes on making events, and they reach nobody."""

    async def main():
        protocols = []
        loop = asyncio.get_running_loop()
        factory = lambda: protocols.append(Kept()) or protocols[-1]  # noqa: E731
        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as first, socket.socket() as second:
            await until(lambda: protocols and protocols[0].told)
            old = protocols[0].transport
            duplicate = os.dup(old._sock_fd)
            old.close()
            await until(lambda: protocols[0].told[-1] is None)
            second.connect(address)
            await until(lambda: len(protocols) == 2 and protocols[1].told)
            assert protocols[1].transport._sock_fd == old._sock_fd
            first.sendall(b"old")
            second.sendall(b"new")
            await until(lambda: b"new" in protocols[1].told)
            assert protocols[1].told == ["made", b"new"]
            os.close(duplicate)
            protocols[1].transport.close()
            await until(lambda: protocols[1].told[-1] is None)
        server.close()

    zolal.run(main())


def test_many_come_at_once():
    async def main():
        listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(50)]
        made = []
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: made.append(Kept()) or made[-1], sock=listener)
        waits = 0
        while len(made) < len(clients):
            await asyncio.sleep(0.001)  # a look at epoll each
            waits += 1
        assert waits < 10
        for client in clients:
            client.close()
        await until(lambda: all(one.told[-1:] == [None] for one in made))
        server.close()

    zolal.run(main())
