"""--as html and --report: the page tells the story of any program, and is safe to open."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import traced
from hypothesis import given, settings
from hypothesis import strategies as st

from zolal.trace import report
from zolal.trace.connections import nested, tell
from zolal.trace.model import Frame, Process
from zolal.trace.report import cast
from zolal.trace.report.manual import man_page
from zolal.trace.report.markup import Markup, join, tag
from zolal.trace.report.source import Sources, own_frame
from zolal.trace.report.words import WORDS, Situation, sentence
from zolal.xray import calls as known_calls

MANUAL = r"https://man7\.org/linux/man-pages/man2/[\w%.-]+\.2\.html"
VOID = {"meta", "br"}
ELEMENTS = set(
    "html head meta title style body a header p h1 h2 h3 code dl div dt dd nav ol li main section "
    "span em ul figure figcaption svg line text path circle rect defs marker b pre mark details "
    "summary table thead tbody tr th td i footer".split()
)


class Page(HTMLParser):
    """Checks that a page is well formed, and has no elements but those that are meant."""

    def __init__(self, source):
        super().__init__()
        self.path, self.ids, self.links, self.words, self.styles = [], [], [], [], []
        self.text_of = {}
        self.feed(source)
        self.close()
        assert self.path == []
        assert len(self.ids) == len(set(self.ids))
        self.text = " ".join(" ".join(self.words).split())
        for link in self.links:
            if link.startswith("#"):
                assert link[1:] in self.ids
            else:
                assert re.fullmatch(
                    r"https://man7\.org/linux/man-pages/man2/[\w%.-]+\.2\.html", link
                )

    def handle_starttag(self, name, attributes):
        assert name in ELEMENTS, name
        found = dict(attributes)
        assert len(found) == len(attributes)
        assert not [key for key in found if key.startswith("on") or key in ("src", "xlink:href")]
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.styles += [found["style"]] if "style" in found else []
        if name not in VOID:
            self.path.append(name)

    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        if name not in VOID:
            self.path.pop()

    def handle_endtag(self, name):
        assert self.path.pop() == name

    def handle_data(self, data):
        if "style" not in self.path:
            self.words.append(data)


def chapters(page):
    return [name for name in page.ids if not name.startswith("step-") and name != "head"]


SERVER = ["glance", "start", "connection", "request", "others", "end", "more"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """recorded(name): the page of a program that was recorded, and its trace."""
    made = {}
    scripts = {
        "wsgi": (traced.WSGI, traced.GET),
        "echo": (traced.ECHO, b"hello\n"),
        "prefork": (traced.PREFORK, traced.GET),
        "client": (traced.CLIENT, b""),
        "none": ("print(1)", b""),
    }

    def recorded(name):
        if name not in made:
            trace = traced.record(tmp_path_factory.mktemp(name), *scripts[name])
            made[name] = Page(report.html(trace)), trace
        return made[name]

    return recorded


def test_a_server(recorded):
    page, trace = recorded("wsgi")
    assert sorted(chapters(page)) == sorted([*SERVER, "story"])
    text = page.text
    assert "took 3 connections and answered 3 requests" in text
    # Where in Python, what the kernel was told, what it means, where to read more.
    assert '9 with make_server("127.0.0.1", 0, application) as server:' in text
    assert "socket (AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3" in text
    assert "end point for TCP over IPv4" in text and "listen(2)" in text
    assert "hands up to 5" in text or "up to 5 connections wait in a queue" in text
    assert "The kernel makes a socket of its own for it, descriptor 4" in text
    assert "They begin with “GET /hello?<b> HTTP/1.1”" in text
    # Each call of the start, of the first connection and of its request is told, once.
    story = tell(trace.processes[0])
    first = story.exchanges[0]
    steps = [name for name in page.ids if name.startswith("step-")]
    assert len(steps) >= len(first.calls) + 7
    assert text.count("Gives the listening socket back") == 1


def test_an_asyncio_program(recorded):
    page, _ = recorded("echo")
    assert sorted(chapters(page)) == sorted([*SERVER, "story"])
    assert "took 3 connections." in page.text and "no HTTP" in page.text
    assert "while data := await loop.sock_recv(client, 1024):" in page.text
    assert "await loop.sock_sendall(client, data)" in page.text
    assert "Zero bytes: the other side has said all it had to say." in page.text
    assert "Puts descriptor" in page.text


def test_a_worker_that_inherits_the_socket(recorded):
    page, _ = recorded("prefork")
    assert "answered 3 requests" in page.text
    assert re.search(r"Process \d+ opened the socket; process \d+, which it has started", page.text)
    assert 'listener = socket.create_server(("127.0.0.1", 0))' in page.text
    assert "client, _ = listener.accept()" in page.text
    assert "2 processes" in page.text


def test_a_client_that_is_refused(recorded):
    page, _ = recorded("client")
    assert "It calls somebody" in page.text
    assert "Nobody listens there: the connection was refused (ECONNREFUSED)." in page.text


def test_a_program_without_any(recorded):
    page, _ = recorded("none")
    assert chapters(page) == ["story", "nothing", "more"]
    assert "asked nothing of the kernel's network" in page.text


def test_sockets_that_nobody_called():
    made = traced.Made()
    made.listen()
    page = Page(report.html(made.trace))
    assert "It listened on 127.0.0.1:8000, but nobody called." in page.text
    assert chapters(page) == ["story", "glance", "start", "end", "more"]


EVIL = "</code><script>alert(1)</script>\" onload='x' <!-- \x1b[31m \u202e &amp; style=\"x"


def test_nothing_from_a_recording_becomes_markup(tmp_path):
    source = tmp_path / "evil.py"
    source.write_text(f"# {EVIL}\n" * 5, newline="\n")
    stack = [(EVIL, f"/{EVIL}", 3), (EVIL, str(source), 3)]
    made = traced.Made((EVIL, EVIL), EVIL)
    made.process.note = EVIL
    made.listen(f"unix:{EVIL}", stack)
    made.request(EVIL, stack=stack, peer=EVIL)
    made.request(f"GET /{EVIL.replace(' ', '')} HTTP/1.1", stack=stack, peer=EVIL)
    made.call(EVIL, 3, -12345, EVIL, stack=stack, first_line=f"redis {EVIL}")
    source_of_page = report.html(made.trace)
    page = Page(source_of_page)
    assert "<script" not in source_of_page and "\x1b" not in source_of_page
    assert "\u202e" not in source_of_page
    assert all(re.fullmatch(r"[\w:.;%-]+", style) for style in page.styles)
    assert "alert(1)" in page.text


def test_the_page_of_thousands_of_requests_is_as_short_as_that_of_a_few():
    def page_of(count):
        made = traced.Made()
        made.listen(stack=[("main", "/srv/app.py", 3)])
        for number in range(count):
            took = 5_000_000 if number == count // 2 else 1000
            made.request(f"GET /{number % 40}?q={number} HTTP/1.1", took, [("f", "/srv/app.py", 9)])
        source = report.html(made.trace)
        return len(source), Page(source).text

    few, _ = page_of(60)
    many, text = page_of(5000)
    assert many < few * 1.2
    assert "5,000 requests over 5,000 connections" in text and "and 20 more kinds" in text
    # The one that took longest is told, too.
    assert "The slowest: GET /20?q=2500 200, 5.0 ms" in text


def test_many_calls_of_one_request_are_folded():
    made = traced.Made()
    made.listen()
    stack = [("f", "/srv/app.py", 9)]
    made.call("accept4", 3, 4, "3, 10.0.0.1:1", stack=stack)
    made.call("recvfrom", 4, 80, "4, 8192", first_line="GET / HTTP/1.1", stack=stack)
    for _ in range(10_000):
        made.call("sendto", 4, 100, "4, 100", stack=stack)
    for number in range(500):
        made.call("read", 5, 1, "5, 1", stack=[("g", "/srv/app.py", number + 1)])
    made.call("close", 4, 0, "4", stack=stack)
    source = report.html(made.trace)
    text = Page(source).text
    assert len(source) < 200_000
    assert "… and 9,997 more like this one" in text and "999,700 bytes" in text


def test_what_is_asked_of_others_meanwhile_is_told_with_the_request():
    made = traced.Made()
    made.listen()
    made.call("accept4", 3, 4, "3, 10.0.0.1:1")
    made.call("recvfrom", 4, 80, "4, 8192", first_line="GET /page HTTP/1.1")
    made.call("socket", -1, 5, "AF_INET, SOCK_STREAM, 0", data=b"\2\0\0\0\1\0\0\0\0\0\0\0")
    made.call("connect", 5, 0, "5, 127.0.0.1:6379")
    made.call("sendto", 5, 20, "5, 20", first_line="redis GET", is_sent=True)
    made.call("recvfrom", 5, 11, "5, 100")
    made.call("sendto", 4, 17, "4, 17", first_line="HTTP/1.1 200 OK", is_sent=True)
    made.call("close", 4, 0, "4")
    chosen = cast.choose(made.trace)
    story = chosen.main
    assert cast.inner_of(story, chosen.told) == nested(story)[id(chosen.told)]
    text = Page(report.html(made.trace)).text
    assert "It is a command in Redis's language: GET." in text
    assert "GET /page from 10.0.0.1:1, answered with 200, in 8 kernel calls" in text


def test_each_call_that_is_recorded_has_words_and_a_page():
    made = traced.Made()
    said = set()
    for name in known_calls._ARGUMENTS.keys() | WORDS.keys():
        assert name in WORDS, name
        for result in (1, 0, -11, -9999):
            for known in (False, True):
                call = made.call(name, 3, result, "3")
                text = sentence(call, Situation(is_known=known))
                assert text[0].isupper() and text.endswith((".", "?")), text
                said.add(text)
        page, address = man_page(name)
        assert page.endswith("(2)") and address.endswith(".2.html")
    assert len(said) > 80


def test_encrypted_bytes_are_said_to_be():
    call = traced.Made().call("write", 3, 100, "3, 100", encrypted=True)
    assert "encrypted (TLS)" in sentence(call, Situation())


# ------------------------------------------------------------------------------ quoting sources


def quote(path, line, ended_ns=1 << 62):
    return Sources(ended_ns).quote(str(path), line, line)


def test_a_line_is_quoted_with_its_surroundings(tmp_path):
    path = tmp_path / "app.py"
    path.write_text("def f():\n\n    if x:\n\t\ty()\n\n\nz()\n")
    assert quote(path, 4).lines == [(3, "if x:"), (4, "    y()")]
    assert quote(path, 4).remark == ""
    assert quote(path, 1).lines == [(1, "def f():"), (2, ""), (3, "    if x:")]


def test_a_file_that_is_missing_or_shorter_or_changed_is_said_to_be(tmp_path):
    path = tmp_path / "app.py"
    assert "not there" in quote(path, 1).remark
    path.write_text("one\n")
    assert "no such line" in quote(path, 2).remark
    assert quote(path, 1, ended_ns=1).lines and "changed since" in quote(path, 1, 1).remark
    assert "made while it ran" in quote("<string>", 1).remark


@pytest.mark.parametrize(
    "content", [b"# coding: nothing\nx = 1\n", b"\xff\xfe\n\xff\n", b"\0\n\0\n", b"\r\r\n\x0c\n"]
)
def test_a_file_of_any_content_can_be_quoted(tmp_path, content):
    path = tmp_path / "app.py"
    path.write_bytes(content)
    assert quote(path, 1).lines


def test_files_that_are_no_python_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("password\n")
    fifo = tmp_path / "fifo.py"
    os.mkfifo(fifo)
    script = tmp_path / "run"
    script.write_text("#!/usr/bin/env python3\nx\n")
    assert quote(secret, 1).lines == [] and "not look like" in quote(secret, 1).remark
    assert quote(fifo, 1).lines == [] and quote("/dev/zero", 1).lines == []
    assert quote(tmp_path, 1).lines == [] and quote("a\0b.py", 1).lines == []
    assert quote(script, 2).lines[-1] == (2, "x")


def test_the_line_of_the_program_is_the_innermost_that_is_no_library():
    library = Frame("accept", "/usr/lib/python3.11/socket.py", 1)
    package = Frame("get", "/home/me/.venv/lib/python3.12/site-packages/django/x.py", 1)
    main, view = Frame("<module>", "/srv/manage.py", 9), Frame("view", "/srv/views.py", 3)
    assert own_frame((main, package, view, package, library)) == view
    assert own_frame((package, library)) == library
    run = Frame("_run_code", "<frozen runpy>", 1)
    server = Frame("<module>", "/usr/lib/python3.11/http/server.py", 1300)
    test = Frame("test", "/usr/lib/python3.11/http/server.py", 1250)
    assert own_frame((run, server, test, library)) == test
    assert own_frame(()) is None


# ----------------------------------------------------------------------------------- the command


def zolal(*arguments, **options):
    command = [sys.executable, "-m", "zolal", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_report_writes_the_page_and_prints_nothing(tmp_path):
    path, kept = tmp_path / "journey.html", tmp_path / "run.trace"
    code = "import socket; socket.create_server(('127.0.0.1', 0)); exit(3)"
    command = ["trace", "--report", path, "-o", kept, "--", traced.PYTHON, "-c", code]
    result = zolal(*command)
    assert (result.returncode, result.stdout, result.stderr) == (3, "", "")
    assert "but nobody called" in Page(path.read_text()).text
    again = zolal("xray", kept, "--as", "html")
    assert (again.stdout, again.stderr) == (path.read_text(), "")
    # With a view, that is printed besides.
    result = zolal("trace", "--summary", "--report", path, "--", traced.PYTHON, "-c", code)
    assert result.returncode == 3 and "by call" in result.stderr


def test_a_report_that_cannot_be_written(tmp_path):
    path = tmp_path / "no" / "journey.html"
    result = zolal("trace", "--report", path, "--", traced.PYTHON, "-c", "pass")
    assert result.returncode == 3
    assert f"cannot write the report {path}: No such file or directory" in result.stderr


@pytest.mark.parametrize("view", ["html", "folded"])
def test_the_page_is_utf8_whatever_the_locale(tmp_path, view):
    kept = tmp_path / "run.trace"
    code = "import socket\ndef ärger(): socket.create_server(('127.0.0.1', 0))\närger()"
    zolal("trace", "-o", kept, "--", traced.PYTHON, "-c", code)
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = zolal("xray", kept, "--as", view, env=environment, encoding="utf-8")
    assert result.returncode == 0 and "ärger" in result.stdout and not result.stderr


@pytest.mark.parametrize("view", ["perfetto", "folded"])
def test_the_other_views_go_to_standard_output(tmp_path, view):
    kept = tmp_path / "run.trace"
    code = "import socket; socket.create_server(('127.0.0.1', 0))"
    zolal("trace", "-o", kept, "--", traced.PYTHON, "-c", code)
    result = zolal("xray", kept, "--as", view)
    assert result.returncode == 0 and "listen" in result.stdout and not result.stderr


NAMES = st.sampled_from([*WORDS, "unheard_of"])
CALLS = st.tuples(
    NAMES,
    st.integers(-1, 8),
    st.integers(-200, 9) | st.integers(-(1 << 63), (1 << 63) - 1),
    st.text(max_size=20) | st.sampled_from(["3, [::1]:80", "3, SOL_SOCKET, SO_ERROR", "3, unix:"]),
    st.binary(max_size=50),
    st.integers(0, (1 << 64) - 1),
    st.sampled_from(["", "GET / HTTP/1.1", "HTTP/1.1 200 OK", "redis GET", "x\0"]),
    st.integers(1, 3),
    st.lists(st.sampled_from([("f", "/srv/a.py", 1), ("", "", 0), ("<module>", "<x>", -5)])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(CALLS, max_size=25), st.integers(-(1 << 63), 1 << 63))
def test_any_calls_make_a_page(found, began_ns):
    made = traced.Made()
    made.process.began_ns = began_ns
    for name, fd, result, args, data, argument, line, tid, stack in found:
        more = {"data": data, "argument": argument, "first_line": line, "is_sent": fd % 2 == 0}
        made.call(name, fd, result, args, stack=stack, tid=tid, encrypted=fd == 7, **more)
    Page(report.html(made.trace))


def test_markup_escapes_all_but_markup():
    found = tag("a", "<b>", Markup("<i></i>"), None, 3, class_='"', aria_label="&", x=None, y=True)
    assert found == '<a class="&quot;" aria-label="&amp;" y>&lt;b&gt;<i></i>3</a>'
    assert join("\x1b", "\n") == "\\x1b\n"


def test_a_trace_of_processes_without_end():
    """Children of children: bounded in number and depth."""
    made = traced.Made()
    made.listen()
    parent = made.process
    trace = made.trace
    for pid in range(3000):
        child = Process(pid, parent.pid, ["sh"], "", "", pid)
        parent.children.append(child)
        trace.processes.append(child)
        parent = child if pid < 1500 else made.process
    source = report.html(trace)
    assert len(source) < 60_000 and "more processes" in Page(source).text


def test_the_slowest_request_of_another_worker():
    """Connections of two workers that are alike in all are not the same."""
    workers = [traced.Made(), traced.Made()]
    for number, worker in enumerate(workers):
        worker.process.pid += number
        for _ in range(3):
            worker.request(
                "GET /slow HTTP/1.1", took=9_000_000 if number else 1000, tid=100 + number
            )
    trace = workers[0].trace
    trace.processes.append(workers[1].process)
    text = Page(report.html(trace)).text
    assert "6 requests over 6 connections" in text and "The slowest: GET /slow 200, 9.0 ms" in text
