"""zolal explain: what it shows is what running gives, and docs/journey.md is what it shows."""

import collections
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import warnings

import by_strace
import pytest
from running import PATIENCE
from traced import Made

from zolal.trace.explain import measure, views
from zolal.trace.explain.client import Running, held_back
from zolal.trace.explain.measure import BUDGET
from zolal.trace.explain.page import Table, counts, page, versions
from zolal.trace.explain.servers import SERVERS
from zolal.trace.model import PythonCall
from zolal.trace.store import find_room

JOURNEY = pathlib.Path(__file__).parents[2] / "docs" / "journey.md"
NAMES = [server.name for server in SERVERS]
SERVER = {server.name: server for server in SERVERS}
ZOLAL = [sys.executable, "-m", "zolal"]


@pytest.fixture(scope="module")
def stories():
    """Of each server that is installed."""
    return [measure.tell(server) for server in SERVERS if server.is_there]


@pytest.fixture(scope="module")
def story(stories):
    def story(name):
        found = {story.server.name: story for story in stories}
        if name not in found:
            pytest.skip(f"{SERVER[name].package} is not installed")
        return found[name]

    return story


@pytest.fixture(scope="module")
def document(stories):
    return views.markdown(page(stories, []))


def explain(*arguments, cwd, **env):
    return subprocess.run(
        [*ZOLAL, "explain", *arguments],
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **env},
        timeout=PATIENCE * 5,
    )


def masked(text):
    """Without what no two runs have in common."""
    text = re.sub(r"\b[\d.]+ (?:µs|ms|s)(?=  |$)", "TIME", text, flags=re.M)
    text = re.sub(r"(?<=127\.0\.0\.1:)\d+", "PORT", text)
    versions = re.search(r"Made with .*?Linux\s\S+", text, re.S)[0]
    text = text.replace(versions, " ".join(versions.split()[:-1]))
    rows = r"^(\| (?:calls of|context switches|CPU|the client's time)[^|]*) .*"
    return re.sub(rows, r"\1", text, flags=re.M)


def outline(text):
    """The headings, and what each table and tree begins with."""
    return re.findall(r"^(?:#+ .*|the start|one request|\| [a-z ]+ )", text, re.M)


def trees(text):
    return re.findall(r"```\n(.*?)```", text, re.S)


def test_the_document_is_what_running_gives(stories, document):
    kept = JOURNEY.read_text()
    if not all(server.is_there for server in SERVERS):
        pytest.skip("Django and gunicorn, which the document tells of, are not both installed")
    same = versions(stories).rpartition(", Linux")[0]
    if same in " ".join(kept.split()):
        assert masked(document) == masked(kept), "zolal explain --as markdown > docs/journey.md"
    else:
        said = f"docs/journey.md was made with others than {same}: compared loosely"
        warnings.warn(said, stacklevel=1)
        assert outline(document) == outline(kept)
        assert len(trees(document)) == len(trees(kept)) == 2 * len(SERVERS)


def test_the_document_has_nothing_of_the_machine_that_made_it():
    assert re.findall(r".*(?:[ (]/\w|site-packages).*", JOURNEY.read_text()) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_a_server_is_in_its_recording(story, name):
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 does not know the classes that are named")
    told = set(re.findall(r"`([^`]+)`", SERVER[name].words))
    assert told - story(name).names == set()
    assert len(told) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_a_start_is_from_socket_to_listen(story, name):
    names = [call.name for call in story(name).start]
    assert (names[0], names[-1], names.count("bind")) == ("socket", "listen", 1)
    assert all(call.stack for call in story(name).start)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "asyncio"])
def test_a_request_has_the_application_where_it_was_called(story, name):
    if story(name).python_calls is None:
        pytest.skip("calls of Python are not known for this Python")
    [tree] = [tree for tree in trees(views.markdown(page([story(name)], []))) if "one req" in tree]
    lines = tree.splitlines()
    [at] = [at for at, line in enumerate(lines) if re.search(r"application  hello\.py:4$", line)]
    assert "recvfrom" in "".join(lines[:at]) and "sendto" not in "".join(lines[:at])
    assert "sendto" in "".join(lines[at:])


def test_counts_that_the_article_tells_of(story):
    """A thread for each connection; five pieces of an answer; one connection each."""
    assert len({call.tid for call in story("wsgiref").request.calls}) == 1
    assert len({call.tid for call in story("runserver").request.calls}) == 2
    assert story("wsgiref").count("sendto") == story("runserver").count("sendto") == 5
    assert story("zolal").count("sendto") == 1
    for name in NAMES:
        request = story(name).request.calls
        assert sum(call.name == "accept4" and call.result >= 0 for call in request) == 1
        assert story(name).count("close") == 1
        cost = story(name).cost
        assert cost.cpu_ns > 0 and cost.client_ns > 0 and cost.waits > 0
    if story("zolal").python_calls is not None:
        assert story("zolal").python_calls == 1
        assert story("wsgiref").python_calls > 50


def accepts(calls):
    return [at for at, call in enumerate(calls) if call[0] == "accept4" and call[2] >= 0]


def is_idle(call):
    return call[0] in measure.WAITS and call[2] == 0 and not call[1].endswith("timeout 0 ms")


def without_addresses(threads):
    """An epoll of zolal holds some; which of their bits are a sign is nobody's."""
    return {
        tid: [(name, measure.ADDRESS.sub("", text), result) for name, text, result in calls]
        for tid, calls in threads.items()
    }


def simplest(numbers):
    """Of those that are not rare: on a busy machine a client's bytes come late."""
    times = collections.Counter(numbers)
    return min(number for number in times if times[number] >= measure.RARE)


def count_by_strace(threads):
    """Calls a request: of the thread that accepts, from one accept to the next; and all of those
    that have begun for a connection."""
    threads = {tid: [call for call in each if not is_idle(call)] for tid, each in threads.items()}
    main = max(threads, key=lambda tid: len(accepts(threads[tid])))
    at = accepts(threads[main])
    others = [len(calls) for calls in threads.values() if calls and calls[0][0] == "recvfrom"]
    between = [b - a for a, b in zip(at, at[1:], strict=False)]
    return simplest(between) + (simplest(others) if others else 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_count_is_that_of_strace(story, name, tmp_path):
    by_strace.need_strace(tmp_path)
    expected = len(story(name).request.calls)
    running = Running(SERVER[name], "hello", dict(os.environ))
    program = by_strace.Traced(running.command, tmp_path)
    try:
        running.wait_for_start(program.process)
        running.ask_apart(15)
        program.end(signal.SIGINT)
        theirs, ours = program.both()
    finally:
        program.close()
    assert without_addresses(ours) == without_addresses(theirs)
    assert count_by_strace(theirs) == expected


def made():
    """Three requests a second apart, and a wait in which nobody came."""
    made = Made()
    made.listen()
    made.call("poll", -1, 0, "[3 IN], timeout 500 ms", took=500_000_000)
    marks = []
    for number in range(3):
        marks.append(made.now + 10)
        made.call("poll", -1, 1, "[3 IN = IN], timeout 500 ms")
        made.request()
        made.call("poll", -1, 0, "[3 IN], timeout 0 ms")
        if number == 1:
            made.call("poll", -1, 0, "[3 IN], timeout 500 ms", took=500_000_000)
    return made, [*marks, made.now + 10]


def test_a_request_has_its_wait_and_none_in_which_nobody_came():
    trace, marks = made()
    requests = measure.cut(trace.process, marks)
    names = ["poll", "accept4", "recvfrom", "sendto", "close", "poll"]
    assert [[call.name for call in each.calls] for each in requests] == [names] * 3
    # A wait belongs to what it was over for, however long ago it had begun.
    assert measure.cut(trace.process, [marks[0] + 1000, *marks[1:]])[0].calls == requests[0].calls


def test_the_simplest_kind_that_is_not_rare_is_shown():
    trace, marks = made()
    short, middle, long = measure.cut(trace.process, marks)
    short.calls.pop()
    long.calls.append(long.calls[-1])
    assert measure.typical([short, long, long, middle, long, middle, middle, long, short]) is middle
    assert measure.typical([short, middle, middle]) is middle
    other = measure.Request(list(middle.calls), [])
    assert measure.typical([middle, middle, other]) is other


def test_a_start_is_that_of_the_socket_that_listens():
    trace = Made()
    trace.call("socket", -1, 3, "AF_UNIX, SOCK_STREAM, 0")
    trace.call("close", 3, 0, "3")
    trace.call("bind", 9, 0, "9, 127.0.0.1:1")
    trace.listen()
    assert measure.start_of(trace.trace) == trace.process.calls[-3:]
    assert measure.start_of(Made().trace) == []


def test_what_is_not_known_is_not_counted(stories):
    import dataclasses

    unknown = dataclasses.replace(stories[0], python_calls=None)
    rows = {row[0]: row[1:] for row in counts([unknown]).rows}
    assert rows["calls of Python"] == ["-"]
    assert rows["kernel calls"] == [str(len(unknown.request.calls))]


def test_the_line_of_a_call_that_was_not_seen_is_left_out():
    """The application stands below a function that goes on to make the call: at another line."""
    trace = Made()
    stack = (("run", "a.py", 3), ("answer", "a.py", 9))
    trace.call("sendto", 4, 1, "4, 1", stack=stack)
    outer = PythonCall(trace.process, 100, "run", "a.py", 1, 0)
    path = str(pathlib.Path(measure.FOLDER) / "hello.py")
    own = PythonCall(trace.process, 100, "application", path, 4, 1, outer=outer)
    request = measure.Request(trace.process.calls, [outer, own])
    mark = measure.mark_application(request)
    assert [(frame.function, frame.line) for frame in mark.stack] == [
        ("run", 0),
        ("application", 4),
    ]
    assert measure.mark_application(measure.Request(trace.process.calls, [outer])) is None


def test_what_stands_in_a_cell_cannot_end_it():
    assert "| a\\|b | c |" in views.markdown([Table(["x", "y"], [["a|b", "c"]])])


def test_names_and_views_that_are_not_there(tmp_path):
    for arguments, said in (
        (["nothing"], "nothing is none of wsgiref, runserver, gunicorn, zolal, asyncio"),
        (["--as", "html"], "invalid choice: 'html'"),
    ):
        done = explain(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, b"")
        assert said in done.stderr.decode()


def test_help_has_examples(tmp_path):
    done = explain("--help", cwd=tmp_path)
    assert done.returncode == 0 and b"zolal explain runserver asyncio" in done.stdout
    done = subprocess.run([*ZOLAL, "--help"], capture_output=True, cwd=tmp_path, check=True)
    assert b"zolal explain [OPTIONS] [NAME]" in done.stdout


def without(tmp_path, *modules):
    """The environment in which these cannot be imported."""
    lines = [f"sys.modules[{name!r}] = None\n" for name in modules]
    (tmp_path / "sitecustomize.py").write_text("".join(["import sys\n", *lines]))
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    }


def test_what_is_not_installed_is_left_out(tmp_path):
    env = without(tmp_path, "django", "gunicorn")
    done = explain("zolal", "runserver", cwd=tmp_path, **env)
    assert (done.returncode, done.stderr) == (0, b"")
    said = " ".join(done.stdout.decode().split())
    assert "Left out: runserver, since Django is not installed (pip install Django)." in said
    assert "gunicorn" not in said and "accept4" in said
    done = explain("gunicorn", "runserver", cwd=tmp_path, **env)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"zolal: not installed: gunicorn Django (pip install gunicorn Django)" in done.stderr


@pytest.mark.parametrize("view", ["text", "markdown"])
def test_any_locale(tmp_path, view):
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = explain("--as", view, "zolal", cwd=tmp_path, **env)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode("utf-8" if view == "markdown" else "ascii")
    assert "accept4(" in text and "\x1b" not in text
    assert ("├── " in text) == (view == "markdown")


def fake(tmp_path, text):
    """A gunicorn that runs this."""
    folder = tmp_path / "gunicorn" / "app"
    folder.mkdir(parents=True)
    for file in ("__init__.py", "app/__init__.py"):
        (tmp_path / "gunicorn" / file).write_text("")
    (tmp_path / "gunicorn" / "config.py").write_text("KNOWN_SETTINGS = []\n")
    (folder / "wsgiapp.py").write_text(text)
    return without(tmp_path)


HELLO_NOBODY = """
import http.server, sys


def run():
    port = int(sys.argv[4].rpartition(":")[2])
    http.server.test(http.server.SimpleHTTPRequestHandler, port=port, bind="127.0.0.1")
"""


@pytest.mark.parametrize(
    "text, said",
    [
        ("raise RuntimeError('no good')", "ended with status 1 before it served: RuntimeError: no"),
        (HELLO_NOBODY, "gunicorn answers something else, b'HTTP/1.0 200 OK"),
    ],
)
def test_a_server_that_does_not_serve(tmp_path, text, said):
    done = explain("gunicorn", cwd=tmp_path, **fake(tmp_path, text))
    assert (done.returncode, done.stdout) == (3, b"")
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def children_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_servers(tmp_path, number):
    process = subprocess.Popen(
        [*ZOLAL, "explain"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        for _ in range(int(PATIENCE * 100)):
            if found := children_of(process.pid):
                break
            time.sleep(0.01)
        process.send_signal(number)
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, said) == (-number, b"")
    assert len(found) == 1 and not pathlib.Path(f"/proc/{found[0]}").exists()
    left = [name for name in os.listdir(find_room(BUDGET)[0]) if f"-trace-{process.pid}-" in name]
    assert left == []


def test_counts_by_name_add_up(stories):
    rows = {row[0]: row[1:] for row in counts(stories).rows}
    by_name = [row for name, row in rows.items() if name.startswith("`")]
    sums = collections.Counter()
    for row in by_name:
        sums.update({at: int(cell or 0) for at, cell in enumerate(row)})
    assert [str(sums[at]) for at in range(len(stories))] == list(rows["kernel calls"])


def test_a_signal_is_held_back_while_a_server_is_started():
    reached = []
    with pytest.raises(KeyboardInterrupt), held_back(signal.SIGINT):
        signal.raise_signal(signal.SIGINT)
        reached.append("the end")
    assert reached == ["the end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
