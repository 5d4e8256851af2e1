"""What a task's story shows that could be better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from zolal._zolal import Event
from zolal.xray.node import Node, PythonCall
from zolal.xray.tasks import Story

LONG_NS = 50_000_000
"""Who holds the loop for longer keeps every other task waiting, and it can be felt."""

FEW = 3
"""So many receives of one byte may be meant."""


def _calls(nodes: list[Node], at: tuple[str, int] = ("", 0)) -> Iterator[tuple[Event, str, int]]:
    """The kernel calls below these nodes, with the innermost line that asked for each."""
    for node in nodes:
        if isinstance(node, PythonCall):
            yield from _calls(node.children, (node.name, node.line))
        else:
            yield node, *at


def long_steps(story: Story) -> Iterator[tuple[PythonCall, str, int]]:
    """Steps that held the loop for long, with the line where each stood, as far as it is known."""
    for step in story.of_kind("step"):
        if step.ns < LONG_NS:
            continue
        longest = max(_calls(step.children), key=lambda one: _ns(one[0]), default=None)
        if longest and longest[1] and _ns(longest[0]) > step.ns / 2:
            yield step, longest[1], longest[2]
            continue
        found = [
            node
            for node in step.children
            if isinstance(node, PythonCall) and node.kind == "blocked"
        ]
        yield step, *((found[0].name, found[0].line) if found else (step.name, step.line))


def _ns(event: Event) -> int:
    return event.end_ns - event.begin_ns


def small_receives(story: Story) -> Counter[tuple[str, int]]:
    """How often a line received one byte."""
    found: Counter[tuple[str, int]] = Counter()
    for step in story.of_kind("step"):
        for event, name, line in _calls(step.children):
            if event.op in ("recvfrom", "read") and event.argument == 1 and event.result == 1:
                found[name, line] += 1
    return Counter({at: count for at, count in found.items() if count >= FEW})
