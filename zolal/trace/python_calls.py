"""From what an interpreter has told of its calls to trees of them, a thread each.

Calls are known by their frames (src/trace/event.h), so that one whose end was not seen, and
greenlets that take turns in a thread, put nothing under a wrong name."""

from __future__ import annotations

from dataclasses import dataclass

from zolal._zolal import Event
from zolal.trace.model import Call, Process, PythonCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Key = tuple[int, str]  # frame, what kind of call
    Stack = list[tuple[Key, PythonCall]]  # the outermost first


def split(name: str) -> tuple[str, str]:
    """The function and the file of "function (file)"; of C there is no file."""
    function, _, file = name.partition(" (")
    return function, file.removesuffix(")")


def is_same(known: tuple[Key, PythonCall], key: Key, call: PythonCall) -> bool:
    return known[0] == key and (known[1].function, known[1].file) == (call.function, call.file)


def functions_of(stack: Stack) -> list[str]:
    """Of Python's calls."""
    return [call.function for _, call in stack if not call.is_c]


def drop_ended(stack: Stack) -> None:
    for at, (_, call) in enumerate(stack):
        if call.end_ns:
            del stack[at:]
            return


def count_alike(stack: Stack, told: Stack) -> int:
    """How many of Python's calls both begin with."""
    count = 0
    for known in stack:
        if known[1].is_c:
            continue
        if count == len(told) or not is_same(known, *told[count]):
            break
        count += 1
    return count


def position(stack: Stack, count: int) -> int:
    """Behind the first `count` of Python's calls."""
    for at, (_, call) in enumerate(stack):
        if count == 0:
            return at
        count -= not call.is_c
    return len(stack)


class Thread:
    """Takes what a thread tells, by its time."""

    def __init__(self) -> None:
        self.top: list[PythonCall | Call] = []
        self._open: Stack = []
        self._parked: list[Stack] = []  # greenlets' that are not running
        self._told: Stack | None = None
        """A stack that is being told, from the outermost call on."""
        self._forgets = False

    def add(self, node: PythonCall | Call) -> None:
        self._end_switch()
        if not self._open:
            self.top.append(node)
            return
        node.outer = outer = self._open[-1][1]
        if isinstance(outer.inside, tuple):
            outer.inside = [node]
        else:
            outer.inside.append(node)

    def enter(self, key: Key, call: PythonCall) -> None:
        self._end_switch()
        for at, (other, _) in enumerate(self._open):
            if other == key:  # its end was not seen
                del self._open[at:]
                break
        self.add(call)
        self._open.append((key, call))

    def leave(self, key: Key) -> PythonCall | None:
        """The call that ends; None: its beginning was not seen."""
        self._end_switch()
        for at in range(len(self._open) - 1, -1, -1):
            if self._open[at][0] == key:
                found = self._open[at][1]
                del self._open[at:]
                return found
        return None

    def switch(self, forgets: bool) -> None:
        """To the stack of which the calls under way are told next. `forgets`: what was open before
        may have ended."""
        self._end_switch()
        self._park()
        self._told, self._forgets = [], forgets

    def find_under_way(self, key: Key, call: PythonCall) -> None:
        if self._told is None:
            self.enter(key, call)
        else:
            self._told.append((key, call))

    def _park(self) -> None:
        if self._open:
            self._parked.append(self._open)
        self._open = []

    def _end_switch(self) -> None:
        """A stack is told: it goes on, or as much of one as is known."""
        if self._told is None:
            return
        told, self._told = self._told, None
        best, count = None, 0
        for parked in self._parked:
            drop_ended(parked)
            alike = count_alike(parked, told)
            # Of two that begin so the one that ends there: others have begun in it.
            if alike > count or (best and alike == count and len(parked) < len(best)):
                best, count = parked, alike
        self._parked = [parked for parked in self._parked if parked]
        if best:
            at = position(best, count)
            is_in_c = at < len(best) and best[at][1].is_c and not self._forgets
            self._open = best[: at + is_in_c]
            if len(self._open) == len(best) or self._forgets:
                self._parked.remove(best)
        if count < len(told):
            while self._open and self._open[-1][1].is_c and self._forgets:
                self._open.pop()
            for key, call in told[count:]:
                self.enter(key, call)

    def compare(self, call: Call) -> None:
        """With the lines that led to a kernel call: those of Python's calls that are not among them
        have ended unseen, or are another greenlet's."""
        self._end_switch()
        lines = [frame.function for frame in call.stack]
        # Of a very deep stack the outermost lines are left out.
        if not lines or not lines[0] or functions_of(self._open)[-len(lines) :] == lines:
            return
        for parked in self._parked:
            drop_ended(parked)
            if functions_of(parked)[-len(lines) :] == lines:
                self._parked.remove(parked)
                self._park()
                self._open = parked
                return
        known = [(at, each.function) for at, (_, each) in enumerate(self._open) if not each.is_c]
        if known and known[0][1] != lines[0]:
            self._park()
            return
        for (at, name), line in zip(known, lines, strict=False):
            if name != line:
                del self._open[at:]
                return
        if len(lines) < len(known):
            del self._open[known[len(lines)][0] :]
        while self._open and self._open[-1][1].is_c:
            self._open.pop()

    def add_whole(self, call: PythonCall) -> None:
        """One that has ended; what began later than it is inside."""
        self._end_switch()
        around = self._open[-1][1].inside if self._open else self.top
        at = len(around)
        while at > 0 and around[at - 1].begin_ns >= call.begin_ns:
            at -= 1
        if at < len(around):
            assert isinstance(around, list)
            call.inside = around[at:]
            del around[at:]
            for node in call.inside:
                node.outer = call
        self.add(call)


class Threads:
    """All of a process."""

    def __init__(self, process: Process, offset_ns: int) -> None:
        self._process = process
        self._offset_ns = offset_ns
        self._threads: dict[int, Thread] = {}
        self._is_told = False
        self._names: dict[str, tuple[str, str]] = {}

    def take_call(self, call: Call) -> None:
        thread = self._thread(call.tid)
        thread.compare(call)
        thread.add(call)

    def take(self, event: Event) -> None:
        if event.op not in ("call", "c_call"):
            return
        self._is_told = True
        thread = self._thread(event.thread)
        if event.kind == "python_whole":
            name, line = event.place[0] if event.place else ("", 0)
            call = self._call(event, name, line)
            call.end_ns = event.end_ns + self._offset_ns
            call.raised = event.result < 0
            call.resumed, call.suspended = event.resumed, event.suspended
            thread.add_whole(call)
        elif event.kind == "python_switch":
            thread.switch(forgets=bool(event.argument))
        elif event.kind in ("python_enter", "python_resume"):
            call = self._call(event, event.name, event.argument)
            call.resumed = event.kind == "python_resume"
            call.under_way = event.under_way
            key = (event.request, event.op)
            if event.under_way:
                thread.find_under_way(key, call)
            else:
                thread.enter(key, call)
        elif found := thread.leave((event.request, event.op)):
            found.end_ns = event.end_ns + self._offset_ns
            found.raised = event.result < 0
            found.suspended = event.kind == "python_yield"

    def end(self) -> None:
        if self._is_told:
            self._process.threads = {
                tid: thread.top for tid, thread in self._threads.items() if thread.top
            }
        else:
            for call in self._process.calls:
                call.outer = None

    def _thread(self, tid: int) -> Thread:
        found = self._threads.get(tid)
        if found is None:
            found = self._threads[tid] = Thread()
        return found

    def _call(self, event: Event, name: str, line: int) -> PythonCall:
        names = self._names.get(name)
        if names is None:
            names = self._names[name] = split(name)
        return PythonCall(
            self._process,
            event.thread,
            *names,
            line,
            event.begin_ns + self._offset_ns,
            is_c=event.op == "c_call",
        )


def walk(nodes: Sequence[PythonCall | Call]) -> Iterator[PythonCall]:
    """Every call of Python among them and inside, an outer one before the inner ones."""
    waiting = list(reversed(nodes))
    while waiting:
        node = waiting.pop()
        if isinstance(node, PythonCall):
            yield node
            waiting += reversed(node.inside)


def all_calls(process: Process) -> Iterator[PythonCall]:
    """Every call of Python of a process, thread by thread."""
    for top in process.threads.values():
        yield from walk(top)


def depth(call: PythonCall | Call) -> int:
    """How many are around it."""
    found = 0
    while outer := call.outer:
        call = outer
        found += 1
    return found


@dataclass
class Function:
    """What the calls of a function have in common."""

    name: str  # "Handler.run (app.py:3)"; "socket.send [C]"
    count: int = 0
    ns: int = 0  # with all that they called; of those inside one another the outermost
    own_ns: int = 0  # without
    raised: int = 0


def functions(processes: Iterable[Process]) -> list[Function]:
    """By function, those that took most time themselves first."""
    found: dict[tuple[str, str, int], Function] = {}
    for process in processes:
        for call in all_calls(process):
            key = (call.function, call.file, call.line)
            if (function := found.get(key)) is None:
                where = f"{call.file}:{call.line}" if call.file else "[C]"
                function = found[key] = Function(f"{call.function}, {where}")
            ns = call.ns
            function.count += not call.resumed
            function.ns += 0 if _is_inside_itself(call) else ns
            function.own_ns += max(0, ns - sum(inner.ns for inner in call.inside))
            function.raised += call.raised
    return sorted(found.values(), key=lambda function: -function.own_ns)


def _is_inside_itself(call: PythonCall) -> bool:
    outer = call.outer
    while outer and (outer.function, outer.file, outer.line) != (
        call.function,
        call.file,
        call.line,
    ):
        outer = outer.outer
    return outer is not None
