"""Every kernel call of zolal.socket is in the recording, whichever thread makes it."""

import os
import select
import shutil
import subprocess
import sys
import textwrap
import threading

import pytest

from zolal import _zolal, socket
from zolal.xray import calls


@pytest.fixture
def events():
    """A function: the calls since it was last called, as (op, fd, result)."""
    _zolal.recording_stop()  # one that a server of another test has started
    path = _zolal.recording_start(4 << 20)
    reader = _zolal.Reader(path)

    def new():
        return [
            (event.op, event.fd, event.result) for event in reader.read() if event.kind == "call"
        ]

    yield new
    reader.close()
    _zolal.recording_stop()


def test_each_method_leaves_its_call(events, tmp_path):
    listener = socket.socket()
    server = listener.fileno()
    assert events() == [("socket", -1, server)]

    def leaves(call, *expected):
        value = call()
        assert events() == list(expected)
        return value

    one = (socket.SOL_SOCKET, socket.SO_REUSEADDR)
    leaves(lambda: listener.setsockopt(*one, 1), ("setsockopt", server, 0))
    leaves(lambda: listener.getsockopt(*one), ("getsockopt", server, 0))
    leaves(lambda: listener.getsockopt(*one, 8), ("getsockopt", server, 0))
    leaves(lambda: listener.bind(("127.0.0.1", 0)), ("bind", server, 0))
    leaves(listener.listen, ("listen", server, 0))
    address = leaves(listener.getsockname, ("getsockname", server, 0))
    client = socket.socket()
    fd = client.fileno()
    events()
    leaves(lambda: client.connect(address), ("connect", fd, 0))
    accepted, _ = listener.accept()
    peer = accepted.fileno()
    assert events() == [("accept4", server, peer)]
    leaves(client.getpeername, ("getpeername", fd, 0))
    leaves(lambda: client.send(b"abc"), ("sendto", fd, 3))
    leaves(lambda: client.sendall(b"abc"), ("sendto", fd, 3))
    leaves(lambda: client.sendmsg([b"a", b"bc"]), ("sendmsg", fd, 3))
    leaves(lambda: accepted.recv(1), ("recvfrom", peer, 1))
    leaves(lambda: accepted.recv_into(bytearray(1)), ("recvfrom", peer, 1))
    leaves(lambda: accepted.recvfrom(1), ("recvfrom", peer, 1))
    leaves(lambda: accepted.recvfrom_into(bytearray(1)), ("recvfrom", peer, 1))
    leaves(lambda: accepted.recvmsg(1), ("recvmsg", peer, 1))
    leaves(lambda: accepted.recvmsg_into([bytearray(1)]), ("recvmsg", peer, 1))
    (tmp_path / "file").write_bytes(b"abc")
    with open(tmp_path / "file", "rb") as file:
        leaves(lambda: client.sendfile(file), ("sendfile", fd, 3), ("sendfile", fd, 0))
    leaves(lambda: accepted.settimeout(5), ("ioctl", peer, 0))
    leaves(lambda: accepted.recv(1), ("poll", peer, 1), ("recvfrom", peer, 1))
    leaves(lambda: accepted.get_inheritable(), ("fcntl", peer, 1))
    leaves(lambda: accepted.set_inheritable(False), ("fcntl", peer, 0))
    leaves(lambda: _zolal.poll([(peer, select.POLLIN)], 0), ("poll", peer, 1))
    leaves(lambda: client.shutdown(socket.SHUT_WR), ("shutdown", fd, 0))
    with accepted.makefile("rb") as stream:
        events()
        assert len(stream.read()) == 5
        assert ("recvfrom", peer, 5) in events()
    copied = client.dup()
    copy_fd = copied.fileno()
    assert events()[0] == ("fcntl", fd, copy_fd)
    copied.close()
    assert events()[-1] == ("close", copy_fd, 0)
    for sock, number in ((client, fd), (accepted, peer), (listener, server)):
        leaves(sock.close, ("close", number, 0))
    a, b = socket.socketpair()
    assert events()[0][0] == "socketpair"
    a.close()
    b.close()
    with socket.socket(type=socket.SOCK_DGRAM) as datagram:
        datagram.bind(("127.0.0.1", 0))
        where = datagram.getsockname()
        number = datagram.fileno()
        events()
        leaves(lambda: datagram.sendto(b"abc", where), ("sendto", number, 3))
    events()


def test_failures_are_there_too(events):
    with socket.socket() as sock:
        fd = sock.fileno()
        events()
        with pytest.raises(OSError):
            sock.getpeername()
        sock.setblocking(False)
        with pytest.raises(OSError):
            sock.recv(1)
        assert [(op, result < 0) for op, _, result in events()] == [
            ("getpeername", True),
            ("ioctl", False),
            ("recvfrom", True),
        ]
    assert events() == [("close", fd, 0)]


def test_one_that_is_dropped_is_closed_in_the_recording(events):
    sock = socket.socket()
    fd = sock.fileno()
    with pytest.warns(ResourceWarning, match="unclosed <zolal.socket.socket fd="):
        del sock
    assert ("close", fd, 0) in events()


@pytest.mark.parametrize("first", ["recv", "socket", "poll", "close"])
def test_a_thread_joins_at_its_first_call(events, first):
    """More threads, one after the other, than the recording has chunks."""
    for _ in range(100):
        a, b = socket.socketpair()
        b.send(b"x")
        events()

        def work(a=a, b=b):
            if first == "recv":
                a.recv(1)
            elif first == "socket":
                socket.socket().close()
            elif first == "poll":
                _zolal.poll([(a.fileno(), select.POLLIN)], None)
            a.close()
            b.close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        seen = [op for op, _, _ in events()]
        before = {"recv": ["recvfrom"], "socket": ["socket", "close"], "poll": ["poll"]}
        assert seen == [*before.get(first, []), "close", "close"]


def test_a_thread_for_each_connection_does_not_use_the_recording_up():
    """What 300 threads did, one after the other, is there at the end, each under its own number."""
    reader = _zolal.Reader(_zolal.recording_start())
    numbers = []

    def work():
        numbers.append(threading.get_native_id())
        a, b = socket.socketpair()
        a.close()
        b.close()

    for _ in range(300):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    seen = [(event.thread, event.op) for event in reader.read()]
    reader.close()
    _zolal.recording_stop()
    made = [number for number, op in seen if op == "socketpair"]
    assert made == numbers
    assert [op for _, op in seen if op == "lost"] == []


def test_the_end_of_a_recording_while_threads_use_sockets():
    """They go on, and are in the next recording."""
    stop = threading.Event()
    rounds = [0] * 4

    def work(i):
        a, b = socket.socketpair()
        with a, b:
            while not stop.is_set():
                a.send(b"x")
                b.recv(10)
                rounds[i] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(rounds))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            path = _zolal.recording_start()
            reader = _zolal.Reader(path)
            numbers = {}
            while len(numbers) < len(rounds):
                for event in reader.read():
                    if event.kind == "call":
                        numbers[event.thread] = True
            reader.close()
            _zolal.recording_stop()
            assert not os.path.exists(path)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert all(rounds)


def test_a_recording_stopped_by_another_thread():
    _zolal.recording_start()
    thread = threading.Thread(target=_zolal.recording_stop)
    thread.start()
    thread.join()
    with socket.socket():
        pass
    path = _zolal.recording_start()
    reader = _zolal.Reader(path)
    with socket.socket():
        pass
    assert [event.op for event in reader.read()] == ["socket", "close"]
    reader.close()
    _zolal.recording_stop()


def test_a_forked_child_records_nothing_of_its_parent(events):
    a, b = socket.socketpair()
    with a, b:
        events()
        pid = os.fork()
        if pid == 0:
            try:
                b.send(b"x")
                path = _zolal.recording_start()
                reader = _zolal.Reader(path)
                b.send(b"y")
                os._exit(0 if [e.op for e in reader.read()] == ["sendto"] else 1)
            finally:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        assert a.recv(2) == b"xy"
        assert [op for op, _, _ in events()] == ["recvfrom"]


def test_strace_sees_no_other_network_calls(tmp_path):
    """What the kernel was asked, as strace(1) tells it, is what was recorded."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    program = textwrap.dedent(
        """
        import threading
        from zolal import _zolal, socket
        reader = _zolal.Reader(_zolal.recording_start())
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            connection, _ = listener.accept()
            with connection, connection.makefile("rwb") as file:
                file.write(file.readline().upper())

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listener.getsockname(), timeout=20) as client:
            client.sendall(b"hello\\n")
            assert client.recv(100) == b"HELLO\\n"
        thread.join()
        listener.close()
        print(" ".join(sorted(event.op for event in reader.read() if event.op != "close")))
        """
    )
    # Where there is no poll(2) the C library makes it of ppoll(2).
    command = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=%network,?poll,?ppoll,ioctl",
        "-e",
        "signal=none",
    ]
    if subprocess.run([*command, "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("strace cannot trace here")
    done = subprocess.run(
        [*command, "-o", "calls", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    lines = [line.split(maxsplit=1)[1] for line in (tmp_path / "calls").read_text().splitlines()]
    seen = []
    for line in lines:
        name = line.split("(")[0].replace("ppoll", "poll")
        # The interpreter's own: terminals, and nscd for the user's name.
        if "resumed>" in line or (name == "ioctl" and "FIONBIO" not in line) or "nscd" in line:
            continue
        seen.append(name)
    assert done.stdout.split() == sorted(seen)
    assert "accept4" in seen


def test_calls_are_shown_as_strace_would():
    path = _zolal.recording_start()
    reader = _zolal.Reader(path)
    a, b = socket.socketpair()
    with a, b:
        fd, other = a.fileno(), b.fileno()
        reader.read()
        b.send(b"xyz")
        a.settimeout(2)
        a.recv(1)
        _zolal.poll([(a, select.POLLIN | select.POLLOUT), (b, select.POLLIN)], 0)
        a.recvmsg(1)
        a.get_inheritable()
        shown = [calls.call(event) for event in reader.read()]
    with socket.socket(type=socket.SOCK_DGRAM) as datagram:
        datagram.bind(("127.0.0.1", 0))
        where = datagram.getsockname()
        datagram.sendto(b"abc", where)
        datagram.recvfrom(10)
        number, port = datagram.fileno(), where[1]
        address = f"127.0.0.1:{port}"
        pair = socket.socketpair()
        addressed = [calls.call(event) for event in reader.read()][-7:]
        fds = [one.fileno() for one in pair]
        for one in pair:
            one.close()
    reader.close()
    _zolal.recording_stop()
    assert shown == [
        f"sendto({other}, 3) = 3",
        f"ioctl({fd}, FIONBIO, 1) = 0",
        f"poll([{fd} IN = IN], timeout 2000 ms) = 1",
        f"recvfrom({fd}, 1) = 1",
        f"poll([{fd} IN|OUT = IN|OUT, {other} IN], timeout 0 ms) = 1",
        f"poll([{fd} IN = IN], timeout 2000 ms) = 1",
        f"recvmsg({fd}, [1]) = 1",
        f"fcntl({fd}, F_GETFD, 0) = 1",
    ]
    assert f"sendto({number}, 3, {address}) = 3" in addressed
    assert f"recvfrom({number}, 10, {address}) = 3" in addressed
    assert f"socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0, {fds}) = 0" in addressed
