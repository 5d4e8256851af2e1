"""A trace as ui.perfetto.dev and chrome://tracing take it: the Trace Event Format, in JSON.

Times are microseconds since the trace began, nanoseconds behind the point. What happens in a thread
is told by complete events ("X"), each before what it holds: kernel calls, and above them the Python
functions on the stack. A function is one event over all the kernel calls that follow one another in
it: whether it returned in between and was called again, stacks do not tell, unless its caller has
moved to another line. Connections and requests have tracks of their own ("b", "e")."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from zolal.trace.connections import Story, tell
from zolal.trace.folded import name_of
from zolal.trace.model import Call, Frame, Process, Trace


@dataclass
class Slice:
    """Something of a thread, from when to when, and what is in it."""

    name: str
    category: str
    begin_ns: int
    end_ns: int
    args: dict[str, object]
    inside: list[Slice] = field(default_factory=list)


def _of_call(call: Call, begin_ns: int, end_ns: int) -> Slice:
    args: dict[str, object] = {
        "args": call.args,
        "result": None if call.is_unfinished else call.result,
    }
    if call.error:
        args["error"] = call.error
    if call.first_line:
        args["first_line"] = call.first_line
    if call.encrypted:
        args["encrypted"] = True
    if call.stack:
        args["line"] = f"{call.stack[-1].file}:{call.stack[-1].line}"
    return Slice(call.name, "kernel", begin_ns, end_ns, args)


def _common(before: tuple[Frame, ...], stack: tuple[Frame, ...]) -> int:
    """How many functions have not been left between two calls, as far as can be told."""
    count = 0
    for old, new in zip(before, stack, strict=False):
        if old[:2] != new[:2]:
            break
        count += 1
        if old.line != new.line:
            break
    return count


def slices(calls: Iterable[Call]) -> list[Slice]:
    """Those of one thread, which nest: none begins within another and ends after it. Each takes a
    nanosecond at least, so that what follows never seems to be in it."""
    top: list[Slice] = []
    path: list[Slice] = []  # the functions that are under way
    stack: tuple[Frame, ...] = ()
    last: Slice | None = None
    for call in sorted(calls, key=lambda call: (call.begin_ns, -call.end_ns)):
        if last and call.stack[: len(stack)] == stack:
            # One that a signal's handler makes is inside the call that the signal interrupts.
            begin_ns = max(call.begin_ns, last.inside[-1].end_ns if last.inside else last.begin_ns)
            end_ns = max(call.end_ns, begin_ns + 1)
            if end_ns <= last.end_ns:
                _put(top, [*path, last], call.stack[len(stack) :], call, begin_ns, end_ns)
                continue
        begin_ns = max(call.begin_ns, last.end_ns if last else 0)
        end_ns = max(call.end_ns, begin_ns + 1)
        del path[_common(stack, call.stack) :]
        last = _put(top, path, call.stack[len(path) :], call, begin_ns, end_ns)
        stack = call.stack
    return top


def _put(
    top: list[Slice],
    path: list[Slice],
    frames: Iterable[Frame],
    call: Call,
    begin_ns: int,
    end_ns: int,
) -> Slice:
    """The call into the last of the path, below these functions, which become part of the path."""
    for frame in frames:
        entered = Slice(name_of(frame), "python", begin_ns, end_ns, {"line": frame.line})
        (path[-1].inside if path else top).append(entered)
        path.append(entered)
    for around in path:
        around.end_ns = max(around.end_ns, end_ns)
    made = _of_call(call, begin_ns, end_ns)
    (path[-1].inside if path else top).append(made)
    return made


class Writer:
    """Events as lines of JSON, those of a process after another."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._ids = 0
        self._found: list[tuple[int, str]] = []  # when, the event

    def lines(self) -> Iterator[str]:
        for process in self._trace.processes:
            self._process(process)
        self._found.sort(key=lambda each: each[0])  # stable: a parent stays before its children
        yield '{"displayTimeUnit":"ns","traceEvents":['
        last = len(self._found) - 1
        for at, (_, event) in enumerate(self._found):
            yield event if at == last else event + ","
        yield "]}"

    def _us(self, ns: int) -> str:
        ns = max(0, ns)
        return f"{ns // 1000}.{ns % 1000:03}"

    def _add(self, at_ns: int, phase: str, pid: int, tid: int, times: str, **more: object) -> None:
        rest = json.dumps(more, separators=(",", ":"))[1:]
        head = f'{{"ph":"{phase}","pid":{pid},"tid":{tid},"ts":{times},'
        self._found.append((at_ns, head + rest))

    def _process(self, process: Process) -> None:
        pid = process.pid
        self._name(pid, pid, "process_name", process.title)
        threads: dict[int, list[Call]] = {}
        for call in process.calls:
            threads.setdefault(call.tid, []).append(call)
        for tid, calls in threads.items():
            self._name(pid, tid, "thread_name", "main" if tid == pid else f"thread {tid}")
            self._slices(pid, tid, slices(calls))
        self._journeys(tell(process))

    def _name(self, pid: int, tid: int, kind: str, name: str) -> None:
        self._add(-1, "M", pid, tid, "0.000", name=kind, args={"name": name})

    def _slices(self, pid: int, tid: int, found: list[Slice]) -> None:
        waiting = found[::-1]
        while waiting:
            each = waiting.pop()
            begin = each.begin_ns - self._trace.began_ns
            self._add(
                max(0, begin),
                "X",
                pid,
                tid,
                f'{self._us(begin)},"dur":{self._us(each.end_ns - each.begin_ns)}',
                name=each.name,
                cat=each.category,
                args=each.args,
            )
            waiting += each.inside[::-1]

    def _journeys(self, story: Story) -> None:
        for connection in story.connections:
            calls = [*connection.calls, *(c for each in connection.exchanges for c in each.calls)]
            if calls and connection.kind in ("listening", "accepted", "connected"):
                name = f"{connection.kind} {connection.address}".strip()
                self._journey(story.process, "connection", name, calls, {"fd": connection.fd})
        for each in story.exchanges:
            args: dict[str, object] = {"status": each.status, "fd": each.connection.fd}
            self._journey(story.process, "request", each.title, each.calls, args)

    def _journey(
        self, process: Process, kind: str, name: str, calls: list[Call], args: dict[str, object]
    ) -> None:
        self._ids += 1
        label = f"0x{self._ids:x}"
        first = min(calls, key=lambda call: call.begin_ns)
        begin = max(0, first.begin_ns - self._trace.began_ns)
        end = max(begin, max(call.end_ns for call in calls) - self._trace.began_ns)
        for phase, at, extra in (("b", begin, {"args": args}), ("e", end, {})):
            self._add(
                at,
                phase,
                process.pid,
                first.tid,
                self._us(at),
                name=name,
                cat=kind,
                id=label,
                **extra,
            )


def lines(trace: Trace) -> Iterator[str]:
    return Writer(trace).lines()
