"""zolal trace --calls, with each Python that is at hand."""

import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

from zolal.trace.load import load
from zolal.trace.model import Call, PythonCall
from zolal.trace.python_calls import all_calls, depth, walk

HERE = pathlib.Path(__file__).parent
ZOLAL = [sys.executable, "-m", "zolal"]
BY_PROFILE = ((3, 10), (3, 11))


def interpreters():
    """(version, path) of one of each version."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
    paths = [pathlib.Path("/usr/bin/python3"), *sorted(pyenv.glob("versions/3.1?.*/bin/python3"))]
    found = {}
    for path in paths:
        if not path.exists():
            continue
        text = subprocess.run([path, "-V"], capture_output=True, text=True, check=True).stdout
        version = tuple(map(int, re.findall(r"\d+", text)[:2]))
        if (3, 10) <= version <= (3, 14):
            found.setdefault(version, str(path))
    return sorted(found.items())


@pytest.fixture(params=interpreters(), ids=lambda each: "{}.{}".format(*each[0]), scope="module")
def python(request):
    """(version, path)"""
    return request.param


@pytest.fixture
def run(python, tmp_path):
    """run(program, *arguments): its Trace, and the CompletedProcess. `program`: text or a path."""

    def run(program, *arguments, status=0, command=None):
        if isinstance(program, str):
            path = tmp_path / "program.py"
            path.write_text(textwrap.dedent(program))
            program = path
        recording = tmp_path / "recording"
        done = subprocess.run(
            [*ZOLAL, "trace", "--calls", "-o", recording, "--"]
            + (command or [python[1], program, *arguments]),
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
        assert done.returncode == status, done.stderr
        return load(str(recording)), done

    return run


def named(trace, name):
    """The calls of functions of that name."""
    calls = [call for process in trace.processes for call in all_calls(process)]
    return [call for call in calls if call.function.rpartition(".")[2] == name]


def python_inside(call):
    return [each for each in call.inside if isinstance(each, PythonCall)]


def told(call):
    """What watched() of programs_of_calls.py writes, of what is inside."""
    return [
        [depth(inner) - depth(call) - 1, inner.function, inner.is_c] for inner in walk(call.inside)
    ]


@pytest.mark.parametrize("name", ["server", "generators", "exceptions"])
def test_what_setprofile_sees(name, run, python, tmp_path):
    program = HERE / "programs_of_calls.py"
    seen = tmp_path / "seen"
    subprocess.run([python[1], program, name, "watched", seen], check=True, timeout=60)
    trace, _ = run(program, name, "traced", "")
    (outer,) = [call for call in named(trace, "call") if call.file == str(program)]
    expected = json.loads(seen.read_text())
    assert told(outer) == expected
    if name == "server":
        (request,) = [
            call for call in walk(outer.inside) if call.function.endswith("_handle_request_noblock")
        ]
        assert 150 < sum(not call.is_c for call in walk(request.inside)) < 180


def test_kernel_calls_are_inside_what_made_them(run):
    trace, _ = run(HERE / "programs_of_calls.py", "server", "traced", "")
    sent = [call for call in trace.calls if call.name == "sendto"]
    assert len(sent) == 2 * (1 + 5)
    for call in sent:
        assert call.outer.is_c and call.outer.function in ("socket.send", "socket.sendall")
        names = []
        outer = call.outer.outer
        while outer:
            assert outer.begin_ns <= call.begin_ns
            assert outer.end_ns == 0 or outer.end_ns >= call.end_ns
            names += [] if outer.is_c else [outer.function]
            outer = outer.outer
        frames = [frame.function for frame in reversed(call.stack)]
        assert names[: len(frames)] == frames


def test_nothing_overlaps(run):
    trace, _ = run(HERE / "programs_of_calls.py", "server", "traced", "")
    (process,) = trace.processes
    (top,) = process.threads.values()
    for call in walk(top):
        at = call.begin_ns
        for inner in call.inside:
            assert inner.outer is call
            assert at <= inner.begin_ns
            at = inner.end_ns or inner.begin_ns
        assert not call.end_ns or at <= call.end_ns


def test_generators_go_on(run):
    trace, _ = run("""
        def numbers():
            try:
                yield 1
                yield 2
            finally:
                pass

        def region():
            list(numbers())
            next(numbers())

        region()
    """)
    (region,) = named(trace, "region")
    ways = [(call.resumed, call.suspended) for call in named(trace, "numbers")]
    begun, going, ended = (False, True), (True, True), (True, False)
    closed = [(True, False)]  # the generator that is thrown away
    assert ways == [begun, going, ended, begun, *closed]
    assert not region.raised
    assert [call.raised for call in named(trace, "numbers")] == [False] * 4 + [True]


def test_raised(run):
    trace, _ = run("""
        def fails(): raise ValueError
        def catches():
            try:
                fails()
            except ValueError:
                pass
            try:
                int("x".strip())
                len(5)
            except Exception:
                pass
            try:
                len(5)
            except TypeError:
                pass
        catches()
    """)
    (fails,), (catches,) = named(trace, "fails"), named(trace, "catches")
    assert fails.raised and not catches.raised
    assert [(call.function, call.raised) for call in catches.inside] == [
        ("fails", True),
        ("str.strip", False),
        ("len", True),
    ]


def test_threads_from_their_first_call(run):
    trace, _ = run("""
        import socket, threading

        local = threading.local()

        def work(pair, turn):
            local.pair = socket.socketpair()  # closed when the thread has ended
            pair[0].send(b"x")
            pair[1].recv(1)

        pair = socket.socketpair()
        for turn in range(5):
            thread = threading.Thread(target=work, args=(pair, turn))
            thread.start()
            thread.join()
    """)
    assert trace.processes[0].note == ""
    works = named(trace, "work")
    assert len(works) == 5 and len({call.tid for call in works}) == 5
    for work in works:
        top = work
        while top.outer:
            top = top.outer
        assert top.function.endswith("_bootstrap") and not top.under_way
        _, send, receive = python_inside(work)
        assert (send.function, receive.function) == ("socket.send", "socket.recv")
        assert (send.inside[0].name, receive.inside[0].name) == ("sendto", "recvfrom")


def test_a_thread_that_does_nothing_but_compute(run):
    trace, _ = run("""
        import _thread, time
        def compute(): return sum(range(10))
        lock = _thread.allocate_lock()
        lock.acquire()
        def run():
            compute()
            lock.release()
        _thread.start_new_thread(run, ())
        lock.acquire()
        time.sleep(0.1)
    """)
    (compute,) = named(trace, "compute")
    assert compute.outer.function == "run" and compute.tid != compute.process.pid


def test_a_forked_child_has_its_own(run):
    trace, _ = run("""
        import os, socket
        def child():
            socket.socketpair()
            return len("abc")
        def parent():
            pid = os.fork()
            if pid == 0:
                child()
                os._exit(3)
            os.waitpid(pid, 0)
            return after()
        def after(): return 5
        parent()
    """)
    parent, child = trace.processes
    assert [call.function for call in all_calls(child) if not call.is_c][:2] == [
        "<module>",
        "parent",
    ]
    (parents,) = [call for call in all_calls(child) if call.function == "parent"]
    assert parents.under_way
    functions = [call.function for call in walk(parents.inside)]
    assert functions[0] == "child" and "_socket.socketpair" in functions
    names = [call.function for call in all_calls(parent)]
    assert "child" not in names and "after" in names


def test_programs_that_it_starts(run):
    trace, _ = run("""
        import subprocess, sys
        code = "import socket\\ndef inner(): return socket.socketpair()\\ninner()"
        subprocess.run([sys.executable, "-c", code], check=True)
    """)
    (inner,) = named(trace, "inner")
    assert inner.process is not trace.processes[0]
    assert [call.function for call in walk(inner.inside) if call.is_c][0] == "_socket.socketpair"


PROFILES = """
    import cProfile, io, pstats, sys, socket

    def work():
        a, b = socket.socketpair()
        for i in range(10):
            len(str(i))
        a.send(b"x")

    assert sys.getprofile() is None
    profile = cProfile.Profile()
    profile.enable()
    work()
    profile.disable()
    found = {(name, calls[0]) for (_, _, name), calls in pstats.Stats(profile).stats.items()}
    mine = ("work", "socketpair", "<built-in method builtins.len>")
    print(sorted(each for each in found if each[0] in mine))

    seen = []
    sys.setprofile(lambda frame, event, argument: seen.append(event))
    work()
    sys.setprofile(None)
    print(seen.count("call"), seen.count("c_call"), seen.count("return"))
    def after(): work()
    work()
    after()
    assert sys.getprofile() is None
"""


def test_the_programs_own_profile_wins(run, python, tmp_path):
    trace, done = run(PROFILES)
    bare = subprocess.run(
        [python[1], tmp_path / "program.py"], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (bare.stdout, bare.stderr)
    assert bare.stdout and not bare.stderr
    (process,) = trace.processes
    if python[0] in BY_PROFILE:
        assert "sys.setprofile" in process.note
        assert len(named(trace, "work")) < 4
        (after,) = named(trace, "after")  # it is asked again
        assert python_inside(after)[0].function == "work"
        for call in trace.calls:  # what has ended unseen has nothing inside
            assert call.outer.function not in ("Profile.enable", "sys.setprofile")
    else:
        assert process.note == ""
        assert len(named(trace, "work")) == 4


def test_a_tracer_and_monitoring_of_the_program(run, python, tmp_path):
    trace, done = run("""
        import sys
        lines = []
        def work():
            a = 1
            return len("ab") + a
        def trace(frame, event, argument):
            lines.append((event, frame.f_code.co_name, frame.f_lineno))
            return trace
        sys.settrace(trace)
        work()
        sys.settrace(None)
        print(lines)
        if sys.version_info >= (3, 12):
            events = []
            tool = sys.monitoring
            tool.use_tool_id(tool.PROFILER_ID, "mine")
            for event in (tool.events.PY_START, tool.events.CALL):
                tool.register_callback(tool.PROFILER_ID, event, lambda *a: events.append(str(a[0])))
            tool.set_events(tool.PROFILER_ID, tool.events.PY_START | tool.events.CALL)
            work()
            tool.set_events(tool.PROFILER_ID, 0)
            tool.free_tool_id(tool.PROFILER_ID)
            print(len(events))
        work()
    """)
    bare = subprocess.run(
        [python[1], tmp_path / "program.py"], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (bare.stdout, bare.stderr)
    assert bare.stdout and not bare.stderr
    expected = 3 if python[0] >= (3, 12) else 2
    assert [call.inside[-1].function for call in named(trace, "work")] == ["len"] * expected


def test_deep_recursion(run):
    trace, done = run("""
        import socket
        def down(n):
            if n == 0:
                socket.socketpair()
            else:
                down(n - 1)
        down(700)
        def for_ever(): for_ever()
        try:
            for_ever()
        except RecursionError as error:
            print("caught")
        down(10)
    """)
    assert done.stdout == "caught\n"
    downs = named(trace, "down")
    assert len(downs) == 701 + 11
    assert depth(downs[700]) - depth(downs[0]) == 700
    assert downs[700].inside[0].function == "socketpair"
    for_ever = named(trace, "for_ever")
    assert len(for_ever) > 100 and all(call.raised and call.end_ns for call in for_ever)
    assert all(call.end_ns for call in downs)


def test_signal_handlers(run):
    trace, _ = run("""
        import os, signal, socket
        pair = socket.socketpair()
        def inner(): return len("abc")
        def handler(number, frame):
            inner()
            pair[0].send(b"x")
        signal.signal(signal.SIGALRM, handler)
        def work():
            for i in range(200):
                str(i)
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        for i in range(500):
            work()
        signal.setitimer(signal.ITIMER_REAL, 0)
    """)
    assert len(named(trace, "work")) == 500
    handlers = named(trace, "handler")
    assert handlers
    for call in handlers:
        inside = [each.function for each in call.inside if each.function != "handler"]
        assert inside == ["inner", "socket.send"]


ENDS = {
    "daemons": """
        import threading, time, socket
        pair = socket.socketpair()
        def spin():
            while True:
                len("a")
                pair[0].getsockname()
        for _ in range(4):
            threading.Thread(target=spin, daemon=True).start()
        time.sleep(0.05)
    """,
    "atexit": """
        import atexit, gc, socket
        class Late:
            def __del__(self):
                socket.socketpair()
                print("gone")
        late = Late()
        late.me = late
        generator = (lambda: (yield socket.socketpair()))()
        next(generator)
        atexit.register(print, "exit")
    """,
    "executor": """
        import concurrent.futures
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            print(sum(pool.map(len, ["a"] * 100)))
    """,
    "subinterpreters": """
        import socket, sys
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters
        def work(): return socket.socketpair()
        work()
        made = interpreters.create()
        interpreters.run_string(made, "import socket\\ndef inner(): socket.socketpair()\\ninner()")
        interpreters.destroy(made)
        work()
        print("done")
    """,
}


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_as_it_would(name, run, python, tmp_path):
    for _ in range(2):
        trace, done = run(ENDS[name])
    bare = subprocess.run(
        [python[1], tmp_path / "program.py"], capture_output=True, text=True, timeout=60
    )
    assert bare.returncode == 0
    assert (done.stdout, done.stderr) == (bare.stdout, bare.stderr)
    assert named(trace, "<module>")
    assert name == "subinterpreters" or trace.processes[0].note == ""
    if name == "subinterpreters":
        assert len(named(trace, "work")) == 2 and not named(trace, "inner")


def test_a_status_of_its_own(run):
    trace, _ = run("import os\ndef last(): os._exit(7)\nlast()", status=7)
    trace, _ = run("import sys\ndef last(): sys.exit(8)\nlast()", status=8)
    (last,) = named(trace, "last")
    assert last.raised


def test_another_program_takes_its_place(run):
    trace, _ = run("""
        import os, sys
        def last(): os.execv(sys.executable, [sys.executable, "-c", "def other(): pass\\nother()"])
        last()
    """)
    (last,), (other,) = named(trace, "last"), named(trace, "other")
    assert last.end_ns == 0 and last.process is not other.process


def test_killed(run):
    trace, _ = run(
        """
        import os, signal, socket
        def inner():
            len("a")
            socket.socketpair()
            os.kill(os.getpid(), signal.SIGKILL)
        def outer(): inner()
        outer()
    """,
        status=-9,
    )
    (inner,) = named(trace, "inner")
    assert inner.end_ns == 0 and inner.ns > 0
    assert inner.outer.function == "outer" and inner.outer.outer.function == "<module>"
    assert [each.function for each in python_inside(inner)][:2] == ["len", "socketpair"]


def test_no_leak(run, python, tmp_path):
    _, done = run("""
        import sys
        def churn(count):
            for i in range(count):
                scope = {}
                text = f"def f{i}(a): return len(a)\\n"
                text += f"class C{i}:\\n    def m(self): return f{i}([])"
                exec(text, scope)
                scope[f"C{i}"]().m()
                list(iter(lambda: 1, 1))
                try:
                    scope[f"f{i}"](5)
                except TypeError:
                    pass
        churn(300)
        before = sys.getallocatedblocks()
        churn(3000)
        print(sys.getallocatedblocks() - before)
    """)
    bare = subprocess.run(
        [python[1], tmp_path / "program.py"], capture_output=True, text=True, timeout=60
    )
    assert int(done.stdout) < int(bare.stdout) + 1000


def test_names_of_code_that_comes_and_goes(run):
    trace, _ = run("""
        def churn(i):
            scope = {}
            text = f"def f{i}(): return g{i}()\\ndef g{i}(): return 1"
            exec(compile(text, f"file{i}", "exec"), scope)
            scope[f"f{i}"]()
        for i in range(2000):
            churn(i)
    """)
    churns = named(trace, "churn")
    assert len(churns) == 2000
    for i, churn in enumerate(churns):
        python = [(each.function, each.file) for each in walk(churn.inside) if not each.is_c]
        assert python == [(name, f"file{i}") for name in ("<module>", f"f{i}", f"g{i}")]


@pytest.mark.parametrize("options", [["-I", "-S", "-E"], ["-c"]], ids=str)
def test_however_it_is_started(options, run, python, tmp_path):
    text = "import socket\ndef work(): return len(socket.socketpair())\nwork()\n"
    (tmp_path / "program.py").write_text(text)
    last = [text] if "-c" in options else [tmp_path / "program.py"]
    trace, _ = (
        run("", command=[python[1], *options, *last])
        if "-c" in options
        else run(text, command=[python[1], *options, *last])
    )
    (work,) = named(trace, "work")
    assert [each.function for each in python_inside(work)][:2] == ["socketpair", "len"]
    assert work.outer.function == "<module>"


def test_greenlets(tmp_path):
    pytest.importorskip("greenlet")
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import greenlet, socket
        pair = socket.socketpair()
        def leaf(name, i):
            pair[0].send(name.encode())
        def work(name, other):
            for i in range(3):
                leaf(name, i)
                other().switch()
        a = greenlet.greenlet(lambda: work("a", lambda: b))
        b = greenlet.greenlet(lambda: work("b", lambda: a))
        def main():
            a.switch()
        main()
    """)
    )
    recording = tmp_path / "recording"
    subprocess.run(
        [*ZOLAL, "trace", "--calls", "-o", recording, "--", sys.executable, program],
        check=True,
        timeout=60,
    )
    trace = load(str(recording))
    leaves = named(trace, "leaf")
    assert len(leaves) == 6
    for leaf in leaves:
        assert leaf.end_ns and leaf.outer.function == "work"
        assert [each.function for each in leaf.inside] == ["str.encode", "socket.send"]
    works = named(trace, "work")
    assert len(works) == 2
    for work in works:
        inside = [each.function for each in python_inside(work)]
        assert inside.count("leaf") == 3 and inside.count("greenlet.switch") == 3
    (main,) = [call for call in named(trace, "main") if call.file == str(program)]
    assert main.end_ns and not main.raised


def view(recording, name):
    done = subprocess.run(
        [*ZOLAL, "xray", recording, "--as", name],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_views(run, tmp_path):
    trace, _ = run(HERE / "programs_of_calls.py", "server", "traced", "")
    recording = tmp_path / "recording"
    tree = view(recording, "tree")
    assert re.search(r"handle_request .* 1[5-7]\d calls of Python", tree)
    assert re.search(r"── socket.recv_into \[C\].*\n.*── recvfrom\(", tree)
    assert re.search(r"── \d+ calls, [\d.]+ .s: .*parse_request", tree)
    assert "by function" in view(recording, "summary")
    lines = [json.loads(line) for line in view(recording, "jsonl").splitlines()]
    kernel = [line for line in lines if "call" in line]
    assert len(kernel) == len(trace.calls)
    python = [line for line in lines if "python" in line]
    assert len(python) + len(kernel) == len(lines)
    assert len(python) == len(list(all_calls(trace.processes[0])))
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)


def test_without_calls_there_are_none(python, tmp_path):
    recording = tmp_path / "recording"
    program = HERE / "programs_of_calls.py"
    subprocess.run(
        [*ZOLAL, "trace", "-o", recording, "--", python[1], program, "server", "traced", ""],
        check=True,
        timeout=60,
    )
    trace = load(str(recording))
    (process,) = trace.processes
    assert process.threads == {} and trace.calls
    assert all(isinstance(call, Call) and call.outer is None for call in trace.calls)
    assert '"python"' not in view(recording, "jsonl")
