"""Each kernel call of zolal.socket is recorded with the lines of Python that led to it, caller
last."""

import asyncio
import http.client
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from zolal import Server, _zolal, recording, socket

HERE = pathlib.Path(__file__)


def line_of(mark):
    """The number of the line here that ends with this comment."""
    lines = HERE.read_text().splitlines()
    (number,) = (n for n, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))
    return number


@pytest.fixture
def recorded():
    """A function: (op, place) of the calls since it was last called."""
    _zolal.recording_stop()  # one that a server of another test has started
    reader = _zolal.Reader(_zolal.recording_start(4 << 20))
    recording.record_places()
    yield lambda: [(event.op, event.place) for event in reader.read() if event.kind == "call"]
    _zolal.record_places(None)
    reader.close()
    _zolal.recording_stop()


@pytest.fixture
def pair(recorded):
    a, b = socket.socketpair()
    with a, b:
        recorded()
        yield a, b
    recorded()


def names(place):
    """The functions, without the class in which Python 3.10 does not see them."""
    return [text.partition(" (")[0].rpartition(".")[2] for text, _ in place]


def asking(place):
    """(function, line) of the caller, which is in this file."""
    text, line = place[-1]
    assert text.endswith(f" ({__file__})")
    return names(place)[-1], line


def test_a_call_has_its_function_and_line(recorded, pair):
    a, b = pair

    def say():
        a.send(b"x")  # plain send
        b.recv(1)  # plain recv

    say()
    assert [(op, len(place), *asking(place)) for op, place in recorded()] == [
        ("sendto", 1, "say", line_of("plain send")),
        ("recvfrom", 1, "say", line_of("plain recv")),
    ]


def test_helpers_stand_before_the_line_that_called_them(recorded):
    def use():
        listener = socket.create_server(("127.0.0.1", 0))  # create_server
        with listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()  # accept
            with client, accepted:
                client.sendall(b"line\n")
                with accepted.makefile("rb") as file:
                    recorded()
                    file.readline()  # readline

    use()  # the whole
    ((op, place),) = [one for one in recorded() if one[0] == "recvfrom"]
    assert (names(place), asking(place)) == (["readinto", "use"], ("use", line_of("readline")))


def test_of_helpers_each_frame_has_its_line(recorded):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorded()
        with socket.create_connection(listener.getsockname()):  # connects
            seen = dict(recorded())
    place = seen["connect"]
    assert names(place) == ["create_connection", "test_of_helpers_each_frame_has_its_line"]
    assert asking(place)[1] == line_of("connects")
    source = pathlib.Path(socket.__file__).read_text().splitlines()
    assert "sock.connect(peer)" in source[place[0][1] - 1]
    assert names(seen["socket"])[:2] == ["__init__", "create_connection"]
    assert names(seen["getsockname"]) == names(place)[1:]


def test_in_a_generator_and_a_coroutine(recorded, pair):
    a, b = pair
    a.setblocking(False)
    b.setblocking(False)

    def pieces():
        for _ in range(2):
            yield a.send(b"x")  # in a generator

    async def echo():
        a.send(b"y")  # in a coroutine
        await asyncio.sleep(0)
        return await asyncio.get_running_loop().sock_recv(b, 10)  # awaits

    recorded()
    list(pieces())
    asyncio.run(echo())
    calls = [(op, *asking(place)) for op, place in recorded()]
    assert calls[:2] == [("sendto", "pieces", line_of("in a generator"))] * 2
    assert calls[2:] == [
        ("sendto", "echo", line_of("in a coroutine")),
        ("recvfrom", "echo", line_of("awaits")),
    ]


def test_in_several_threads_at_once(recorded):
    def one(sock):
        for _ in range(200):
            sock.send(b"x")  # one

    def other(sock):
        for _ in range(200):
            sock.send(b"x")  # other

    pairs = [socket.socketpair() for _ in range(6)]
    fds = {a.fileno(): (one, other)[i % 2] for i, (a, _) in enumerate(pairs)}
    threads = [threading.Thread(target=fds[a.fileno()], args=(a,)) for a, _ in pairs]
    reader = _zolal.Reader(_zolal.recording_path())
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = [event for event in reader.read() if event.op == "sendto"]
    reader.close()
    assert len(sent) == 1200
    for event in sent:
        name = fds[event.fd].__name__
        assert asking(event.place) == (name, line_of(name))
    for sock in (sock for both in pairs for sock in both):
        sock.close()


def test_a_library_between(recorded, pair):
    a, b = pair
    client = http.client.HTTPConnection("localhost")
    client.sock = a

    def ask():
        client.request("GET", "/")  # request

    recorded()
    ask()
    ((op, place),) = recorded()
    assert op == "sendto" and asking(place) == ("ask", line_of("request"))
    assert names(place)[:1] == ["send"] and all("http/client.py" in text for text, _ in place[:-1])


def test_a_signal_handler_has_its_own_and_the_call_goes_on_with_its(recorded, pair):
    a, b = pair

    def handler(*_):
        b.send(b"x")  # handler

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        a.recv(1)  # interrupted
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [(op, *asking(place)[1:]) for op, place in recorded()] == [
        ("recvfrom", line_of("interrupted")),
        ("sendto", line_of("handler")),
        ("recvfrom", line_of("interrupted")),
    ]


def test_what_the_server_does_in_the_same_thread_has_none(recorded):
    ends = socket.socketpair()

    def application(environ, start_response):
        ends[0].send(b"x")  # in the application
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with Server(application, bind="127.0.0.1:0") as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port)
        client.request("GET", "/")
        assert client.getresponse().status == 200
        client.close()
    places = {place for op, place in recorded()}
    here = [place for place in places if place]
    assert () in places and line_of("in the application") in {asking(place)[1] for place in here}
    threads_own = [op for op, place in recorded() if place]
    assert threads_own == []
    for end in ends:
        end.close()


def test_by_default_there_are_none():
    _zolal.recording_stop()
    reader = _zolal.Reader(_zolal.recording_start())
    with socket.socket():
        pass
    assert [event.place for event in reader.read()] == [(), ()]
    reader.close()
    _zolal.recording_stop()


def test_no_more_frames_than_there_is_room_for(recorded, pair):
    _zolal.record_places(("/",))  # all are libraries

    def deep(levels):
        return deep(levels - 1) if levels else pair[0].send(b"x")

    deep(200)
    ((_, place),) = recorded()
    assert names(place) == ["deep"] * 120


def test_code_without_end(recorded, pair):
    """Of ever new functions the first ones have names; then there is no room, and no harm."""
    sock = pair[0]
    recorded()
    for i in range(6000):
        space = {"sock": sock}
        exec(f"def made_{i}():\n    sock.send(b'x')", space)
        space[f"made_{i}"]()
        pair[1].recv(1)
        if i in (0, 5999):
            place = recorded()[0 if i == 0 else -2][1]
            assert (names(place) == ["made_0"]) == (i == 0)
        elif i % 1000 == 0:
            recorded()


@pytest.mark.parametrize("wrong", [5, ["/"], (b"/",), ("/", None)])
def test_what_folders_are_not(wrong):
    with pytest.raises(TypeError, match="a tuple of str, or None"):
        _zolal.record_places(wrong)


def test_a_forked_child_has_names_of_its_own(recorded, pair):
    """Its recording begins without any, whatever its parent's has."""
    a, b = pair
    _zolal.trace_enter("a text")

    def send():
        a.send(b"x")  # on both sides

    send()
    _zolal.trace_leave()
    pid = os.fork()
    if pid == 0:
        try:
            reader = _zolal.Reader(_zolal.recording_start())
            _zolal.trace_enter("a text")
            send()
            entered, sent = reader.read()
            assert entered.name == "a text"
            assert asking(sent.place) == ("send", line_of("on both sides"))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


PROGRAM = """\
from zolal import socket

def talk(a, b):
    a.sendall(b"hello")
    with b.makefile("rb", 0) as file:
        assert file.read(5) == b"hello"

a, b = socket.socketpair()
with a, b:
    talk(a, b)
"""


def test_a_program_that_is_to_be_seen_through(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "ZOLAL_XRAY": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert "program" in shown
    for call, place in (
        (" socketpair(AF_UNIX,", "socketpair < <module>, program.py:8"),
        (" sendto(", " talk, program.py:4"),
        (" recvfrom(", "readinto < talk, program.py:6"),
        (" close(", "__exit__ < <module>, program.py:9"),
    ):
        assert any(call in line and line.endswith(place) for line in shown), done.stdout
