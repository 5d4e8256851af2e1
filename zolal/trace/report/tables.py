"""What the page folds away: tables, processes, words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from zolal.trace.connections import Exchange
from zolal.trace.model import Process, Trace
from zolal.trace.report.cast import Cast
from zolal.trace.report.drawing import short
from zolal.trace.report.manual import man_page
from zolal.trace.report.markup import Markup, join, tag
from zolal.trace.report.words import plural, took
from zolal.trace.summary import Row, line_of, names_of_errors, rows
from zolal.trace.tree import remarks

ROWS = 20
PROCESSES = 100
DEEPEST = 20


def table(headings: Sequence[str], lines: Iterable[Sequence[object]]) -> Markup:
    """The first column holds names, the others figures."""
    head = tag("tr", *(tag("th", each, scope="col") for each in headings))
    body = [
        tag("tr", tag("th", line[0], scope="row"), *(tag("td", each) for each in line[1:]))
        for line in lines
    ]
    inner = tag("table", tag("thead", head), tag("tbody", *body))
    return tag("div", inner, class_="wide", tabindex="0", role="region", aria_label=headings[0])


def folded(title: str, *inside: object) -> Markup:
    return tag("details", tag("summary", title), *inside, class_="big")


def requests(exchanges: Sequence[Exchange]) -> Markup:
    """Alike ones together: of one method and path, whatever stands behind the question mark."""
    found: dict[tuple[str, str], list[int]] = {}
    for each in exchanges:
        key = (each.title.partition("?")[0], each.status or "–")
        found.setdefault(key, []).append(each.ns)
    ranked = sorted(found.items(), key=lambda item: -sum(item[1]))
    lines = [
        (
            tag("code", short(title, 90)),
            status,
            f"{len(times):,}",
            took(int(median(times))),
            took(max(times)),
        )
        for (title, status), times in ranked[:ROWS]
    ]
    more = None
    if len(ranked) > ROWS:
        count = sum(len(times) for _, times in ranked[ROWS:])
        kinds = plural(len(ranked) - ROWS, "more kind")
        more = tag("p", f"… and {kinds}, {plural(count, 'request')}", class_="more")
    return join(table(("request", "status", "count", "median", "slowest"), lines), more)


def _rows(found: list[Row], name: str, is_call: bool) -> Markup:
    lines = []
    for row in found[:ROWS]:
        label: object = tag("code", short(row.name, 160))
        if is_call:
            label = tag("a", label, href=man_page(row.name)[1])
        figures = (
            took(row.ns),
            took(row.ns // row.count),
            row.errors or "",
            f"{row.moved:,}" if row.moved else "",
        )
        lines.append((label, f"{row.count:,}", *figures))
    more = plural(len(found) - ROWS, f"more {name}")
    rest = tag("p", f"… and {more}", class_="more") if len(found) > ROWS else None
    return join(table((name, "count", "time", "each", "errors", "bytes"), lines), rest)


def summary(trace: Trace) -> list[Markup]:
    calls = trace.calls
    if not calls:
        return []
    errors = names_of_errors(calls)
    failed = tag("p", f"Errors: {errors}", class_="dim") if errors else None
    return [
        folded("By kernel call", _rows(rows(calls, lambda call: call.name), "call", True), failed),
        folded("By line of Python", _rows(rows(calls, line_of), "line", False)),
    ]


def processes(trace: Trace, cast: Cast) -> Markup:
    """Who has started whom, and what of each was seen."""
    requests_of = {id(story.process): len(story.exchanges) for story in cast.stories}
    left = PROCESSES

    def one(process: Process, depth: int) -> Markup:
        nonlocal left
        left -= 1
        counts = [plural(len(process.calls), "kernel call")]
        if count := requests_of.get(id(process), 0):
            counts.append(plural(count, "request"))
        counts.append(f"Python {process.python}" if process.python else "no Python seen")
        children = [
            one(child, depth + 1) for child in process.children if left > 0 and depth < DEEPEST
        ]
        return tag(
            "li",
            tag("code", short(process.title, 200)),
            tag("span", f" process {process.pid}: {', '.join(counts)}", class_="dim"),
            *(tag("p", remark, class_="remark") for remark in remarks(process)),
            tag("ul", *children) if children else None,
        )

    found = [one(root, 0) for root in trace.roots if left > 0]
    rest = len(trace.processes) - (PROCESSES - left)
    more = tag("p", f"… and {plural(rest, 'more process', 'more processes')}", class_="more")
    title = plural(len(trace.processes), "process", "processes")
    failures = None
    if trace.failures:
        said = plural(trace.failures, "process", "processes")
        failures = tag("p", f"{said} could not be recorded.", class_="remark")
    return folded(title, tag("ul", *found, class_="tree"), more if rest > 0 else None, failures)


WORDS = (
    (
        "kernel",
        "The part of the operating system that alone may use the hardware and that all programs "
        "share: it keeps the sockets, sends the packets, and lets programs run or sleep.",
    ),
    (
        "kernel call, system call",
        "A program's request to the kernel. The processor changes over to the kernel and back, "
        "which takes from a fraction of a microsecond on.",
    ),
    (
        "descriptor",
        "A small number by which a program names something that the kernel keeps for it: a socket, "
        "a file, an epoll. The lowest free one is given out, so numbers come back.",
    ),
    (
        "socket",
        "An end point of a conversation. A listening one only brings forth others; a connected one "
        "has bytes going in and out.",
    ),
    (
        "blocking, non-blocking",
        "A call on a blocking socket sleeps until it can be done. On a non-blocking one it fails "
        "with EAGAIN instead: whoever serves many at once, as asyncio does, cannot afford to sleep "
        "for one of them.",
    ),
    (
        "poll, select, epoll",
        "Calls that sleep until something happens on one of many descriptors.",
    ),
    (
        "= -1 EAGAIN",
        "A result of -1 is a failure, and behind it stands which: EAGAIN is “not now”. The list is "
        "in errno(3).",
    ),
    (
        "man 2 accept",
        "Section 2 of the manual has a page for each kernel call: what it takes, what it gives "
        "back, what can go wrong.",
    ),
)


def glossary() -> Markup:
    entries = [join(tag("dt", word), tag("dd", meaning)) for word, meaning in WORDS]
    return folded("Words", tag("dl", *entries, class_="words"))
