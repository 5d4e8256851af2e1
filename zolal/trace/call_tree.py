"""Kernel calls inside the calls of Python that made them, where all of these were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.text import Text
from rich.tree import Tree

from zolal.trace.model import Call, Frame, PythonCall
from zolal.trace.python_calls import walk
from zolal.trace.tree import ALIKE, kernel, place
from zolal.xray.render import duration, plain

FOLDED_NAMES = 3  # of functions, where calls are only counted
Node = PythonCall | Call


def is_recorded(calls: Sequence[Call]) -> bool:
    return any(call.outer for call in calls)


def add(root: Tree, calls: Sequence[Call]) -> None:
    """These calls, each thread's together, inside the calls of Python that made them; what these
    called besides is counted, where no kernel call is inside."""
    shown = {id(call) for call in calls}
    for call in calls:
        outer = call.outer
        while outer and id(outer) not in shown:
            shown.add(id(outer))
            outer = outer.outer
    by_thread: dict[int, list[Node]] = {}
    for call in calls:
        tops = by_thread.setdefault(call.tid, [])
        top: Node = call
        while top.outer:
            top = top.outer
        if not tops or tops[-1] is not top:
            tops.append(top)
    view = View(shown)
    for tops in by_thread.values():
        for top in tops:
            view.add_top(root, top)


class View:
    def __init__(self, shown: set[int]) -> None:
        self._shown = shown  # ids of calls, and of those of Python around them

    def is_shown(self, node: Node) -> bool:
        return id(node) in self._shown

    def add_top(self, root: Tree, node: Node) -> None:
        if isinstance(node, Call):
            root.add(kernel(node))
            return
        names = []
        while True:
            names.append(name(node))
            inner = [each for each in node.inside if self.is_shown(each)]
            if len(inner) != 1 or not isinstance(inner[0], PythonCall):
                break
            node = inner[0]
        first, last = node.inside.index(inner[0]), node.inside.index(inner[-1])
        inside = list(node.inside[first : last + 1])
        if len(names) > 4:
            names[1:-3] = ["..."]
        text = title(node, " > ".join(names), inside[-1].end_ns - inside[0].begin_ns)
        text.append(f"  {count(inside)} calls of Python", style="dim")
        self._add_inside(root.add(text), inside)

    def _add_inside(self, tree: Tree, nodes: Sequence[Node]) -> None:
        for shown, run in groupby(nodes, self.is_shown):
            if shown:
                self._add_shown(tree, list(run))
            elif folded := [node for node in run if isinstance(node, PythonCall)]:
                tree.add(fold(folded))

    def _add_shown(self, tree: Tree, nodes: Sequence[Node]) -> None:
        for _, group in groupby(nodes, self._shape):
            alike = list(group)
            cut = len(alike) > ALIKE
            for node in alike[:1] if cut else alike:
                self._add(tree, node)
            if cut:
                tree.add(Text(f"... {len(alike) - 2} more like this", style="dim"))
                self._add(tree, alike[-1])

    def _add(self, tree: Tree, node: Node) -> None:
        if isinstance(node, Call):
            tree.add(kernel(node))
            return
        outermost, names = node, [name(node)]
        while len(node.inside) == 1 and isinstance(node.inside[0], PythonCall):
            node = node.inside[0]
            names.append(name(node))
        self._add_inside(tree.add(title(node, " > ".join(names), outermost.ns)), node.inside)

    def _shape(self, node: Node) -> object:
        if isinstance(node, Call):
            return (node.name, node.fd, node.result >= 0)
        return (
            node.function,
            node.file,
            node.line,
            tuple(self._shape(each) for each in node.inside if self.is_shown(each)),
        )


def name(call: PythonCall) -> str:
    """ "Handler.run", "socket.send [C]" """
    text = (call.function or "...") + (" [C]" if call.is_c else "")
    if call.resumed or call.suspended:
        ways = (["goes on"] if call.resumed else []) + (["yields"] if call.suspended else [])
        text += f" ({', '.join(ways)})"
    return text


def title(call: PythonCall, names: str, ns: int) -> Text:
    text = Text(plain(names), style="green")
    if not call.is_c:
        where = place(Frame(call.function, call.file, call.line))
        text.append(f"  {plain(where)}", style="dim")
    text.append("  " + duration(ns), style="dim")
    if call.raised:
        text.append("  raised", style="red")
    return text


def count(nodes: Sequence[Node]) -> int:
    """Calls of Python's functions among them and inside."""
    return sum(not call.is_c and not call.resumed for call in walk(nodes))


def fold(calls: Sequence[PythonCall]) -> Text:
    """ "12 calls, 34 us: parse_headers, ..." """
    number = sum(1 for _ in walk(calls))
    longest = sorted(calls, key=lambda call: -call.ns)
    names = list(dict.fromkeys(name(call) for call in longest))
    more = ", ..." if len(names) > FOLDED_NAMES or number > len(calls) else ""
    text = f"{number} calls, " if number > 1 else "1 call, "
    text += f"{duration(sum(call.ns for call in calls))}: {', '.join(names[:FOLDED_NAMES])}{more}"
    return Text(plain(text), style="dim")
