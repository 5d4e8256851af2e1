"""From a stream of events to journeys: pure functions, no input or output.

A journey is one request: the kernel calls that belong to it, in their order, under the Python calls
in which they happened. What belongs to no request (the listener's set-up, the wait and the accept
that lead to a request) is a journey of its own, or stands at the beginning of the request's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from zolal._zolal import TASKS, Event
from zolal.xray.node import Node, PythonCall
from zolal.xray.tasks import Story, StoryTeller

CONNECTIONS_REMEMBERED = 4096


@dataclass
class Journey:
    """`waiting_ns`: the loop's waits while the request was under way; `inside_ns`: the part of them
    inside Python calls."""

    connection: int
    request: int
    title: str = ""
    status: int | None = None  # None: not answered yet; 0: ended without a status
    sent: int = 0
    children: list[Node] = field(default_factory=list)
    stack: list[PythonCall] = field(default_factory=list)
    begun: bool = False
    closed: bool = False
    lost: int = 0
    waiting_ns: int = 0
    inside_ns: int = 0
    lead: int = 0  # how many of `children` led to the request and are not in its time

    def add(self, node: Node) -> None:
        (self.stack[-1].children if self.stack else self.children).append(node)

    @property
    def begin_ns(self) -> int:
        own = self.children[self.lead :] or self.children
        return own[0].begin_ns if own else 0

    @property
    def end_ns(self) -> int:
        return max((node.end_ns for node in self.children), default=0)


@dataclass
class Spent:
    """Nanoseconds. `server` is what is left: parsing, the environ, the loop."""

    total: int
    kernel: int
    application: int
    waiting: int
    server: int


def kernel_ns(nodes: Iterable[Node]) -> int:
    return sum(
        kernel_ns(node.children) if isinstance(node, PythonCall) else node.end_ns - node.begin_ns
        for node in nodes
    )


def queries(nodes: Iterable[Node]) -> list[PythonCall]:
    """The queries among these nodes and below them, in their order."""
    found: list[PythonCall] = []
    for node in nodes:
        if isinstance(node, PythonCall):
            found += [node] if node.is_query else queries(node.children)
    return found


def spent(journey: Journey) -> Spent:
    """What the journey's time went to."""
    own = journey.children[journey.lead :]
    outer = [node for node in own if isinstance(node, PythonCall)]
    python = sum(max(0, node.end_ns - node.begin_ns) - kernel_ns(node.children) for node in outer)
    total = max(0, journey.end_ns - journey.begin_ns)
    kernel = kernel_ns(own)
    application = max(0, python - journey.inside_ns)
    rest = max(0, total - kernel - application - journey.waiting_ns)
    return Spent(total, kernel, application, journey.waiting_ns, rest)


class Weaver:
    """Takes events, gives the journeys that are complete, and the stories of tasks."""

    def __init__(self) -> None:
        self._tasks = StoryTeller()
        self._open: dict[tuple[int, int], Journey] = {}
        self._leading: dict[
            int, list[Event]
        ] = {}  # connection -> what came before its first request
        self._waits: dict[int, Event] = {}  # thread -> the last wait that brought something
        self._loose_calls: list[Event] = []  # of no connection

    def feed(self, events: Iterable[Event]) -> Iterator[Journey | Story]:
        for event in events:
            if event.connection == TASKS:
                yield from self._tasks.feed(event)
            elif event.kind == "call" and self._is_wait(event):
                yield from self._wait(event)
            elif event.kind == "lost":
                self._lose(event)
            elif event.request == 0:
                self._loose(event)
            else:
                self._follow(event)

    def _is_wait(self, event: Event) -> bool:
        """A loop's: the C server's, or that of a server written in Python."""
        if event.place:
            return False  # of a program's own
        return event.op == "epoll_wait" or (event.op == "poll" and event.request == 0)

    def settle(self) -> Iterator[Journey]:
        """Nothing more has come for a while: what is answered is complete."""
        for title, is_program in (("server", False), ("program", True)):
            found: list[Node] = [
                event for event in self._loose_calls if bool(event.place) == is_program
            ]
            if found:
                yield Journey(0, 0, title=title, begun=True, children=found)
        self._loose_calls.clear()
        for key, journey in list(self._open.items()):
            if journey.status is not None or journey.closed:
                del self._open[key]
                yield journey

    def rest(self) -> Iterator[Journey | Story]:
        """The recording has ended: all that there is, answered or not."""
        yield from self.settle()
        yield from self._tasks.rest()
        yield from (journey for journey in self._open.values() if journey.begun)
        self._open.clear()

    def _wait(self, event: Event) -> Iterator[Journey]:
        yield from self.settle()
        self._tasks.waited(event)
        for journey in self._open.values():
            if not journey.begun:
                continue
            duration = event.end_ns - max(event.begin_ns, journey.begin_ns)
            journey.waiting_ns += max(0, duration)
            journey.inside_ns += max(0, duration) if journey.stack else 0
        if event.result > 0:
            self._waits[event.thread] = event

    def _lose(self, event: Event) -> None:
        self._tasks.lose(event.argument)
        for journey in self._open.values():
            journey.lost += event.argument
            journey.stack.clear()

    def _loose(self, event: Event) -> None:
        if event.kind != "call":
            return
        if event.connection == 0:
            self._loose_calls.append(event)
            return
        self._leading.setdefault(event.connection, []).append(event)
        while len(self._leading) > CONNECTIONS_REMEMBERED:
            del self._leading[next(iter(self._leading))]

    def _journey(self, event: Event) -> Journey:
        key = (event.connection, event.request)
        journey = self._open.get(key)
        if journey is None:
            journey = self._open[key] = Journey(event.connection, event.request)
            wait = self._waits.get(event.thread)
            journey.children += [wait] if wait else []
            journey.children += self._leading.pop(event.connection, [])
            journey.lead = len(journey.children)
        return journey

    def _follow(self, event: Event) -> None:
        if event.kind == "state":
            return
        journey = self._journey(event)
        if event.kind == "call":
            journey.add(event)
            journey.closed |= event.op == "close"
        elif event.kind == "request_begin":
            journey.begun = True
            journey.title = event.args.decode("latin-1")
        elif event.kind == "request_end":
            journey.status, journey.sent = event.result, event.argument
        elif event.kind == "python_enter":
            self._enter(journey, event)
        elif event.kind == "python_leave":
            self._leave(journey, event)

    def _enter(self, journey: Journey, event: Event) -> None:
        """A line that asks for one query after another is one place of them."""
        siblings = journey.stack[-1].children if journey.stack else journey.children
        last = siblings[-1] if siblings else None
        if (
            isinstance(last, PythonCall)
            and last.is_place_of_queries
            and (event.op, event.name, event.argument) == (last.kind, last.name, last.line)
        ):
            journey.stack.append(last)
            return
        call = PythonCall(event.op, event.name, event.argument, event.begin_ns)
        journey.add(call)
        journey.stack.append(call)

    def _leave(self, journey: Journey, event: Event) -> None:
        while journey.stack:
            call = journey.stack.pop()
            call.end_ns = event.end_ns
            if call.kind == event.op:
                call.raised = event.result < 0
                return
