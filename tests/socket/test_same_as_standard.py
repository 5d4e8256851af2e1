"""zolal.socket beside the standard library's: the same calls, equal results and exceptions."""

import array
import copy
import gc
import os
import pickle
import socket as standard
import tempfile

import pytest

import zolal.socket as ours

MODULES = (standard, ours)


def outcome(function, *arguments):
    """What came of it: a value, or the exception's type and text."""
    try:
        return "returned", function(*arguments)
    except Exception as exception:
        kind = type(exception)
        errno = getattr(exception, "errno", None)
        # How a time is too large is told in other words by each Python.
        text = str(exception).split("timestamp")[0]
        return "raised", kind.__module__, kind.__name__, text, errno


def compare(scenario, *arguments):
    expected, got = (outcome(scenario, module, *arguments) for module in MODULES)
    assert got == expected
    return got


class Fileno:
    def fileno(self):
        return 0


BAD_ADDRESSES = [
    (None, 80),
    (5, 80),
    (object, 80),
    None,
    1,
    "text",
    b"bytes",
    (),
    ("127.0.0.1",),
    ("127.0.0.1", 80, 0, 0, 0),
    ("127.0.0.1", "80"),
    ("127.0.0.1", 1.5),
    ("127.0.0.1", None),
    ("127.0.0.1", -1),
    ("127.0.0.1", 65536),
    ("127.0.0.1", 1 << 40),
    ("127.0.0.1", -(1 << 70)),
    ("a\0b", 80),
    (b"a\0b", 80),
    ("\ud800", 80),
    ("::1", 80, 1 << 20),
    ("::1", 80, -1, 0),
    ("::1", 80, 0, "x"),
    ["127.0.0.1", 80],
]


@pytest.mark.parametrize("address", BAD_ADDRESSES, ids=repr)
@pytest.mark.parametrize("method", ["bind", "connect", "connect_ex", "sendto"])
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_addresses_that_are_refused(family, method, address):
    def scenario(module):
        with module.socket(getattr(module, family), module.SOCK_DGRAM) as sock:
            arguments = (b"x", address) if method == "sendto" else (address,)
            return getattr(sock, method)(*arguments)

    assert compare(scenario)[0] == "raised"


@pytest.mark.parametrize(
    ("family", "address"),
    [
        ("AF_INET", ("", 0)),
        ("AF_INET", ("0.0.0.0", 0)),
        ("AF_INET", ("127.0.0.1", 0)),
        ("AF_INET", (b"127.0.0.1", 0)),
        ("AF_INET", (bytearray(b"127.0.0.1"), 0)),
        ("AF_INET", ("localhost", 0)),
        ("AF_INET", ("127.1", 0)),
        ("AF_INET", ("256.0.0.1", 0)),
        ("AF_INET", ("::1", 0)),
        ("AF_INET", ("no-such-host.invalid", 0)),
        ("AF_INET", ("192.0.2.1", 0)),
        ("AF_INET", ("<broadcast>", 0)),
        ("AF_INET6", ("", 0)),
        ("AF_INET6", ("::1", 0)),
        ("AF_INET6", ("::1", 0, 5)),
        ("AF_INET6", ("::1", 0, 5, 0)),
        ("AF_INET6", ("::ffff:127.0.0.1", 0)),
        ("AF_INET6", ("<broadcast>", 0)),
        ("AF_INET6", ("255.255.255.255", 0)),
        ("AF_INET6", ("127.0.0.1", 0)),
        ("AF_INET6", ("::1%lo", 0)),
    ],
)
def test_addresses_are_read_and_written_alike(family, address):
    def scenario(module):
        with module.socket(getattr(module, family), module.SOCK_DGRAM) as sock:
            sock.bind(address)
            host, port, *rest = sock.getsockname()
            return host, port > 0, rest

    compare(scenario)


@pytest.mark.parametrize(
    "name",
    ["", "\0", "\0zolal-é", b"\0zolal-\xff\xfe", "\0" + "x" * 107, "\0" + "x" * 108]
    + ["s", b"s", "é", "x" * 200, None, 5, ("x", 1), bytearray(b"s"), "a\0b"],
    ids=repr,
)
def test_unix_addresses(name, tmp_path, monkeypatch):
    def scenario(module):
        folder = tempfile.mkdtemp(dir=tmp_path)
        monkeypatch.chdir(folder)
        with module.socket(module.AF_UNIX) as sock:
            sock.bind(name)
            sock.listen()
            where = sock.getsockname()
            with module.socket(module.AF_UNIX) as client:
                client.connect(where)
                accepted, peer = sock.accept()
                with accepted:
                    seen = [peer, client.getpeername(), client.getsockname()]
            # The kernel chooses the name of an empty one.
            return (seen if name != "" else len(where)), type(where), os.listdir()

    compare(scenario)


ARGUMENTS = [
    ("recv", ()),
    ("recv", ("x",)),
    ("recv", (1.5,)),
    ("recv", (-1,)),
    ("recv", (0,)),
    ("recv", (1, "x")),
    ("recv", (1, 2, 3)),
    ("recv", (1 << 70,)),
    ("recv", (True,)),
    ("recv", (3, "MSG_PEEK")),
    ("recv_into", ()),
    ("recv_into", (b"abc",)),
    ("recv_into", ("abc",)),
    ("recv_into", (bytearray(4), -1)),
    ("recv_into", (bytearray(4), 5)),
    ("recv_into", (bytearray(4), 2)),
    ("recv_into", (bytearray(0),)),
    ("recv_into", (bytearray(4), 0, "MSG_PEEK")),
    ("recv_into", (memoryview(bytearray(8))[::2],)),
    ("recv_into", (array.array("i", [0, 0]),)),
    ("recvfrom", ()),
    ("recvfrom", (-1,)),
    ("recvfrom", (3,)),
    ("recvfrom_into", (bytearray(4), 5)),
    ("recvfrom_into", (bytearray(4), -1)),
    ("recvfrom_into", (bytearray(4), 2)),
    ("recvfrom_into", (bytearray(0),)),
    ("recvmsg", (3,)),
    ("recvmsg", (-1,)),
    ("recvmsg", (3, -1)),
    ("recvmsg", (3, 1 << 40)),
    ("recvmsg_into", ([bytearray(2), bytearray(1)],)),
    ("recvmsg_into", (5,)),
    ("recvmsg_into", ([b"abc"],)),
    ("send", ()),
    ("send", ("text",)),
    ("send", (None,)),
    ("send", (b"",)),
    ("send", (b"abc",)),
    ("send", (b"abc", "x")),
    ("send", (bytearray(b"abc"),)),
    ("send", (memoryview(b"abcdef")[::2],)),
    ("send", (array.array("i", [1, 2]),)),
    ("send", (b"a", 0, 0)),
    ("sendall", (b"abc",)),
    ("sendall", (b"",)),
    ("sendall", ("x",)),
    ("sendall", (b"a", 0, 0)),
    ("sendto", (b"a",)),
    ("sendto", (b"a", 0, "x", 0)),
    ("sendto", ("a", "x")),
    ("sendto", (b"a", "x", "y")),
    ("sendmsg", ()),
    ("sendmsg", (5,)),
    ("sendmsg", ([],)),
    ("sendmsg", ([b"a", bytearray(b"b"), memoryview(b"c")],)),
    ("sendmsg", (["a"],)),
    ("sendmsg", (b"ab",)),
    ("sendmsg", ([b"a"], 5)),
    ("sendmsg", ([b"a"], [5])),
    ("sendmsg", ([b"a"], [], "x")),
    ("sendmsg", ([b"a"], [], 0, None)),
    ("sendmsg", ([b"x"] * 2000,)),
    ("listen", ("x",)),
    ("listen", (1, 2)),
    ("listen", (1 << 40,)),
    ("shutdown", ()),
    ("shutdown", ("x",)),
    ("shutdown", (7,)),
    ("shutdown", (1 << 40,)),
    ("shutdown", (0,)),
    ("accept", ()),
    ("getsockopt", (1,)),
    ("getsockopt", ("x", 1)),
    ("getsockopt", (1, 3)),
    ("getsockopt", (1, 3, 4)),
    ("getsockopt", (1, 3, 1)),
    ("getsockopt", (1, 3, 1025)),
    ("getsockopt", (1, 3, -1)),
    ("getsockopt", (1, 9999)),
    ("getsockopt", (77, 1)),
    ("setsockopt", (1, 2)),
    ("setsockopt", (1, 9, 1)),
    ("setsockopt", (1, 9, b"\1\0\0\0")),
    ("setsockopt", (1, 9, b"\1")),
    ("setsockopt", (1, 9, None, 4)),
    ("setsockopt", (1, 9, None)),
    ("setsockopt", (1, 9999, 1)),
    ("settimeout", ("x",)),
    ("settimeout", (-1,)),
    ("settimeout", (-1e-12,)),
    ("settimeout", (float("nan"),)),
    ("settimeout", (float("inf"),)),
    ("settimeout", (1e300,)),
    ("settimeout", (1 << 80,)),
    ("settimeout", (1 << 40,)),
    ("settimeout", (0,)),
    ("settimeout", (True,)),
    ("settimeout", (1.5,)),
    ("settimeout", (None,)),
    ("settimeout", ()),
    ("setblocking", ("x",)),
    ("setblocking", (0,)),
    ("setblocking", ()),
    ("getsockname", ()),
    ("getpeername", ()),
    ("getpeername", (1,)),
    ("gettimeout", ()),
    ("getblocking", ()),
    ("get_inheritable", ()),
    ("set_inheritable", (True,)),
    ("makefile", ("x",)),
    ("makefile", ("rt",)),
    ("makefile", ("r", 0)),
    ("makefile", ("rb", "x")),
    ("sendfile", (5,)),
    ("dup", (1,)),
    ("detach", (1,)),
    ("close", (1,)),
]


def pair(module):
    """Two ends of a UNIX stream in which three bytes wait on either side."""
    a, b = module.socketpair()
    a.send(b"abc")
    b.send(b"abc")
    return a, b


def on_a_pair(module, method, arguments):
    a, b = pair(module)
    with a, b:
        arguments = [
            getattr(module, value) if isinstance(value, str) and value[:4] == "MSG_" else value
            for value in copy.copy(arguments)
        ]
        value = getattr(a, method)(*arguments)
        buffers = [bytes(one) for one in arguments if isinstance(one, bytearray)]
        b.setblocking(False)
        return value, buffers, outcome(b.recv, 100), a.gettimeout(), a.get_inheritable()


@pytest.mark.parametrize(("method", "arguments"), ARGUMENTS, ids=repr)
def test_arguments(method, arguments):
    compare(on_a_pair, method, arguments)


@pytest.mark.parametrize(("method", "arguments"), ARGUMENTS, ids=repr)
def test_when_closed(method, arguments):
    """The same on a socket that is closed."""

    def scenario(module):
        with module.socket() as sock:
            pass
        return getattr(sock, method)(*arguments)

    compare(scenario)


def test_keywords():
    def scenario(module):
        a, b = pair(module)
        buffer = bytearray(5)
        with a, b:
            return (
                a.recv_into(buffer=buffer, nbytes=1, flags=0),
                a.recvfrom_into(buffer, flags=module.MSG_PEEK),
                outcome(lambda: a.recv_into(nbytes=1)),
                outcome(lambda: a.recv_into(buffer, other=1)),
                outcome(lambda: a.recv_into(buffer, 1, buffer=buffer)),
                bytes(buffer),
            )

    compare(scenario)


@pytest.mark.parametrize(
    "arguments",
    [
        {"family": "x"},
        {"family": 99},
        {"type": 99},
        {"proto": 255, "type": 1},
        {"fileno": 1.5},
        {"fileno": -1},
        {"fileno": "x"},
        {"fileno": 1 << 70},
        {"fileno": 99999},
        {"fileno": 0},
        {"fileno": Fileno()},
        {"other": 1},
    ],
    ids=repr,
)
def test_sockets_that_cannot_be_made(arguments):
    def scenario(module):
        if arguments.get("fileno") == 0:
            with tempfile.TemporaryFile() as file:
                return module.socket(fileno=file.fileno())
        return module.socket(**arguments)

    compare(scenario)


@pytest.mark.parametrize(
    "kind", ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET", "SOCK_NONBLOCK", "SOCK_CLOEXEC"]
)
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX"])
def test_what_it_is(family, kind):
    def scenario(module):
        value = getattr(module, kind)
        value |= module.SOCK_STREAM if kind in ("SOCK_NONBLOCK", "SOCK_CLOEXEC") else 0
        with module.socket(getattr(module, family), value) as sock:
            copied = sock.dup()
            found = module.socket(fileno=copied.detach())
            with found:
                return [
                    (one.family, one.type, one.proto, one.timeout, one.getblocking())
                    + (type(one.family).__name__, type(one.type).__name__, one.get_inheritable())
                    for one in (sock, found)
                ]

    compare(scenario)


def test_descriptors_come_and_go_alike():
    def scenario(module):
        sock = module.socket()
        fd = sock.detach()
        again = module.socket(fileno=fd)
        other = module.fromfd(fd, again.family, again.type)
        copied = module.dup(fd)
        seen = [sock.fileno(), again.fileno() == fd, other.fileno() == fd, copied == fd]
        module.close(copied)
        seen += [outcome(module.close, copied), sock.detach(), outcome(sock.getsockname)]
        with again, other:
            return seen

    compare(scenario)


@pytest.mark.parametrize("mode", ["r", "w", "rw", "rb", "wb", "rwb", "br", "b", "", "wr"])
@pytest.mark.parametrize("buffering", [None, -1, 0, 1, 512])
def test_files(mode, buffering):
    def scenario(module):
        a, b = module.socketpair()
        with a, b:
            b.sendall(b"line one\nline two\n")
            file = a.makefile(mode, buffering, **({} if "b" in mode else {"encoding": "utf-8"}))
            reads, writes = file.readable(), file.writable()
            seen = [type(file).__name__, reads, writes, file.seekable(), a._io_refs]
            if reads:
                seen += [file.readline(), outcome(file.seek, 0)]
            if writes:
                seen.append(file.write(b"out" if "b" in mode else "out"))
                file.flush()
                b.settimeout(5)
                seen.append(b.recv(100))
            a.close()
            seen += [a.fileno() >= 0, file.fileno() == a.fileno(), file.closed]
            file.close()
            return seen + [a.fileno(), a._io_refs, outcome(file.readline), outcome(file.fileno)]

    compare(scenario)


def test_a_raw_file():
    def scenario(module):
        a, b = module.socketpair()
        with a, b:
            file = a.makefile("rwb", 0)
            a.setblocking(False)
            seen = [file.read(5), file.readinto(bytearray(3)), file.mode, file.name == a.fileno()]
            a.settimeout(0.01)
            seen += [outcome(file.read, 5), outcome(file.read, 5), outcome(file.readall)]
            file.close()
            file.close()
            names = ("read", "readable", "writable", "seekable", "fileno")
            return seen + [file.name] + [outcome(getattr(file, name)) for name in names]

    compare(scenario)
    for module in MODULES:
        a, b = module.socketpair()
        with a, b:
            for mode, method in (("rb", "write"), ("wb", "readinto")):
                with pytest.raises(Exception) as caught:
                    getattr(a.makefile(mode, 0), method)(bytearray(1))
                assert type(caught.value).__name__ == "UnsupportedOperation"


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_none_is_copied(how):
    def scenario(module):
        with module.socket() as sock:
            return how(sock)

    assert compare(scenario)[2] == "TypeError"


def test_its_text():
    def scenario(module):
        listener = module.create_server(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
        with module.create_connection(listener.getsockname()) as client:
            other = str(client.getsockname()[1])
            texts = [repr(listener), repr(client)]
        listener.close()
        texts += [repr(client), repr(listener), repr(module.socket)]
        digits = [text.replace(port, "P").replace(other, "Q") for text in texts]
        return [
            "".join(c for c in text.replace("zolal.socket", "socket") if not c.isdigit())
            for text in digits
        ]

    compare(scenario)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"backlog": 5},
        {"backlog": "x"},
        {"reuse_port": True},
        {"family": standard.AF_INET6},
        {"family": standard.AF_INET6, "dualstack_ipv6": True},
        {"dualstack_ipv6": True},
        {"family": standard.AF_UNIX},
    ],
    ids=repr,
)
def test_servers(arguments):
    def scenario(module):
        with module.create_server(("", 0), **arguments) as sock:
            family = sock.family
            return (
                family,
                sock.type,
                sock.gettimeout(),
                len(sock.getsockname()),
                sock.getsockopt(module.SOL_SOCKET, module.SO_REUSEADDR),
                sock.getsockopt(module.SOL_SOCKET, module.SO_REUSEPORT),
                family == module.AF_INET6
                and sock.getsockopt(module.IPPROTO_IPV6, module.IPV6_V6ONLY),
            )

    compare(scenario)


def test_a_port_that_is_taken():
    with standard.create_server(("127.0.0.1", 0)) as taken:
        got = compare(lambda module: module.create_server(taken.getsockname()))
        assert got[2] == "OSError" and "while attempting to bind" in got[3]


def test_connections_that_are_refused():
    with standard.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()

        def connect(module):
            with module.socket() as sock:
                return outcome(sock.connect, address), sock.connect_ex(address)

        compare(connect)
        compare(lambda module: module.create_connection(address, 5))
        compare(lambda module: module.create_connection(("localhost", address[1]), 5))
        compare(lambda module: module.create_connection(address, 5, ("192.0.2.1", 0)))
    compare(lambda module: module.create_connection(("no-such-host.invalid", 1)))
    compare(lambda module: module.create_connection(("", None, 1)))


def test_a_connection_from_an_address():
    def scenario(module):
        with module.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            with module.create_connection(address, 3, source_address=("127.0.0.3", 0)) as client:
                accepted, peer = listener.accept()
                accepted.close()
                return peer[0], client.gettimeout(), accepted.gettimeout()

    compare(scenario)


def test_the_default_timeout():
    def scenario(module):
        seen = [module.getdefaulttimeout()]
        try:
            for value in (2.5, 0, None, 1):
                module.setdefaulttimeout(value)
                with module.create_server(("127.0.0.1", 0)) as listener:
                    client = module.socket()
                    client.settimeout(5)
                    client.connect(listener.getsockname())
                    accepted, _ = listener.accept()
                    a, b = module.socketpair()
                    with client, accepted, a, b:
                        sockets = (listener, accepted, a)
                        seen += [
                            (one.gettimeout(), os.get_blocking(one.fileno())) for one in sockets
                        ]
            seen += [outcome(module.setdefaulttimeout, bad) for bad in (-1, "x", float("nan"))]
            return seen
        finally:
            module.setdefaulttimeout(None)

    compare(scenario)


def test_datagrams():
    def scenario(module):
        with (
            module.socket(module.AF_INET, module.SOCK_DGRAM) as a,
            module.socket(module.AF_INET, module.SOCK_DGRAM) as b,
        ):
            a.bind(("127.0.0.1", 0))
            b.bind(("127.0.0.1", 0))
            seen = [b.sendto(b"one", a.getsockname()), b.sendto(b"two", 0, a.getsockname())]
            data, peer = a.recvfrom(2)
            seen += [data, peer == b.getsockname()]
            buffer = bytearray(8)
            count, peer = a.recvfrom_into(buffer)
            seen += [count, bytes(buffer), peer == b.getsockname()]
            seen.append(b.sendmsg([b"th", b"ree"], [], 0, a.getsockname()))
            data, ancillary, flags, peer = a.recvmsg(3)
            seen += [data, ancillary, flags, peer == b.getsockname()]
            return seen + [outcome(a.sendto, b"x" * 70000, b.getsockname())]

    compare(scenario)


def test_descriptors_over_a_unix_socket():
    def scenario(module):
        a, b = module.socketpair()
        with a, b, tempfile.TemporaryFile() as file:
            file.write(b"passed")
            file.flush()
            sent = module.send_fds(a, [b"see"], [file.fileno(), a.fileno()])
            data, fds, flags, address = module.recv_fds(b, 100, 3)
            seen = [sent, data, len(fds), flags, address, os.pread(fds[0], 10, 0)]
            for fd in fds:
                os.close(fd)
            # Room for one of two.
            module.send_fds(a, [b"see"], [file.fileno(), a.fileno()])
            data, fds, flags, address = module.recv_fds(b, 100, 1)
            seen += [len(fds), flags & module.MSG_CTRUNC != 0]
            for fd in fds:
                os.close(fd)
            return seen

    gc.collect()  # what other tests have left
    before = len(os.listdir("/proc/self/fd"))
    compare(scenario)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
@pytest.mark.parametrize("way", ["sendfile", "_sendfile_use_send"])
@pytest.mark.parametrize(("offset", "count"), [(0, None), (5, None), (0, 7), (99, 1000)])
def test_files_are_sent(way, size, offset, count):
    import threading

    content = os.urandom(size)

    def scenario(module):
        a, b = module.socketpair()
        got = []
        with b, tempfile.TemporaryFile() as file:
            file.write(content)
            file.seek(0)

            def collect():
                while data := b.recv(1 << 16):
                    got.append(data)

            reader = threading.Thread(target=collect)
            reader.start()
            with a:
                sent = getattr(a, way)(file, offset, count)
            reader.join()
            return sent, b"".join(got) == content[offset:][:count], file.tell()

    compare(scenario)


def test_files_that_are_not_sent():
    def scenario(module):
        a, b = module.socketpair()
        with a, b, tempfile.TemporaryFile() as file, tempfile.TemporaryFile("w") as text:
            file.write(b"x")
            file.flush()
            seen = [outcome(a.sendfile, file, 0, bad) for bad in (0, -1, 1.5, "x")]
            seen.append(outcome(a.sendfile, text)[:3])
            a.setblocking(False)
            seen.append(outcome(a.sendfile, file))
            with module.socket(type=module.SOCK_DGRAM) as datagram:
                return seen + [outcome(datagram.sendfile, file)]

    compare(scenario)
