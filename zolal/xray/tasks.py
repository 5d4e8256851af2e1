"""The story of each task of an event loop, from its events: what it did, and what it waited for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from zolal._zolal import Event
from zolal.recording import library_folders
from zolal.xray.node import Node, PythonCall

Place = tuple[tuple[str, int], ...]

PIECE = 400
"""So many steps and waits are told at once, of a task that goes on."""

TOLD_NS = 10_000_000
"""A callback that made no kernel call is told of if it held the loop for so long, and a library's
task that is done, too."""


_folders = library_folders()


def helpers(place: Place) -> Place:
    """Of the lines that led to a call, those of libraries before the first of the program."""
    is_library = (text.partition(" (")[2].startswith(_folders) for text, _ in place)
    count = next((i for i, found in enumerate(is_library) if not found), len(place))
    return place[:count]


@dataclass
class Story:
    """A task ("task Task-1: main()"), one of a library's ("library ..."), a callback, or what
    asyncio complains of ("report ..."). `children`: steps, which held the loop, and waits.
    `outcome`: None: it goes on."""

    number: int
    title: str = ""
    outcome: int | None = None
    children: list[Node] = field(default_factory=list)
    stack: list[PythonCall] = field(default_factory=list)
    lost: int = 0

    @property
    def kind(self) -> str:
        return self.title.partition(" ")[0]

    @property
    def name(self) -> str:
        return self.title.partition(" ")[2]

    def of_kind(self, kind: str) -> list[PythonCall]:
        return [
            node for node in self.children if isinstance(node, PythonCall) and node.kind == kind
        ]

    @property
    def is_worth_telling(self) -> bool:
        if self.kind in ("task", "report") or self.outcome != 0:
            return True
        steps = self.of_kind("step")
        return not steps or any(step.children or step.ns >= TOLD_NS for step in steps)


class StoryTeller:
    """Takes the events of tasks, gives their stories as they end."""

    def __init__(self) -> None:
        self._open: dict[int, Story] = {}
        self._wait: dict[int, Event] = {}  # thread -> the loop's last wait

    def feed(self, event: Event) -> Iterator[Story]:
        story = self._open.get(event.request)
        if story is None:
            story = self._open[event.request] = Story(event.request)
        if event.kind == "call":
            _add_call(story, event)
        elif event.kind == "request_begin":
            story.title = event.args.decode("utf-8", "replace")
        elif event.kind == "python_enter":
            _enter(story, event)
        elif event.kind == "python_leave":
            self._leave(story, event)
        elif event.kind == "request_end":
            story.outcome = event.result
            del self._open[event.request]
            if story.is_worth_telling:
                yield story
        if story.outcome is None and len(story.children) >= PIECE and not story.stack:
            self._open[event.request] = Story(event.request, story.title)
            yield story

    def waited(self, event: Event) -> None:
        """A wait of the loop, which belongs to whoever is found to have waited for it."""
        self._wait[event.thread] = event

    def lose(self, count: int) -> None:
        """So many events are not to be had any more."""
        for story in self._open.values():
            story.lost += count
            story.stack.clear()

    def rest(self) -> Iterator[Story]:
        """The recording has ended."""
        yield from (story for story in self._open.values() if story.children)
        self._open.clear()

    def _leave(self, story: Story, event: Event) -> None:
        while story.stack:
            call = story.stack.pop()
            call.end_ns = event.end_ns
            if call.kind != event.op:
                continue
            wait = self._wait.get(event.thread)
            if call.kind == "wait" and wait and wait.end_ns > call.begin_ns:
                call.children.append(wait)
            return


def _enter(story: Story, event: Event) -> None:
    call = PythonCall(event.op, event.name, event.argument, event.begin_ns, event.begin_ns)
    (story.stack[-1].children if story.stack else story.children).append(call)
    story.stack.append(call)


def _add_call(story: Story, event: Event) -> None:
    """Under the program's lines that led to it, the outermost first."""
    nodes = story.stack[-1].children if story.stack else story.children
    place = event.place or ()
    for name, line in reversed(place[len(helpers(place)) :]):
        last = nodes[-1] if nodes else None
        is_same = isinstance(last, PythonCall) and last.kind == "await"
        if (
            not isinstance(last, PythonCall)
            or not is_same
            or (last.name, last.line) != (name, line)
        ):
            last = PythonCall("await", name, line, event.begin_ns)
            nodes.append(last)
        last.end_ns = event.end_ns
        nodes = last.children
    nodes.append(event)
