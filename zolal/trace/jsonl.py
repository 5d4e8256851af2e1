"""One line of JSON a kernel call, and a call of Python where they were recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator

from zolal.trace.model import Call, Frame, PythonCall, Trace
from zolal.trace.python_calls import all_calls, depth


def _frame(frame: Frame) -> dict[str, object]:
    found: dict[str, object] = {
        "function": frame.function or "...",
        "file": frame.file,
        "line": frame.line,
    }
    if frame.awaits:
        found["awaits"] = True
    return found


def line(call: Call) -> str:
    """t, dur: seconds; result: a number, -errno on failure; stack: the caller of the call last; a
    frame that "awaits" was suspended, and the event loop made the call for it. dur and result are
    null where the call was not over when its process ended."""
    found = {
        "t": call.begin_ns / 1e9,
        "dur": None if call.is_unfinished else call.ns / 1e9,
        "pid": call.process.pid,
        "tid": call.tid,
        "call": call.name,
        "args": call.args,
        "result": None if call.is_unfinished else call.result,
        "fd": call.fd,
        "stack": [_frame(frame) for frame in call.stack],
    }
    if call.first_line:
        found["first_line"] = call.first_line
    if call.encrypted:
        found["encrypted"] = True
    return json.dumps(found)


def python_line(call: PythonCall) -> str:
    """A call of Python. depth: how many of its thread are around it; dur: null where no end was
    seen."""
    found = {
        "t": call.begin_ns / 1e9,
        "dur": call.ns / 1e9 if call.end_ns else None,
        "pid": call.process.pid,
        "tid": call.tid,
        "python": call.function,
        "file": call.file,
        "line": call.line,
        "c": call.is_c,
        "depth": depth(call),
    }
    for name in ("raised", "resumed", "suspended", "under_way"):
        if getattr(call, name):
            found[name] = True
    return json.dumps(found)


def lines(trace: Trace) -> Iterator[str]:
    """By their beginning."""
    python = [call for process in trace.processes for call in all_calls(process)]
    found: list[Call | PythonCall] = [*trace.calls, *python]
    found.sort(key=lambda call: call.begin_ns)
    for call in found:
        yield line(call) if isinstance(call, Call) else python_line(call)
