"""From running servers to what is told of each: a request of a recording, and what one costs where
nothing is recorded."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise, takewhile
from statistics import median
from typing import TYPE_CHECKING

from zolal.trace import run
from zolal.trace.connections import WAITS
from zolal.trace.explain.client import ExplainError, Running
from zolal.trace.explain.servers import FOLDER
from zolal.trace.load import load
from zolal.trace.model import Call, Frame, Process, PythonCall
from zolal.trace.python_calls import all_calls
from zolal.trace.store import Folder

if TYPE_CHECKING:
    from zolal.trace.explain.servers import Server
    from zolal.trace.model import Trace

RECORDED = 20  # requests
RARE = 3  # of these: what came less often is no kind of request
MEASURED = 200  # requests that are not recorded
BUDGET = 64 << 20  # bytes of a recording
ADDRESS = re.compile(r"(?<=\[)-?\d{7,} ")


@dataclass(frozen=True, repr=False)  # it would be megabytes
class Request:
    """What a process did between two moments, without the waits in which nobody came."""

    calls: list[Call]
    python_calls: list[PythonCall]

    @property
    def shape(self) -> tuple[tuple[str, bool], ...]:
        return tuple((call.name, call.result < 0) for call in self.calls)


@dataclass(frozen=True)
class Cost:
    """Of a request, on average; the client's time is the median."""

    cpu_ns: float
    client_ns: float
    waits: float  # context switches: the CPU was given up
    preemptions: float  # it was taken away


@dataclass(frozen=True, repr=False)
class Story:
    """What is told of a server."""

    server: Server
    start: list[Call]  # that made the socket listen
    request: Request
    python_calls: float | None  # None: not known for this Python
    cost: Cost

    def count(self, name: str) -> int:
        return sum(call.name == name for call in self.request.calls)

    @property
    def names(self) -> set[str]:
        """Of all functions and kernel calls in it, each with and without its class."""
        calls = [*self.start, *self.request.calls]
        found = {name for call in calls for frame in call.stack for name in _ways(frame.function)}
        found |= {name for call in self.request.python_calls for name in _ways(call.function)}
        return found | {call.name for call in calls}


def _ways(function: str) -> set[str]:
    words = function.split(".")
    return {function, *words}


def is_idle(call: Call) -> bool:
    """A wait that was over because it had lasted long enough, or with the server."""
    if call.is_unfinished:
        return True
    return call.name in WAITS and call.result == 0 and not call.args.endswith("timeout 0 ms")


def cut(process: Process, marks: list[int]) -> list[Request]:
    """What it did from each mark to the next: kernel calls by their end, since a wait for a request
    has begun before it; calls of Python by their beginning. Each thread's together."""
    python = sorted(all_calls(process), key=lambda call: call.begin_ns)
    requests = []
    for begin, end in pairwise(marks):
        calls = [each for each in process.calls if begin <= each.end_ns < end and not is_idle(each)]
        calls.sort(key=lambda call: call.begin_ns)
        order = list(dict.fromkeys(call.tid for call in calls))
        calls.sort(key=lambda call: order.index(call.tid))
        called = [each for each in python if begin <= each.begin_ns < end and not each.is_c]
        requests.append(Request(calls, [each for each in called if not each.resumed]))
    return requests


def typical(requests: list[Request]) -> Request:
    """The last one of the simplest kind. There are others where the client's bytes were not there
    when they were asked for: a busy machine makes these frequent."""
    found = Counter(request.shape for request in requests).most_common()
    kinds = [shape for shape, times in found if times >= RARE] or [found[0][0]]
    shape = min(kinds, key=len)
    return [request for request in requests if request.shape == shape][-1]


def accepted(process: Process) -> int:
    return sum(call.name.startswith("accept") and call.result >= 0 for call in process.calls)


def start_of(trace: Trace) -> list[Call]:
    """The calls on the socket that listens, from the one that made it on."""
    for process in trace.processes:
        for at, call in enumerate(process.calls):
            if call.name == "listen" and call.result == 0:
                before = reversed(process.calls[:at])
                same = [each for each in before if call.fd in (each.fd, each.result)]
                made = list(takewhile(lambda each: each.name != "socket", same))
                found = [*reversed(same[: len(made) + 1]), call]
                return [each for each in found if each.fd == call.fd or each.name == "socket"]
    return []


def shorten(calls: list[Call]) -> None:
    """Our own programs are known by their names; what an epoll found, by its descriptor or not at
    all: it may be an address in memory."""
    for call in calls:
        call.args = ADDRESS.sub("", call.args)
        call.stack = tuple(
            frame._replace(file=os.path.basename(frame.file))
            if frame.file.startswith(FOLDER)
            else frame
            for frame in call.stack
        )


def lines_to(functions: list[str], calls: list[Call]) -> tuple[Frame, ...]:
    """As many of these functions, the outermost first, as one of the calls has around it, too."""
    best: tuple[Frame, ...] = ()
    for call in calls:
        pairs = zip(call.stack, functions, strict=False)
        alike = len(list(takewhile(lambda pair: pair[0].function == pair[1], pairs)))
        stack = call.stack[:alike]
        if stack and alike < len(call.stack):
            # It goes on to another function from a line of its own.
            stack = (*stack[:-1], stack[-1]._replace(line=0))
        best = max(best, stack, key=len)
    return best


def mark_application(request: Request) -> Call | None:
    """Where the application was called, as a call without a name below the lines that led there;
    None: it is not known."""
    called = [each for each in request.python_calls if each.file.startswith(FOLDER)]
    found = next((each for each in called if each.function == "application"), None)
    if found is None:
        return None
    functions = []
    outer = found.outer
    while outer:
        functions += [] if outer.is_c else [outer.function]
        outer = outer.outer
    functions.reverse()
    lines = lines_to(functions, [call for call in request.calls if call.tid == found.tid])
    rest = [Frame(name, "", 0) for name in functions[len(lines) :]]
    own = Frame(found.function, os.path.basename(found.file), found.line)
    stack = (*lines, *rest, own)
    return Call(found.process, found.tid, "", -1, "", 0, found.begin_ns, found.end_ns, stack)


def record(server: Server) -> tuple[list[Call], list[Request], bool]:
    """Its start, its requests, and whether calls of Python could be recorded."""
    folder = Folder([server.name], BUDGET)
    try:
        variables = run.environment(folder, BUDGET, calls=True)
        with Running(server, "hello", variables) as running:
            running.start()
            marks = running.ask_apart(RECORDED)
        folder.end(running.status)
        trace = load(folder.path)
    finally:
        folder.remove()
    process = max(trace.processes, key=accepted, default=None)
    if process is None or not accepted(process):
        raise ExplainError(f"nothing of {server.name} was recorded")
    return start_of(trace), cut(process, marks), bool(process.threads)


def measure(server: Server) -> Cost:
    """Of what is not recorded."""
    with Running(server, "hello_usage", dict(os.environ)) as running:
        running.start()
        for _ in range(MEASURED // 10):
            running.ask()
        before = running.used()
        times = [running.ask()[1] for _ in range(MEASURED)]
        after = running.used()
    # To ask what was used is a request, too.
    count = MEASURED + (not server.is_echo)
    used = [(b - a) / count for a, b in zip(before, after, strict=True)]
    return Cost(used[0], median(times), used[1], used[2])


def tell(server: Server) -> Story:
    """Run it, and tell. ExplainError; OSError where it cannot be recorded."""
    start, requests, knows_python = record(server)
    request = typical(requests)
    shorten([*start, *request.calls])
    python_calls = median(
        len(each.python_calls) for each in requests if each.shape == request.shape
    )
    return Story(server, start, request, python_calls if knows_python else None, measure(server))
