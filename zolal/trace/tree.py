"""A trace as a tree on a terminal: processes, connections, requests; lines of Python, and the
kernel calls that they made."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from zolal.trace.connections import Connection, Exchange, Story, nested, tell
from zolal.trace.model import Call, Frame, Process, Trace
from zolal.xray.render import PACKAGES, duration, plain

NAMES_SHOWN = 6  # of functions that call one another; of more the first and the last
ALIKE = 8  # calls that differ in nothing but their sizes and times: more are counted


@dataclass
class Line:
    """A line of Python and what happened below it, in its order."""

    frame: Frame
    inside: list[Line | Call] = field(default_factory=list)


def weave(calls: Iterable[Call]) -> list[Line | Call]:
    """Calls under the lines that made them: neighbours share those that they have in common."""
    top: list[Line | Call] = []
    path: list[Line] = []
    for call in calls:
        common = 0
        for line, frame in zip(path, call.stack, strict=False):
            if line.frame != frame:
                break
            common += 1
        del path[common:]
        for frame in call.stack[common:]:
            line = Line(frame)
            (path[-1].inside if path else top).append(line)
            path.append(line)
        (path[-1].inside if path else top).append(call)
    return top


LIBRARY = re.compile(r".*/lib/python3\.\d+/(?:(?:site|dist)-packages/)?")


def place(frame: Frame) -> str:
    """Its file from the folder of its package, or from the current one, and its line."""
    file = PACKAGES.sub("", LIBRARY.sub("", frame.file))
    if file.startswith("/") and file.startswith(os.getcwd() + "/"):
        file = os.path.relpath(file)
    return f"{file}:{frame.line}" if frame.line else file


def chain(frames: Sequence[Frame]) -> Text:
    """ "main > serve > handle  app.py:12": functions that call one another, and the last one's
    line; in brackets what awaits the call."""
    names = [f"({frame.function})" if frame.awaits else frame.function or "..." for frame in frames]
    if len(names) > NAMES_SHOWN:
        left_out = len(names) - NAMES_SHOWN
        names[3 : 3 + left_out + 1] = [f"... {left_out + 1} more ..."]
    text = Text(plain(" > ".join(names)), style="green")
    text.append(f"  {plain(place(frames[-1]))}", style="dim")
    return text


def kernel(call: Call) -> Text:
    text = Text(call.name, style="cyan")
    text.append(f"({plain(call.args)})" + ("  " if call.is_unfinished else " = "))
    text.append(call.outcome, style="bold" if call.result >= 0 else "red")
    if not call.is_unfinished:
        text.append("  " + duration(call.ns), style="dim")
    if call.encrypted:
        text.append("  encrypted", style="magenta")
    elif call.first_line:
        text.append("  " + plain(call.first_line), style="yellow")
    return text


def add_nodes(tree: Tree, nodes: Sequence[Line | Call]) -> None:
    at = 0
    while at < len(nodes):
        node = nodes[at]
        if isinstance(node, Call):
            tree.add(kernel(node))
            at += 1
            continue
        count = 1
        while at + count < len(nodes) and _shape(nodes[at + count]) == _shape(node):
            count += 1
        shown = nodes[at : at + count] if count <= ALIKE else nodes[at : at + 1]
        for line in shown:
            assert isinstance(line, Line)
            _add_line(tree, line)
        if count > ALIKE:
            tree.add(Text(f"... {count - 2} more like this", style="dim"))
            last = nodes[at + count - 1]
            assert isinstance(last, Line)
            _add_line(tree, last)
        at += count


def _add_calls(tree: Tree, calls: Sequence[Call]) -> None:
    from zolal.trace import call_tree

    if call_tree.is_recorded(calls):
        call_tree.add(tree, calls)
    else:
        add_nodes(tree, weave(calls))


def _shape(node: Line | Call) -> object:
    if isinstance(node, Call):
        return (node.name, node.fd, node.result >= 0)
    return (node.frame, tuple(map(_shape, node.inside)))


def _add_line(tree: Tree, line: Line) -> None:
    frames = [line.frame]
    while len(line.inside) == 1 and isinstance(line.inside[0], Line):
        line = line.inside[0]
        frames.append(line.frame)
    add_nodes(tree.add(chain(frames)), line.inside)


def exchange_title(exchange: Exchange) -> Text:
    text = Text(plain(exchange.title), style="bold")
    if exchange.status:
        style = "green" if exchange.status < "400" else "red"
        text.append(f" {exchange.status}", style=style)
    text.append(f", {duration(exchange.ns)}")
    side = "from" if exchange.is_server else "to"
    where = exchange.connection.address
    text.append(f"  {side} {plain(where)}" if where else "", style="dim")
    return text


def _exchange(exchange: Exchange, inner: Sequence[Exchange]) -> Tree:
    root = Tree(exchange_title(exchange))
    calls = [*exchange.calls, *(call for each in inner for call in each.calls)]
    _add_calls(root, sorted(calls, key=lambda call: call.begin_ns))
    line = f"{duration(exchange.ns)}: kernel {duration(exchange.kernel_ns)}"
    if exchange.waiting_ns:
        line += f", waiting {duration(exchange.waiting_ns)}"
    for each in inner:
        line += f"; {each.title} {duration(each.ns)}"
    root.add(Text(plain(line), style="magenta"))
    return root


NAMES = {
    "listening": "listens on",
    "accepted": "connection from",
    "connected": "connection to",
}


def _connection(connection: Connection) -> Tree:
    what = NAMES.get(connection.kind, connection.kind)
    text = Text(f"{what} {plain(connection.address)}".rstrip(), style="bold")
    text.append(f"  descriptor {connection.fd}", style="dim")
    if connection.is_encrypted:
        text.append("  encrypted", style="magenta")
    root = Tree(text)
    _add_calls(root, connection.calls)
    return root


def trees(story: Story) -> Iterable[Tree]:
    """The start, then connections and requests in their order."""
    inner = nested(story)
    told = {id(each) for found in inner.values() for each in found}
    if story.start:
        root = Tree(Text("start", style="bold"))
        _add_calls(root, story.start)
        yield root
    started = {id(call) for call in story.start}
    parts: list[tuple[int, Tree]] = []
    for connection in story.connections:
        left = [call for call in connection.calls if id(call) not in started]
        if left:
            shown = Connection(
                connection.fd,
                connection.number,
                connection.kind,
                connection.address,
                left,
                is_encrypted=connection.is_encrypted,
            )
            parts.append((left[0].begin_ns, _connection(shown)))
        parts += [
            (each.begin_ns, _exchange(each, inner.get(id(each), [])))
            for each in connection.exchanges
            if id(each) not in told
        ]
    parts.sort(key=lambda part: part[0])
    yield from (tree for _, tree in parts)
    if story.rest:
        root = Tree(Text("besides", style="bold"))
        _add_calls(root, story.rest)
        yield root


def process_title(process: Process) -> Text:
    text = Text(f"process {process.pid}", style="bold blue")
    text.append("  " + plain(process.title))
    python = f"Python {process.python}" if process.python else "not Python"
    text.append(f"  {python}", style="dim")
    if process.is_child:
        text.append(f"  child of {process.parent}", style="dim")
    return text


def remarks(process: Process) -> Iterable[str]:
    """What is not to be seen, and why."""
    if process.note:
        yield process.note
    elif any(call.name == "io_uring_setup" for call in process.calls):
        yield "it uses io_uring: with --exact it is seen, too, when it enters the kernel for that"
    if process.filled_up:
        why = "the room for recordings" if process.filled_up == errno.EDQUOT else "memory"
        if process.filled_up == errno.ENOSPC:
            why = "the file system that it is recorded on"
        yield f"{why} was used up: the oldest calls were dropped"
    if process.lost:
        yield f"{process.lost} events were lost"


def show(console: Console, trace: Trace) -> None:
    def show_process(process: Process) -> None:
        if process.calls or process.note or not process.children:
            console.print(process_title(process))
            for remark in remarks(process):
                console.print(Text(plain(remark), style="yellow"))
            for tree in trees(tell(process)):
                console.print(tree)
                console.print()
        for child in process.children:
            show_process(child)

    for root in trace.roots:
        show_process(root)
    console.print(ending(trace))


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else plural}"


def ending(trace: Trace) -> Text:
    calls = sum(len(process.calls) for process in trace.processes)
    text = Text(
        f"{_count(calls, 'kernel call')} in {_count(len(trace.processes), 'process', 'es')}, "
        f"{duration(max(0, trace.ended_ns - trace.began_ns))}, {trace.ended}",
        style="magenta",
    )
    if trace.budget and any(each.filled_up == errno.EDQUOT for each in trace.processes):
        why = f"half of what was free in {plain(trace.cut_by)}" if trace.cut_by else "--max-size"
        text.append(f"\nroom for recordings: {trace.budget >> 20} MiB, {why}", style="yellow")
    if trace.failures:
        why = errno.errorcode.get(trace.failure, str(trace.failure))
        text.append(f"\n{trace.failures} processes could not be recorded: {why}", style="yellow")
    return text
