"""One line of JSON a kernel call."""

from __future__ import annotations

import json
from collections.abc import Iterator

from zolal.trace.model import Call, Frame, Trace


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
    frame that "awaits" was suspended, and the event loop made the call for it."""
    found = {
        "t": call.begin_ns / 1e9,
        "dur": call.ns / 1e9,
        "pid": call.process.pid,
        "tid": call.tid,
        "call": call.name,
        "args": call.args,
        "result": call.result,
        "fd": call.fd,
        "stack": [_frame(frame) for frame in call.stack],
    }
    if call.first_line:
        found["first_line"] = call.first_line
    if call.encrypted:
        found["encrypted"] = True
    return json.dumps(found)


def lines(trace: Trace) -> Iterator[str]:
    return map(line, trace.calls)
