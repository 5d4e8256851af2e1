"""What a recording of `zolal trace` holds, for whatever shows it: processes and their calls. Plain
data; zolal.trace.load makes it."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import NamedTuple

from zolal.xray.kernel_calls import NEVER_RETURN, RETURN_POINTERS


class Frame(NamedTuple):
    """A line of Python that led to a call. A `function` of "" stands for outer frames that were cut
    off. `awaits`: it was not running, but had asked for the call and waited for it (awaits.py)."""

    function: str
    file: str
    line: int
    awaits: bool = False


@dataclass(slots=True, eq=False)
class PythonCall:
    """A call of a function by Python, from its beginning to its end; of a generator or coroutine
    until it yields, or from there on."""

    process: Process
    tid: int
    function: str  # "Handler.run"; of C "socket.send"
    file: str  # "": it is of C
    line: int  # that it begins at; of C 0
    begin_ns: int  # since the epoch
    end_ns: int = 0  # 0: no end was seen
    is_c: bool = False
    raised: bool = False
    resumed: bool = False  # it had begun before, and goes on
    suspended: bool = False  # it has yielded, and may go on
    under_way: bool = False  # it had begun before anything of this thread was recorded
    outer: PythonCall | None = None
    inside: list[PythonCall | Call] | tuple[()] = ()  # in their order

    @property
    def ns(self) -> int:
        """Until the last that is known of it."""
        end = self.end_ns or max((each.end_ns for each in self.inside), default=0)
        return max(0, end - self.begin_ns)


UNFINISHED = -512
"""The result of a call that was not over when its process ended. No call of the kernel has it
(ERESTARTSYS, inside)."""


@dataclass(slots=True, eq=False)
class Call:
    """One call of the kernel."""

    process: Process
    tid: int
    name: str  # as section 2 of the manual has it
    fd: int  # -1: none
    args: str  # readable, as strace(1) would write them
    result: int  # -errno on failure; UNFINISHED
    begin_ns: int  # since the epoch
    end_ns: int
    stack: tuple[Frame, ...]  # the caller of the call last
    argument: int = 0  # a length with flags above 2**32, a count, flags: src/trace/event.h
    data: bytes = b""  # more arguments: src/trace/event.h
    first_line: str = ""
    """Of what it has moved, where that is known: "GET / HTTP/1.1", "HTTP/1.1 200 OK", "redis GET",
    "postgresql SELECT"."""
    is_sent: bool = False  # the first line was sent, else received
    encrypted: bool = False  # what it has moved begins a TLS record
    outer: PythonCall | None = None  # with --calls: the innermost call of Python

    @property
    def ns(self) -> int:
        return max(0, self.end_ns - self.begin_ns)

    @property
    def is_unfinished(self) -> bool:
        return self.result == UNFINISHED

    @property
    def error(self) -> str:
        """The name of its failure, "" without one."""
        if self.result >= 0 or self.is_unfinished:
            return ""
        return errno.errorcode.get(-self.result, str(-self.result))

    @property
    def outcome(self) -> str:
        """ "17", "-1 EAGAIN", an address, "unfinished", "?" of a call that never returns."""
        if self.is_unfinished:
            return "unfinished"
        if self.error:
            return f"-1 {self.error}"
        if self.name in NEVER_RETURN:
            return "?"
        return hex(self.result) if self.name in RETURN_POINTERS else str(self.result)


@dataclass(eq=False)
class Process:
    """A program that a process has been: one that calls exec is another from then on."""

    pid: int
    parent: int  # pid, 0: not known
    program: list[str]  # its arguments, cut
    python: str  # version, "" without one
    note: str  # what could not be recorded, and why
    began_ns: int  # since the epoch
    calls: list[Call] = field(default_factory=list)  # by their end
    lost: int = 0  # events that were overwritten, or found no room
    filled_up: int = 0  # errno: why the recording could grow no more
    children: list[Process] = field(default_factory=list)
    is_child: bool = False  # its parent is among the recorded
    threads: dict[int, list[PythonCall | Call]] = field(default_factory=dict)
    """With --calls: what each thread did, by its number; each holds what happened inside."""

    @property
    def title(self) -> str:
        return " ".join(self.program) or f"process {self.pid}"


@dataclass
class Trace:
    """What was traced, and what came of it."""

    command: list[str]
    began_ns: int  # since the epoch
    ended_ns: int
    status: int  # exit code, or -signal
    processes: list[Process]  # by their beginning
    failures: int = 0  # processes that could not be recorded
    failure: int = 0  # errno of the last of them
    budget: int = 0  # bytes that the recordings could take together, 0: not known
    cut_by: str = ""  # the folder without room for more than that
    runs_on: bool = False  # it was let go: status means nothing

    @property
    def ended(self) -> str:
        """ "exit code 3", "signal 9"."""
        if self.runs_on:
            return "detached, it runs on"
        return f"exit code {self.status}" if self.status >= 0 else f"signal {-self.status}"

    @property
    def roots(self) -> list[Process]:
        """Those that no recorded process has started."""
        return [process for process in self.processes if not process.is_child]

    @property
    def calls(self) -> list[Call]:
        """Of all processes, by their beginning."""
        found = [call for process in self.processes for call in process.calls]
        return sorted(found, key=lambda call: call.begin_ns)
