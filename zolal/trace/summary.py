"""A trace as tables: by call, by line of Python, and by function where these were recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from zolal.trace.model import Call, Trace
from zolal.trace.python_calls import Function, functions
from zolal.trace.tree import ending, place, remarks
from zolal.xray.render import PACKAGES, duration, plain

MOVES = frozenset(
    "recvfrom sendto recvmsg sendmsg read write readv writev sendfile splice".split(),
)
LINES_SHOWN = 30
FUNCTIONS_SHOWN = 40


@dataclass
class Row:
    """What calls have in common."""

    name: str
    count: int = 0
    ns: int = 0
    errors: int = 0
    moved: int = 0  # bytes

    def take(self, call: Call) -> None:
        self.count += 1
        self.ns += call.ns
        self.errors += bool(call.error)
        self.moved += call.result if call.name in MOVES and call.result > 0 else 0


def rows(calls: Iterable[Call], name: Callable[[Call], str]) -> list[Row]:
    """By name, those that took most time first."""
    found: dict[str, Row] = {}
    for call in calls:
        key = name(call)
        found.setdefault(key, Row(key)).take(call)
    return sorted(found.values(), key=lambda row: -row.ns)


def line_of(call: Call) -> str:
    """The line that made the call, and the call."""
    if not call.stack:
        return f"{call.name}: no Python"
    frame = call.stack[-1]
    return f"{call.name}: {frame.function}, {place(frame)}"


def _table(title: str, found: list[Row]) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for heading in ("count", "time", "each", "errors", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("call" if title == "by call" else "line", overflow="fold")
    for row in found:
        table.add_row(
            str(row.count),
            duration(row.ns),
            duration(row.ns // row.count),
            str(row.errors or ""),
            str(row.moved or ""),
            plain(row.name),
        )
    return table


def _functions(found: list[Function]) -> Table:
    table = Table(title="by function", title_justify="left", box=None, header_style="bold")
    for heading in ("count", "time", "own time", "raised"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("function", overflow="fold")
    for each in found:
        table.add_row(
            str(each.count),
            duration(each.ns),
            duration(each.own_ns),
            str(each.raised or ""),
            plain(PACKAGES.sub("", each.name)),
        )
    return table


def names_of_errors(calls: Iterable[Call]) -> str:
    """ "EAGAIN 12, ECONNRESET 1" """
    counts: dict[str, int] = {}
    for call in calls:
        if call.error:
            counts[call.error] = counts.get(call.error, 0) + 1
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def show(console: Console, trace: Trace) -> None:
    calls = trace.calls
    console.print(_table("by call", rows(calls, lambda call: call.name)))
    console.print()
    lines = rows(calls, line_of)
    console.print(_table("by line", lines[:LINES_SHOWN]))
    if len(lines) > LINES_SHOWN:
        console.print(f"... and {len(lines) - LINES_SHOWN} more lines")
    if found := functions(trace.processes):
        console.print()
        console.print(_functions(found[:FUNCTIONS_SHOWN]))
        if len(found) > FUNCTIONS_SHOWN:
            console.print(f"... and {len(found) - FUNCTIONS_SHOWN} more functions")
    if errors := names_of_errors(calls):
        console.print(f"\nerrors: {errors}")
    console.print()
    for process in trace.processes:
        for remark in remarks(process):
            console.print(f"process {process.pid}: {plain(remark)}", style="yellow")
    console.print(ending(trace))
