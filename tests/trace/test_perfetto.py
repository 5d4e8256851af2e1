"""--as perfetto: JSON that tells what was recorded, and that nests."""

import json
import re
import shutil
import subprocess

import pytest
import traced
from hypothesis import given, settings
from hypothesis import strategies as st

from zolal.trace import jsonl, perfetto
from zolal.trace.model import Call, Frame, Process, Trace


def events_of(trace):
    text = "\n".join(perfetto.lines(trace))
    # Microseconds with three decimals, as text: a float would not have them all.
    assert len(re.findall(r'"ts":\d+\.\d{3},', text)) == text.count('"ts":')
    assert len(re.findall(r'"dur":\d+\.\d{3},', text)) == text.count('"dur":')
    return json.loads(text)["traceEvents"]


def in_ns(us):
    return round(us * 1000)


def check(events):
    """Fields, order and nesting as the format has them; the X events with who is around each."""
    phases = "M" * sum(event["ph"] == "M" for event in events)
    assert "".join(event["ph"] for event in events).startswith(phases)
    times = [event["ts"] for event in events]
    assert times == sorted(times)
    open_of, around = {}, []
    journeys = {}
    for event in events:
        assert event["name"] and isinstance(event["pid"], int) and isinstance(event["tid"], int)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and event["args"]["name"]
        elif event["ph"] == "X":
            begin = in_ns(event["ts"])
            end = begin + in_ns(event["dur"])
            path = open_of.setdefault((event["pid"], event["tid"]), [])
            while path and path[-1][1] <= begin:
                path.pop()
            assert not path or path[-1][0] <= begin < end <= path[-1][1], (path[-1], event)
            around.append((event, [each[2] for each in path]))
            path.append((begin, end, event["name"]))
        elif event["ph"] == "b":
            assert journeys.setdefault((event["cat"], event["id"]), []) == []
            journeys[event["cat"], event["id"]].append(event["name"])
        else:
            assert event["ph"] == "e"
            assert journeys[event["cat"], event["id"]] == [event["name"]]
            journeys[event["cat"], event["id"]].append("over")
    assert all(len(each) == 2 for each in journeys.values())
    return around


FRAMES = st.sampled_from([Frame(name, "app.py", line) for name in "abc" for line in (1, 2)])
CALLS = st.tuples(
    st.integers(0, 3000),  # when it begins
    st.integers(0, 900),  # how long it takes
    st.lists(FRAMES, max_size=4),
    st.sampled_from([1, 2]),  # thread
)


@settings(max_examples=300, deadline=None)
@given(st.lists(CALLS, max_size=30))
def test_any_calls_nest(found):
    """Also those that overlap as no thread's calls should: a clock may be off by a little."""
    process = Process(1, 0, ["python"], "3.12", "", 0)
    for begin, took, stack, tid in found:
        process.calls.append(
            Call(process, tid, "read", 3, "", 1, begin, begin + took, tuple(stack))
        )
    around = check(events_of(Trace(["python"], 0, 4000, 0, [process])))
    kernel = [(event, path) for event, path in around if event["cat"] == "kernel"]
    assert len(kernel) == len(found)
    wanted = sorted([f"{each.function} (app.py)" for each in stack] for _, _, stack, _ in found)
    paths = sorted([name for name in path if name != "read"] for _, path in kernel)
    # One within another has the other's functions around it, too.
    assert paths == wanted or any("read" in path for _, path in kernel)


def test_a_function_goes_on_while_its_caller_stands():
    made = traced.Made()
    for line in (7, 7, 8):
        made.call("read", 3, 1, stack=[("main", "app.py", line), ("load", "app.py", 2)])
    names = [event["name"] for event, _ in check(events_of(made.trace))]
    # One main; load once for line 7, of which no more can be known, and again for line 8.
    assert names == ["main (app.py)", "load (app.py)", "read", "read", "load (app.py)", "read"]


def test_a_call_in_a_signal_handler_is_inside_the_call_it_interrupts():
    made = traced.Made()
    frames = (Frame("main", "app.py", 1),)
    outer = made.call("poll", -1, 1, took=10_000, stack=frames)
    handler = (*frames, Frame("handler", "app.py", 9))
    made.process.calls.append(
        Call(made.process, 100, "write", 5, "", 1, outer.begin_ns + 10, outer.end_ns - 10, handler)
    )
    found = {event["name"]: path for event, path in check(events_of(made.trace))}
    assert found["write"] == ["main (app.py)", "poll", "handler (app.py)"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return traced.record(tmp_path_factory.mktemp("wsgi"), traced.WSGI, traced.GET)


def test_a_recording(served):
    events = events_of(served)
    around = check(events)
    kernel = [(event, path) for event, path in around if event["cat"] == "kernel"]
    calls = [json.loads(line) for line in jsonl.lines(served)]
    assert [event["name"] for event, _ in kernel] == [call["call"] for call in calls]
    for (event, path), call in zip(kernel, calls, strict=True):
        stack = [f"{frame['function']} (" for frame in call["stack"]]
        assert [each[: len(name)] for each, name in zip(path, stack, strict=True)] == stack
        assert event["args"]["result"] == call["result"] and event["args"]["args"] == call["args"]
        assert event["ts"] == pytest.approx((call["t"] * 1e9 - served.began_ns) / 1000, abs=1)
    begun = [event for event in events if event["ph"] == "b"]
    requests = [event for event in begun if event["cat"] == "request"]
    assert [(each["name"], each["args"]["status"]) for each in requests] == [
        ("GET /hello?<b>", "200")
    ] * 3
    assert sum(each["name"].startswith("accepted 127.0.0.1:") for each in begun) == 3


PROCESSOR = shutil.which("trace_processor_shell") or shutil.which("trace_processor")


@pytest.mark.skipif(not PROCESSOR, reason="Perfetto's trace_processor_shell is not installed")
def test_perfettos_own_processor_takes_it(served, tmp_path):
    path, query = tmp_path / "run.json", tmp_path / "query.sql"
    path.write_text("\n".join(perfetto.lines(served)))
    query.write_text(
        "select count(*) from slice where category = 'kernel';\n"
        "select sum(value) from stats where severity in ('error', 'data_loss');\n"
    )
    result = subprocess.run(
        [PROCESSOR, "-q", query, path], capture_output=True, text=True, timeout=60, check=True
    )
    numbers = re.findall(r"^\d+$", result.stdout, re.M)
    assert numbers == [str(len(served.calls)), "0"]
