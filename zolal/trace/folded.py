"""A trace as folded stacks, which flamegraph.pl, speedscope and their like draw: "a;b;call N", a
line for each stack, the outermost function first, N microseconds in all. What took less than one
counts as one: no stack is lost."""

from __future__ import annotations

from collections.abc import Iterator

from zolal.trace.model import Call, Frame, Trace
from zolal.xray.render import PACKAGES, plain


def name_of(frame: Frame) -> str:
    """ "WSGIHandler.__call__ (django/core/handlers/wsgi.py)" """
    file = PACKAGES.sub("", frame.file)
    return f"{frame.function or '...'} ({file})" if file else frame.function or "..."


def _stack(call: Call) -> str:
    names = [*map(name_of, call.stack), call.name]
    return ";".join(plain(name).replace(";", ":") for name in names)


def lines(trace: Trace) -> Iterator[str]:
    """Under the names of their programs where there are several."""
    spent: dict[str, int] = {}
    several = sum(bool(process.calls) for process in trace.processes) > 1
    for process in trace.processes:
        root = plain(f"{process.title} [{process.pid}]").replace(";", ":") + ";" if several else ""
        for call in process.calls:
            stack = root + _stack(call)
            spent[stack] = spent.get(stack, 0) + call.ns
    for stack, ns in sorted(spent.items()):
        yield f"{stack} {max(1, round(ns / 1000))}"
