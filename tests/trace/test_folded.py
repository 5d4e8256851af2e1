"""--as folded: a line for each stack."""

import re

import traced

from zolal.trace import folded
from zolal.trace.model import Process


def test_stacks_and_their_time():
    made = traced.Made()
    main = ("main", "/srv/app.py", 3)
    made.call("read", 3, 1, took=2_600, stack=[main])
    made.call("read", 3, 1, took=2_000, stack=[("main", "/srv/app.py", 4)])
    made.call("read", 3, 1, took=100)
    made.call("write", 3, 1, took=7_000, stack=[main, ("a;b\n", "/x/site-packages/p/q.py", 1)])
    assert list(folded.lines(made.trace)) == [
        r"main (/srv/app.py);a:b\x0a (p/q.py);write 7",
        "main (/srv/app.py);read 5",
        "read 1",
    ]


def test_several_programs_stand_under_their_names():
    made = traced.Made(("sh", "a;b"))
    made.call("read", 3, 1)
    other = Process(7, 100, ["python3"], "3.12", "", made.now)
    other.calls.append(made.call("write", 3, 1))
    trace = made.trace
    trace.processes.append(other)
    made.process.calls.pop()
    assert list(folded.lines(trace)) == ["python3 [7];write 1", "sh a:b [100];read 1"]


def test_a_recording(tmp_path):
    trace = traced.record(tmp_path, traced.WSGI, traced.GET)
    lines = list(folded.lines(trace))
    # As flamegraph.pl and speedscope read a line.
    assert all(re.fullmatch(r"(?:[^;]+;)*[^;]+ \d+", line) for line in lines)
    total = sum(int(line.rsplit(" ", 1)[1]) for line in lines)
    spent = sum(call.ns for call in trace.calls) / 1000
    assert spent - len(lines) < total < spent + len(lines)
    assert any(re.search(r"program\.py\);make_server .*;listen \d+$", line) for line in lines)
