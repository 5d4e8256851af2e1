"""Journeys as trees on a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from zolal._zolal import Event
from zolal.xray import advice, calls
from zolal.xray.node import SQL, Node, PythonCall
from zolal.xray.tasks import Story, helpers
from zolal.xray.tree import Journey, Weaver, queries, spent

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
HELD_TOGETHER = 6  # a pattern that repeats so often is shown as its first, a count, its last
UNBOUNDED = 100_000  # columns, where nobody looks at a terminal
NAMES_ON_THE_WAY = 4
LONGEST_PATTERN = 3  # "asks for the next piece, sendto" is a pattern of two


def plain(text: str) -> str:
    """What came from a request, control characters as escapes: it cannot draw on the terminal."""
    return CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def duration(ns: int) -> str:
    if ns < 10_000:
        return f"{ns / 1000:.1f} µs"
    if ns < 1_000_000:
        return f"{ns / 1000:.0f} µs"
    if ns < 1_000_000_000:
        return f"{ns / 1_000_000:.1f} ms"
    return f"{ns / 1_000_000_000:.2f} s"


PACKAGES = re.compile(r".*/(?:site|dist)-packages/")


def place(text: str, line: int) -> str:
    """ "hello.application, /srv/hello.py:3" with the path from the current folder, or from the one
    that packages are installed in; of "hello.application (/srv/hello.py)" and its line."""
    name, _, path = text.partition(" (")
    path = path.rstrip(")")
    if not path:
        return name
    short = os.path.relpath(path)
    path = PACKAGES.sub("", path if short.startswith("..") else short)
    return f"{name}, {path}:{line}" if line else f"{name}, {path}"


def way(frames: tuple[tuple[str, int], ...]) -> str:
    """Who asked for a call: "create_connection < main, client.py:7"; of those between the call and
    the program's line the names alone, and of many the first and the last."""
    *between, asking = frames
    return " < ".join([*_names(between), place(*asking)])


def _names(frames: Iterable[tuple[str, int]]) -> list[str]:
    names = [text.partition(" (")[0].replace("<", "").replace(">", "") for text, _ in frames]
    if len(names) > NAMES_ON_THE_WAY:
        names[NAMES_ON_THE_WAY - 1 : -1] = ["..."]
    return names


VERBS = {
    "application": "calls the application",
    "next": "asks for the next piece",
    "close": "calls close()",
    "read": "the application reads",
    "write": "the application writes",
    "start_response": "the application calls start_response",
    "call": "",
    "step": "holds the loop",
    "blocked": "stood at",
    "wait": "waits for",
    "await": "",
}


KEYWORDS = re.compile(
    r"\b(SELECT|DISTINCT|FROM|(?:LEFT OUTER|INNER|CROSS) JOIN|WHERE|GROUP BY|HAVING|ORDER BY|LIMIT"
    r"|OFFSET|INSERT(?: OR IGNORE)? INTO|VALUES|RETURNING|UPDATE|SET|DELETE|BEGIN|COMMIT|ROLLBACK"
    r"|SAVEPOINT|RELEASE SAVEPOINT|UNION|EXISTS|PRAGMA)\b"
)


def _query(call: PythonCall) -> Text:
    text = Text("SQL", style="yellow")
    text.append("  ")
    statement = Text(plain(call.name[len(SQL) :]))
    statement.highlight_regex(KEYWORDS, "bold")
    text.append_text(statement)
    _append_end(text, call)
    return text


def _place_of_queries(call: PythonCall) -> Text:
    found = queries(call.children)
    text = Text(plain(place(call.name, call.line)), style="green")
    text.append(f"  {_count(found)}", style="default")
    statements = [query.name for query in found]
    most = max(map(statements.count, set(statements)))
    if most > 1:
        text.append(f", the same one {most} times", style="yellow")
    text.append("  " + duration(sum(query.ns for query in found)), style="dim")
    return text


def _count(found: list[PythonCall]) -> str:
    return "1 query" if len(found) == 1 else f"{len(found)} queries"


def _append_end(text: Text, call: PythonCall) -> None:
    if call.raised:
        text.append("  raised", style="bold red")
    text.append("  " + duration(call.ns), style="dim")


def _python(call: PythonCall) -> Text:
    if call.is_query:
        return _query(call)
    if call.is_place_of_queries:
        return _place_of_queries(call)
    text = Text(VERBS.get(call.kind, call.kind), style="green")
    text.append(("  " if text else "") + plain(place(call.name, call.line)))
    if call.kind not in ("await", "blocked"):
        _append_end(text, call)
    return text


def kernel(event: Event, is_placed: bool = False) -> Text:
    """`is_placed`: it stands below the program's lines that led to it."""
    text = Text(event.op, style="cyan")
    text.append(f"({plain(calls.arguments(event))}) = ")
    text.append(calls.result(event), style="red" if event.result < 0 else "bold")
    text.append("  " + duration(event.end_ns - event.begin_ns), style="dim")
    if event.place:
        shown = " < ".join(_names(helpers(event.place))) if is_placed else way(event.place)
        text.append("  " + plain(shown) if shown else "", style="green")
    return text


def lost(count: int) -> Text:
    return Text(f"{count} events were overwritten before they could be read", style="yellow")


def _shape(node: Node) -> object:
    """What a node has in common with others like it: not its sizes, not its times."""
    if isinstance(node, PythonCall):
        return (node.kind, node.name, tuple(_shape(child) for child in node.children))
    return (node.op, node.fd, node.place)


def _repeats(shapes: list[object], at: int) -> tuple[int, int]:
    """The pattern that repeats from `at`: its length and how often; the one that covers most."""
    best = (1, 1)
    for period in range(1, LONGEST_PATTERN + 1):
        end = at + period
        while end < len(shapes) and shapes[end] == shapes[end - period]:
            end += 1
        count = (end - at) // period
        if count >= HELD_TOGETHER and count * period > best[0] * best[1]:
            best = (period, count)
    return best


def _add(tree: Tree, nodes: list[Node], is_placed: bool = False) -> None:
    shapes = [_shape(node) for node in nodes]
    at = 0
    while at < len(nodes):
        period, count = _repeats(shapes, at)
        for node in nodes[at : at + period]:
            _add_node(tree, node, is_placed)
        if count > 2:
            tree.add(Text(f"... {count - 2} more like this", style="dim"))
        if count > 1:
            for node in nodes[at + period * (count - 1) : at + period * count]:
                _add_node(tree, node, is_placed)
        at += period * count


def _add_node(tree: Tree, node: Node, is_placed: bool) -> None:
    if isinstance(node, PythonCall):
        _add(tree.add(_python(node)), node.children, is_placed)
    else:
        tree.add(kernel(node, is_placed))


def _title(journey: Journey) -> Text:
    if not journey.begun:
        return Text(f"connection {journey.connection} ends", style="bold")
    text = Text(plain(journey.title), style="bold")
    if journey.request:
        status = journey.status or 0
        style = "green" if 200 <= status < 400 else "red"
        text.append(f"  {status or 'no answer'}", style=style)
        text.append(
            f"  {journey.sent} bytes  connection {journey.connection}, request {journey.request}",
            style="dim",
        )
    return text


def tree(journey: Journey) -> Tree:
    """The journey's tree; its last line says what the time was spent on."""
    root = Tree(_title(journey))
    _add(root, journey.children)
    if journey.lost:
        root.add(lost(journey.lost))
    if journey.begun and journey.request:
        time = spent(journey)
        found = queries(journey.children)
        sql = f" (SQL {duration(sum(query.ns for query in found))} in {_count(found)})"
        root.add(
            Text(
                f"{duration(time.total)}: kernel {duration(time.kernel)}, "
                f"application {duration(time.application)}{sql if found else ''}, "
                f"server {duration(time.server)}, waiting {duration(time.waiting)}",
                style="magenta",
            )
        )
    return root


OUTCOMES: dict[int | None, tuple[str, str]] = {
    0: ("done", "green"),
    1: ("cancelled", "yellow"),
    2: ("raised", "red"),
}


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _report(story: Story) -> Tree:
    text = Text("advice  ", style="yellow")
    text.append(plain(story.name), style="bold")
    for node in story.children:
        if isinstance(node, PythonCall) and node.name:
            text.append("  " + plain(place(node.name, node.line)), style="green")
    return Tree(text)


def _advise(root: Tree, story: Story) -> None:
    for step, name, line in advice.long_steps(story):
        root.add(
            Text(
                f"advice: held the loop for {duration(step.ns)} at {plain(place(name, line))}: no "
                "other task ran meanwhile. What blocks belongs into asyncio.to_thread(); what "
                "computes gives way with asyncio.sleep(0).",
                style="yellow",
            )
        )
    for (name, line), count in advice.small_receives(story).items():
        root.add(
            Text(
                f"advice: {count} receives of 1 byte at {plain(place(name, line))}: each costs a "
                "kernel call. Ask for as much as may come, 65536, and keep what is left over.",
                style="yellow",
            )
        )


def story_tree(story: Story) -> Tree:
    """A task's tree; then what its time was spent on, and what could be better."""
    if story.kind == "report":
        return _report(story)
    is_task = story.kind in ("task", "library")
    text = Text("task " if is_task else "", style="bold")
    text.append(plain(story.name))
    if is_task:
        word, style = OUTCOMES.get(story.outcome, ("goes on", "dim"))
        text.append(f"  {word}", style=style)
    root = Tree(text)
    _add(root, story.children, is_placed=True)
    if story.lost:
        root.add(Text(f"some of {story.lost} events that were overwritten", style="yellow"))
    if not story.of_kind("step"):
        return root
    steps, waits = story.of_kind("step"), story.of_kind("wait")
    held = [step.ns for step in steps]
    line = f"held the loop {duration(sum(held))} in {_times(len(held), 'step')}"
    if len(held) > 1:
        line += f", {duration(max(held))} the longest"
    if waits:
        line += f"; waited {duration(sum(wait.ns for wait in waits))}"
    root.add(Text(line, style="magenta"))
    _advise(root, story)
    return root


def make_console() -> Console:
    """Standard output; nothing is wrapped where it is not a terminal."""
    width = None if sys.stdout.isatty() else UNBOUNDED
    return Console(highlight=False, markup=False, emoji=False, width=width)


class Journeys:
    """Prints each journey that is complete."""

    def __init__(self) -> None:
        self._console = make_console()
        self._weaver = Weaver()

    def feed(self, events: Iterable[Event]) -> None:
        self._show(self._weaver.feed(events))

    def settle(self) -> None:
        """Nothing more has come for a while."""
        self._show(self._weaver.settle())

    def rest(self) -> None:
        """The recording has ended."""
        self._show(self._weaver.rest())

    def _show(self, journeys: Iterable[Journey | Story]) -> None:
        for journey in journeys:
            shown = story_tree(journey) if isinstance(journey, Story) else tree(journey)
            self._console.print(shown)
            self._console.print()
