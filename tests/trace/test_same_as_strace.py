"""What `zolal trace` says of a program is what strace(1) says of the same run: in each thread the
same calls in the same order, with the same arguments and results, but for what the C library does
inside itself (by_strace.without_glibc)."""

import http.client
import importlib.util
import pathlib
import signal
import socket
import sys
import time

import databases
import pytest
from by_strace import Traced, lines_of, need_strace, of_recording, of_strace
from pythons import PYTHONS
from running import APPS, PATIENCE

from zolal.trace import run

PROGRAMS = pathlib.Path(__file__).parent / "programs"


@pytest.fixture
def traced(tmp_path):
    """traced(command, env={}, library=...): a Traced."""
    need_strace(tmp_path)
    running = []

    def traced(command, **options):
        running.append(Traced([str(word) for word in command], tmp_path, **options))
        return running[-1]

    yield traced
    for one in running:
        one.close()


def connect(port, process):
    for _ in range(int(PATIENCE * 20)):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except ConnectionRefusedError:
            assert process.process.poll() is None, process.log.read_text()
            time.sleep(0.05)
    raise AssertionError(f"it does not listen: {process.log.read_text()}")


def wait_until(condition, what):
    for _ in range(int(PATIENCE * 20)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"waited for {what}")


def visit_http(port, program):
    connect(port, program).close()  # one that leaves without a word
    for _ in range(3):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        client.request("GET", "/")
        assert client.getresponse().read()
        client.close()


def visit_echo(port, program):
    for text in (b"hello", b"x" * 3000):
        with connect(port, program) as client:
            for _ in range(3):
                client.sendall(text)
                left = len(text)
                while left:
                    left -= len(client.recv(left))
                time.sleep(0.01)


def check(program, least):
    """The calls of all threads, when both say the same."""
    by_strace, recorded = program.both()
    for tid in by_strace.keys() | recorded.keys():
        theirs, ours = by_strace.get(tid, []), recorded.get(tid, [])
        pairs = enumerate(zip(theirs, ours, strict=False))
        at = next((at for at, (a, b) in pairs if a != b), len(ours))
        near = slice(max(0, at - 3), at + 4)
        assert ours == theirs, f"thread {tid}, call {at}: {ours[near]} but {theirs[near]}"
    found = [call for calls in recorded.values() for call in calls]
    assert len(found) >= least
    return found


def served(traced, command, visit, least, number=signal.SIGINT, **options):
    port = databases.free_port()
    program = traced([str(port) if word == "PORT" else word for word in command], **options)
    visit(port, program)
    program.end(number)
    return check(program, least)


@pytest.fixture(params=PYTHONS)
def python(request):
    return PYTHONS[request.param]


def test_http_server(traced, python):
    served(traced, [python, "-m", "http.server", "-b", "127.0.0.1", "PORT"], visit_http, 30)


def test_wsgiref(traced, python):
    served(traced, [python, PROGRAMS / "wsgi_server.py", "PORT"], visit_http, 30)


def test_asyncio_echo(traced, python):
    served(traced, [python, PROGRAMS / "echo_server.py", "PORT"], visit_echo, 60)


def test_clients_of_the_standard_library(traced, python):
    program = traced([python, "-S", "-E", PROGRAMS / "http_clients.py"])
    assert program.wait() == 0, program.log.read_text()
    check(program, 50)


def need(*modules):
    for module in modules:
        if not importlib.util.find_spec(module):
            pytest.skip(f"{module} is not installed")


def test_requests(traced):
    need("requests")
    program = traced([sys.executable, PROGRAMS / "http_clients.py"])
    assert program.wait() == 0, program.log.read_text()
    check(program, 70)


def test_django_runserver(traced):
    need("django")
    served(traced, [sys.executable, PROGRAMS / "django_server.py", "PORT"], visit_http, 30)


def test_flask(traced):
    need("flask")
    served(traced, [sys.executable, PROGRAMS / "flask_server.py", "PORT"], visit_http, 30)


def test_gunicorn(traced):
    need("gunicorn", "flask")
    command = [sys.executable, "-m", "gunicorn", "-w", "4", "-b", "127.0.0.1:PORT"]
    port = databases.free_port()
    command[-1] = f"127.0.0.1:{port}"
    command += ["--chdir", PROGRAMS, "flask_server:app"]
    program = traced(command)
    visit_http(port, program)
    # It is busy with its workers, and deaf, until all are there.
    wait_until(lambda: program.log.read_text().count("Booting worker") == 4, "four workers")
    program.end(signal.SIGTERM)
    check(program, 30)


def test_uvicorn(traced):
    need("uvicorn")
    command = [sys.executable, "-m", "uvicorn", "asgi_app:app", "--port", "PORT"]
    command += ["--app-dir", APPS, "--lifespan", "off"]
    served(traced, command, visit_http, 30, signal.SIGTERM)


def test_databases(traced):
    need("psycopg", "redis")
    with databases.postgresql() as database, databases.redis() as cache:
        program = traced([sys.executable, PROGRAMS / "database_clients.py", database, cache])
        assert program.wait() == 0, program.log.read_text()
        check(program, 50)


def test_a_wrapper_that_does_not_record_is_found(traced, tmp_path):
    """The library as it is, but that `listen` is not among the functions that it wraps."""
    whole = pathlib.Path(run.library()).read_bytes()
    assert whole.count(b"\0listen\0") > 0
    library = tmp_path / "zolal_preload.so"
    library.write_bytes(whole.replace(b"\0listen\0", b"\0liSten\0"))
    command = [sys.executable, "-c", "import socket; socket.socket().listen()"]
    program = traced(command, library=library)
    assert program.wait() == 0, program.log.read_text()
    program.folder.end(0)
    by_strace = of_strace(tmp_path)
    recorded = of_recording(lines_of(program.folder, tmp_path))
    assert by_strace.keys() == recorded.keys()
    [ours], [theirs] = recorded.values(), by_strace.values()
    assert [call for call in theirs if call not in ours] == [("listen", "3, 128", 0)]
    with pytest.raises(AssertionError):
        check(program, 1)
