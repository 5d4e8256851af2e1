"""Journeys as trees on a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from zolal._zolal import Event
from zolal.xray import calls
from zolal.xray.tree import Journey, Node, PythonCall, spent

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
HELD_TOGETHER = 6  # so many equal nodes in a row are shown as first, count, last


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


def place(call: PythonCall) -> str:
    """ "hello.application, /srv/hello.py:3" with the path as short as the current folder allows."""
    name, _, path = call.name.partition(" (")
    path = path.rstrip(")")
    if not path:
        return name
    short = os.path.relpath(path)
    path = path if short.startswith("..") else short
    return f"{name}, {path}:{call.line}"


VERBS = {
    "application": "calls the application",
    "next": "asks for the next piece",
    "close": "calls close()",
    "read": "the application reads",
    "write": "the application writes",
    "start_response": "the application calls start_response",
}


def _python(call: PythonCall) -> Text:
    text = Text(VERBS.get(call.kind, call.kind), style="green")
    text.append("  " + plain(place(call)))
    if call.raised:
        text.append("  raised", style="bold red")
    text.append("  " + duration(max(0, call.end_ns - call.begin_ns)), style="dim")
    return text


def _kernel(event: Event) -> Text:
    text = Text(event.op, style="cyan")
    text.append(f"({plain(calls.arguments(event))}) = ")
    text.append(calls.result(event), style="red" if event.result < 0 else "bold")
    text.append("  " + duration(event.end_ns - event.begin_ns), style="dim")
    return text


def _same(left: Node, right: Node) -> bool:
    if isinstance(left, PythonCall) or isinstance(right, PythonCall):
        return (
            isinstance(left, PythonCall)
            and isinstance(right, PythonCall)
            and (left.kind, left.name) == (right.kind, right.name)
            and [type(node) for node in left.children] == [type(node) for node in right.children]
        )
    return (left.op, left.fd, left.argument) == (right.op, right.fd, right.argument)


def _runs(nodes: list[Node]) -> Iterable[list[Node]]:
    run: list[Node] = []
    for node in nodes:
        if run and not _same(run[0], node):
            yield run
            run = []
        run.append(node)
    if run:
        yield run


def _add(tree: Tree, nodes: list[Node]) -> None:
    for run in _runs(nodes):
        if len(run) < HELD_TOGETHER:
            shown: list[Node | None] = [*run]
        else:
            shown = [run[0], None, run[-1]]
        for node in shown:
            if node is None:
                tree.add(Text(f"... {len(run) - 2} more like this", style="dim"))
            elif isinstance(node, PythonCall):
                _add(tree.add(_python(node)), node.children)
            else:
                tree.add(_kernel(node))


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
        root.add(
            Text(
                f"{journey.lost} events were overwritten before they could be read", style="yellow"
            )
        )
    if journey.begun and journey.request:
        time = spent(journey)
        root.add(
            Text(
                f"{duration(time.total)}: kernel {duration(time.kernel)}, "
                f"application {duration(time.application)}, "
                f"server {duration(time.server)}, waiting {duration(time.waiting)}",
                style="magenta",
            )
        )
    return root


class Printer:
    """Prints journeys to standard output; never wraps where it is not a terminal."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, markup=False, emoji=False)

    def show(self, journeys: Iterable[Journey]) -> None:
        for journey in journeys:
            self.console.print(tree(journey), soft_wrap=not self.console.is_terminal)
            self.console.print()
