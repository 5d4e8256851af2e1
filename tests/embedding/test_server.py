"""zolal.Server: a server inside a program. What ends or forks a process runs in one of its own."""

import contextlib
import http.client
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from running import UNDER_ASAN

import zolal


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def get(server, path="/"):
    with urllib.request.urlopen(server.url + path, timeout=20) as response:
        return response.read()


def wait_until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about")


@pytest.fixture
def server():
    with zolal.Server(hello, bind="127.0.0.1:0") as server:
        yield server


def test_with_serves_in_a_thread_and_leaves_none(server):
    threads = set(threading.enumerate())
    assert get(server) == b"hello"
    assert server.is_serving
    server.close()
    assert not server.is_serving
    assert not {t for t in threading.enumerate() if t.name.startswith("zolal")} - threads
    assert not any(t.name.startswith("zolal") for t in threading.enumerate())


def test_addresses_are_what_they_came_to_be(tmp_path):
    path = tmp_path / "socket"
    with zolal.Server(hello, bind=["127.0.0.1:0", f"unix:{path}"]) as server:
        host, _, port = server.addresses[0].rpartition(":")
        assert host == "127.0.0.1"
        assert server.port == int(port) > 0
        assert server.url == f"http://127.0.0.1:{port}"
        assert server.addresses[1] == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(10000).endswith(b"hello")
    assert not path.exists()


def test_one_who_connects_before_the_start_is_served():
    server = zolal.Server(hello, bind="127.0.0.1:0")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/")
    with server:
        assert connection.getresponse().read() == b"hello"
    connection.close()


def test_a_port_in_use_is_an_os_error(server):
    with pytest.raises(OSError, match="Address already in use") as info:
        zolal.Server(hello, bind=server.addresses[0])
    assert info.value.filename is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"threads": 0}, ValueError),
        ({"limits": {"no_such": 1}}, ValueError),
        ({"header_map": "x"}, ValueError),
        ({"persistence": "x"}, ValueError),
        ({"server_name": "a\r\nb"}, OSError),
    ],
)
def test_a_wrong_option_is_said_at_once(options, error):
    with pytest.raises(error):
        zolal.Server(hello, bind="127.0.0.1:0", **options)


def test_an_application_that_is_none_is_said_at_once():
    with pytest.raises(TypeError, match="not callable"):
        zolal.Server(None, bind="127.0.0.1:0")


def test_serve_forever_ends_by_a_shutdown_from_another_thread():
    server = zolal.Server(hello, bind="127.0.0.1:0")
    answers = []

    def ask():
        answers.append(get(server))
        assert server.shutdown()

    thread = threading.Thread(target=ask)
    thread.start()
    server.serve_forever()
    thread.join()
    assert answers == [b"hello"]


def test_a_shutdown_before_it_serves_is_not_lost():
    server = zolal.Server(hello, bind="127.0.0.1:0")
    server.shutdown()
    server.serve_forever()
    assert not server.is_serving


@pytest.mark.parametrize("threads", [1, 4])
def test_the_application_may_shut_it_down(threads):
    def application(environ, start_response):
        assert server.shutdown() is False
        return hello(environ, start_response)

    server = zolal.Server(application, bind="127.0.0.1:0", threads=threads)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(get(server)))
    thread.start()
    server.serve_forever()
    thread.join()
    assert answers == [b"hello"]


def test_shutdown_waits_for_running_requests():
    entered = threading.Event()
    goes_on = threading.Event()

    def application(environ, start_response):
        entered.set()
        goes_on.wait(20)
        return hello(environ, start_response)

    answers = []
    with zolal.Server(application, bind="127.0.0.1:0") as server:
        thread = threading.Thread(target=lambda: answers.append(get(server)))
        thread.start()
        entered.wait(20)
        assert server.shutdown(timeout=0.01) is False
        goes_on.set()
        assert server.shutdown()
        thread.join()
    assert answers == [b"hello"]


def test_it_serves_again_on_the_same_port(server):
    port = server.port
    for _ in range(3):
        assert get(server) == b"hello"
        server.close()
        server.start()
        assert server.port == port


def test_it_serves_once_at_a_time(server):
    with pytest.raises(RuntimeError, match="serving already"):
        server.start()
    with pytest.raises(RuntimeError, match="serving already"):
        server.serve_forever()
    assert get(server) == b"hello"


def test_several_at_once():
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(zolal.Server(hello, bind="127.0.0.1:0")) for _ in range(5)]
        assert len({server.port for server in servers}) == 5
        assert [get(server) for server in servers] == [b"hello"] * 5


def test_a_listening_socket_stays_its_owners():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for bind in (listening, listening.fileno()):
            with zolal.Server(hello, bind=bind) as server:
                assert server.port == listening.getsockname()[1]
                assert get(server) == b"hello"
        with socket.create_connection(listening.getsockname()):
            listening.settimeout(20)
            listening.accept()[0].close()


def test_the_file_of_an_adopted_unix_socket_stays(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with zolal.Server(hello, bind=listening):
            pass
        assert path.exists()


def test_a_socket_that_does_not_listen_is_refused():
    with socket.socket() as plain, pytest.raises(OSError, match="not a listening stream socket"):
        zolal.Server(hello, bind=plain)


def test_environ_is_added_to():
    def application(environ, start_response):
        start_response("200 OK", [])
        names = ("SERVER_NAME", "CONTENT_LENGTH", "CONTENT_TYPE", "X")
        return [repr([environ[name] for name in names]).encode()]

    more = {"SERVER_NAME": "me", "CONTENT_LENGTH": "", "CONTENT_TYPE": "text/plain", "X": "y"}
    with zolal.Server(
        application, bind="127.0.0.1:0", environ=more, server_name="mine/1"
    ) as server:
        assert get(server) == b"['me', '', 'text/plain', 'y']"
        for _ in range(2):
            request = urllib.request.Request(server.url, b"abc", {"Content-Type": "a/b"})
            with urllib.request.urlopen(request, timeout=20) as response:
                assert response.read() == b"['me', '3', 'a/b', 'y']"
                assert response.headers["Server"] == "mine/1"
        assert get(server) == b"['me', '', 'text/plain', 'y']"


def test_on_answer_is_told_of_each_answer_once():
    answers = []

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/fails":
            raise ValueError
        return hello(environ, start_response)

    with zolal.Server(
        application, bind="127.0.0.1:0", on_answer=lambda *answer: answers.append(answer)
    ) as server:
        get(server, "/a?b")
        with pytest.raises(urllib.error.HTTPError):
            get(server, "/fails")
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            while client.recv(1000):
                pass
            port = client.getsockname()[1]
    first, second, third = answers
    assert first[0] == "127.0.0.1"
    assert first[2:] == ("GET /a?b HTTP/1.1", 200, 5, None)
    assert second[2:4] == ("GET /fails HTTP/1.1", 500)
    assert third[:4] == ("127.0.0.1", port, "\x16\x03\x01 hello", 400)
    assert third[5]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_on_answer_that_fails_stops_nothing():
    with zolal.Server(hello, bind="127.0.0.1:0", on_answer=lambda: None) as server:
        assert get(server) == get(server) == b"hello"


def test_on_answer_may_let_others_go_on():
    """Many threads, an on_answer that sleeps: each answer is told of once."""
    answers = []

    def on_answer(host, port, request_line, status, size, refused):
        time.sleep(0.002)
        answers.append(request_line)

    def application(environ, start_response):
        time.sleep(0.001)
        return hello(environ, start_response)

    def ask(server, number):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        for i in range(10):
            connection.request("GET", f"/{number}/{i}")
            assert connection.getresponse().read() == b"hello"
        connection.close()

    with zolal.Server(application, bind="127.0.0.1:0", on_answer=on_answer) as server:
        threads = [threading.Thread(target=ask, args=(server, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == sorted(f"GET /{n}/{i} HTTP/1.1" for n in range(8) for i in range(10))


def test_each_application_thread_lives_in_a_context():
    begun, ended = [], []

    @contextlib.contextmanager
    def around_thread():
        begun.append(threading.get_ident())
        try:
            yield
        finally:
            ended.append(threading.get_ident())

    def application(environ, start_response):
        start_response("200 OK", [])
        assert threading.get_ident() in begun
        assert threading.get_ident() not in ended
        return [b"inside"]

    with zolal.Server(application, bind="127.0.0.1:0", around_thread=around_thread) as server:
        assert get(server) == b"inside"
    assert begun
    assert sorted(begun) == sorted(ended)


SCRIPT = """
import os, signal, sys, threading, time, urllib.request, warnings
import zolal

def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]

def get(server):
    with urllib.request.urlopen(server.url, timeout=20) as response:
        return response.read()

"""


def test_ctrl_c_ends_serve_forever_and_is_raised(outcome_of):
    script = """
for threads in 1, 4:
    server = zolal.Server(hello, bind="127.0.0.1:0", threads=threads)
    def interrupt():
        get(server)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("interrupted", server.is_serving)
"""
    out, err = outcome_of(SCRIPT + script)
    assert out == "interrupted False\n" * 2
    assert err == ""


def test_ctrl_c_at_any_moment(outcome_of):
    """Two hundred, at moments a little later each: the server ends, and can be started again."""
    script = """
times = 0
for i in range(200):
    server = zolal.Server(hello, bind="127.0.0.1:0")
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00001 + 0.00001 * i)
        server.serve_forever()
    except KeyboardInterrupt:
        times += 1
    assert not server.is_serving
    with server:
        assert get(server) == b"hello"
print(times)
"""
    interrupts = "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
    out, err = outcome_of(SCRIPT + interrupts + script)
    assert out == "200\n"
    assert err == ""


def test_a_signal_handler_may_shut_it_down(outcome_of):
    script = """
for threads in 1, 4:
    server = zolal.Server(hello, bind="127.0.0.1:0", threads=threads)
    signal.signal(signal.SIGTERM, lambda number, frame: server.shutdown())
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    server.serve_forever()
    print("ended")
"""
    assert outcome_of(SCRIPT + script) == ("ended\n" * 2, "")


def test_a_program_ends_though_its_server_was_not_ended(outcome_of):
    script = """
server = zolal.Server(hello, bind="127.0.0.1:0").start()
print(get(server))
"""
    assert outcome_of(SCRIPT + script) == ("b'hello'\n", "")


def test_a_forked_child_leaves_its_parents_server_alone(outcome_of):
    script = """
# Python 3.12 and later: fork() beside threads is what is tested here.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
for started in False, True:
    server = zolal.Server(hello, bind="127.0.0.1:0")
    if started:
        server.start()
    child = os.fork()
    if child == 0:
        try:
            assert not server.is_serving
            with zolal.Server(hello, bind="127.0.0.1:0") as own:
                assert get(own) == b"hello"
            try:
                server.start()
            except OSError as error:
                print("Address already in use" in error.strerror, flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    if not started:
        server.start()
    print(get(server), flush=True)
    server.close()
"""
    out, err = outcome_of(SCRIPT + script)
    assert out == "True\nb'hello'\n" * 2
    assert err == ""


@pytest.mark.skipif(UNDER_ASAN, reason="ASan keeps what is freed")
def test_a_thousand_starts_leave_nothing(outcome_of):
    script = """
import gc

def left():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(threading.enumerate()), len(gc.get_objects())

def once():
    with zolal.Server(hello, bind="127.0.0.1:0") as server:
        assert get(server) == b"hello"

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4

for _ in range(600):  # by then the heap has the size that it keeps
    once()
before, memory = left(), rss()
for _ in range(1000):
    once()
after = left()
assert after[:2] == before[:2], (before, after)
assert after[2] - before[2] < 200, (before, after)
assert rss() - memory < 3000, (memory, rss())
print("nothing")
"""
    assert outcome_of(SCRIPT + script) == ("nothing\n", "")


def test_the_environment_asks_for_an_xray(launch_command):
    script = """
with zolal.Server(hello, bind="127.0.0.1:0") as server:
    get(server)
"""
    process = launch_command([sys.executable, "-c", SCRIPT + script], {"ZOLAL_XRAY": "1"})
    assert process.process.wait(30) == 0
    out = process.stdout()
    assert "GET /" in out
    assert "recvfrom" in out
    assert "hello" in out


def test_the_recording_is_removed_at_the_end(launch_command, tmp_path):
    script = """
zolal.Server(hello, bind="127.0.0.1:0").close()
print(os.listdir(os.environ["XDG_RUNTIME_DIR"]))
"""
    process = launch_command(
        [sys.executable, "-c", SCRIPT + script], {"XDG_RUNTIME_DIR": str(tmp_path)}
    )
    assert process.process.wait(30) == 0, process.stderr()
    assert ".trace" in process.stdout()
    assert list(tmp_path.iterdir()) == []
