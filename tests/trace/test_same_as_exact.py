"""What the preloaded library records of a program is what the kernel says of the same run: in each
thread the same calls in the same order, with the same arguments and results, but for what the C
library does inside itself (by_strace.without_glibc)."""

import json
import pathlib
import signal
import sys

import databases
import pytest
from by_exact import Both
from by_strace import TRACED, need_strace, of_recording, of_strace
from pythons import PYTHONS
from test_same_as_strace import PROGRAMS, check, visit_echo, visit_http
from tracing import ZOLAL, hard
from tracing import run as run_plain

from zolal.trace import run


@pytest.fixture
def both(tmp_path):
    """both(command, library=...): a Both."""
    running = []

    def both(command, **options):
        running.append(Both([str(word) for word in command], tmp_path, **options))
        return running[-1]

    yield both
    for one in running:
        one.close()


@pytest.fixture(params=PYTHONS)
def python(request):
    return PYTHONS[request.param]


def served(both, command, visit, least, number=signal.SIGINT):
    port = databases.free_port()
    program = both([str(port) if word == "PORT" else word for word in command])
    visit(port, program)
    program.end(number)
    return check(program, least)


def test_wsgiref(both, python):
    served(both, [python, PROGRAMS / "wsgi_server.py", "PORT"], visit_http, 30)


def test_asyncio_echo(both, python):
    served(both, [python, PROGRAMS / "echo_server.py", "PORT"], visit_echo, 60)


def test_clients_of_the_standard_library(both, python):
    program = both([python, "-S", "-E", PROGRAMS / "http_clients.py"])
    assert program.wait() == 0, program.log.read_text()
    check(program, 50)


@pytest.mark.parametrize("word", ["threads", "errors", "truncated", "raw", "closes_all"])
def test_programs_of_c(both, word):
    program = both(hard(word))
    assert program.wait() == 0, program.log.read_text()
    check(program, 2)


@pytest.mark.parametrize("word", ["errors", "truncated", "raw", "closes_all"])
def test_strace_says_the_same_of_another_run(tmp_path, word):
    """Of programs that do the same each time."""
    need_strace(tmp_path)
    words = ["strace", "-ff", "-y", "-v", "-s", "0", "-e", f"trace={TRACED}", "-e", "signal=none"]
    assert run_plain([*words, "-o", "strace", *hard(word)], tmp_path).status == 0
    words = [*ZOLAL, "trace", "--exact", "-o", "exact.trace", "--", *hard(word)]
    assert run_plain(words, tmp_path).status == 0
    shown = run_plain([*ZOLAL, "xray", "exact.trace", "--as", "jsonl"], tmp_path).out.splitlines()
    [theirs] = of_strace(tmp_path).values()
    [ours] = of_recording([json.loads(line) for line in shown]).values()
    if word == "errors":  # of pointers that are none they write down different things
        ours, theirs = ([(call[0], call[2]) for call in calls] for calls in (ours, theirs))
    assert ours == theirs


def test_a_wrapper_that_does_not_record_is_found(both, tmp_path):
    """The library as it is, but that `listen` is not among the functions that it wraps."""
    whole = pathlib.Path(run.library()).read_bytes()
    library = tmp_path / "zolal_preload.so"
    library.write_bytes(whole.replace(b"\0listen\0", b"\0liSten\0"))
    text = "import socket; socket.create_server(('127.0.0.1', 0))"
    program = both([sys.executable, "-c", text], library=library)
    assert program.wait() == 0
    with pytest.raises(AssertionError, match="listen"):
        check(program, 1)
