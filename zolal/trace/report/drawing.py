"""The page's drawings: SVG for what has a shape, boxes in per cent for what lies along a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log1p

from zolal.trace.connections import RECEIVES, WAITS, Connection
from zolal.trace.model import Call
from zolal.trace.report.cast import calls_of
from zolal.trace.report.manual import man_page
from zolal.trace.report.markup import Markup, join, tag, text
from zolal.trace.report.words import plural, took
from zolal.trace.summary import Row as SummaryRow

SENDS = frozenset("sendto sendmsg sendmmsg write writev sendfile splice".split())
ENDS = frozenset(["close", "shutdown"])
ROWS = 26  # of the drawing of lives
LANES = 4
COLUMNS = 60  # of the drawing of a run
MOST = 10  # kernel calls that are counted in a drawing


def kind_of(name: str) -> str:
    """Which colour a call has: "wait", "receive", "send", "end", or "set up"."""
    if name in WAITS:
        return "wait"
    if name in RECEIVES:
        return "receive"
    return "send" if name in SENDS else "end" if name in ENDS else "set"


KINDS = {
    "set": "makes and sets up",
    "wait": "waits",
    "receive": "receives",
    "send": "sends",
    "end": "ends",
}


def short(value: str, most: int) -> str:
    return value if len(value) <= most else value[: most - 1] + "…"


# ------------------------------------------------------------------------ the lives of the sockets


@dataclass
class Row:
    """Something that happens to a socket."""

    at_ns: int
    connection: Connection
    label: str
    kind: str
    parent: Connection | None = None  # that has given birth to it
    call: int = 0  # the id of the first
    count: int = 1
    moved: int = 0


def _label(call: Call, connection: Connection) -> str:
    if call.result < 0:
        return f"{call.name} {call.error or call.outcome}"
    if call.name == "bind":
        return f"bind {connection.address}"
    if call.name == "connect":
        return f"connect {connection.address}"
    if call.name.startswith("accept"):
        return f"{call.name} {connection.address or 'a caller'}"
    return call.name


def rows(connections: Sequence[Connection], listener: Connection | None) -> list[Row]:
    """What is worth a mark, neighbours of a kind together."""
    shown = RECEIVES | SENDS | ENDS | {"socket", "bind", "listen", "connect", "accept", "accept4"}
    events = [
        (call, each)
        for each in connections
        for call in calls_of(each)
        if call.name in shown and (call.result >= 0 or call.name == "connect")
    ]
    found: list[Row] = []
    for call, connection in sorted(events, key=lambda event: event[0].begin_ns):
        kind = kind_of(call.name)
        last = found[-1] if found else None
        is_more = last and last.connection is connection and last.kind == kind
        if last and is_more and kind in ("receive", "send"):
            last.count += 1
            last.moved += call.result
            continue
        parent = listener if call.name.startswith("accept") else None
        row = Row(call.end_ns, connection, _label(call, connection), kind, parent, id(call))
        row.moved = call.result if kind in ("receive", "send") else 0
        if call.first_line:
            row.label += f" {call.first_line}"
        found.append(row)
    return found


LANE, STEP = 26, 28  # pixels from line to line, and from row to row


def lives(
    connections: Sequence[Connection],
    listener: Connection | None,
    began_ns: int,
    numbers: dict[int, int],
) -> Markup:
    """Sockets as lines from their making to their end, time running down. Not to scale. Each event
    is a link to its step: `numbers` by the calls' id."""
    connections = list(connections)[:LANES]
    found = rows(connections, listener)
    hidden = len(found) - ROWS
    found = found[:ROWS]
    x_of = {id(each): 12 + LANE * at for at, each in enumerate(connections)}
    width, height = LANE * len(connections), STEP * (len(found) + 1)
    parts: list[Markup] = []
    for connection in connections:
        own = [at for at, row in enumerate(found) if row.connection is connection]
        if not own:
            continue
        x = x_of[id(connection)]
        begin = _y(own[0])
        end = _y(own[-1]) if found[own[-1]].label == "close" else height
        style = "life listening" if connection is listener else "life"
        parts.append(tag("line", class_=style, x1=x, y1=begin, x2=x, y2=end))
        parts.append(tag("text", text(connection.fd), class_="fd", x=x, y=begin - 11))
    for at, row in enumerate(found):
        parts += _marks(row, _y(at), x_of, width)
    size = {"viewBox": f"0 0 {width} {height}", "width": width, "height": height}
    svg = tag("svg", *parts, aria_hidden="true", **size)
    events = [_event(row, began_ns, numbers) for row in found]
    if hidden > 0:
        more = f"… and {plural(hidden, 'more event')} of these sockets"
        events.append(tag("li", tag("span"), tag("span", more, class_="dim")))
    style = f"--lanes:{width}px;--step:{STEP}px"
    return tag("div", svg, tag("ol", *events), class_="lives", style=style)


def _y(row: int) -> int:
    return STEP * row + STEP * 3 // 2


def _marks(row: Row, y: int, x_of: dict[int, int], width: int) -> Iterable[Markup]:
    x = x_of[id(row.connection)]
    if row.parent is not None and id(row.parent) in x_of:
        from_x = x_of[id(row.parent)]
        bend = f"M{from_x} {y - STEP + 6} C{from_x} {y} {from_x + 8} {y} {x - 6} {y}"
        yield tag("path", class_="birth", d=bend)
    yield tag("line", class_="lead", x1=x + 8, y1=y, x2=width, y2=y)
    yield tag("circle", class_=f"k-{row.kind}", cx=x, cy=y, r=5.5)


def _event(row: Row, began_ns: int, numbers: dict[int, int]) -> Markup:
    name, _, rest = row.label.partition(" ")
    said: list[object] = [tag("b", name)]
    if row.kind in ("receive", "send"):
        said.append(f" {plural(row.moved, 'byte')}" if row.moved else " the end")
        said.append(f" in {row.count} calls" if row.count > 1 else "")
    said.append(f" {rest}" if rest else "")
    number = numbers.get(row.call)
    label = tag("a" if number else "span", *said, href=f"#step-{number}" if number else None)
    where = tag("span", f" (socket {row.connection.fd})", class_="unseen")
    return tag("li", tag("span", took(row.at_ns - began_ns), class_="time"), label, where)


def birth(listener: Connection | None, made: Connection, listens_on: str) -> Markup:
    """How a connection comes about: the caller, the listening socket, the new one."""
    number = listener.fd if listener else "?"
    boxes = [
        (2, 70, 140, "caller", made.address or "a caller", "somewhere else"),
        (204, 4, 214, "listening", f"socket {number}", f"listens on {listens_on}"),
        (204, 136, 214, "accepted", f"socket {made.fd}", "is this one connection"),
    ]
    parts: list[Markup] = [
        tag("path", class_="arrow", d="M142 86 C 174 80 168 42 197 38"),
        tag("text", "1 calls", class_="label", x=166, y=34, text_anchor="end"),
        tag("path", class_="arrow strong", d="M311 66 L311 129"),
        tag("text", "2 accept", class_="label", x=322, y=102),
        tag("path", class_="arrow", d="M142 114 C 174 120 168 160 197 164"),
        tag("text", "3 bytes, both ways", class_="label", x=166, y=182, text_anchor="end"),
    ]
    for x, y, width, kind, first, second in boxes:
        parts.append(tag("rect", class_=f"box {kind}", x=x, y=y, width=width, height=60, rx=10))
        middle = x + width // 2
        parts.append(tag("text", short(first, width // 8), class_="name", x=middle, y=y + 26))
        parts.append(tag("text", short(second, width // 7), class_="note", x=middle, y=y + 45))
    marker = tag(
        "defs",
        tag(
            "marker",
            tag("path", d="M0 0 L8 4 L0 8 z", class_="head"),
            id="head",
            markerWidth=8,
            markerHeight=8,
            refX=7,
            refY=4,
            orient="auto",
        ),
    )
    title = "A caller reaches the listening socket; accept makes a new socket for the connection"
    box = {"viewBox": "0 0 420 200", "class": "birth"}
    svg = tag("svg", tag("title", title), marker, *parts, role="img", **box)
    return tag("div", svg, class_="wide", tabindex="0", role="region", aria_label=title)


# ------------------------------------------------------------------------------- times on a line


class Scale:
    """From times to per cent of a line, long stretches drawn shorter: all is to be seen."""

    def __init__(self, times: Iterable[int]) -> None:
        self._times = sorted(set(times))
        self._at = [0.0]
        for before, after in zip(self._times, self._times[1:], strict=False):
            self._at.append(self._at[-1] + log1p((after - before) / 2000) + 0.15)
        self._known = dict(zip(self._times, self._at, strict=False))
        self._whole = self._at[-1] or 1.0

    def __call__(self, time: int) -> float:
        """`time`: one of those it was made of."""
        return 100 * self._known[time] / self._whole


def line(calls: Sequence[Call], numbers: dict[int, int]) -> Markup:
    """Calls on a line, each a link to its step: `numbers` by the calls' id."""
    begin = min(call.begin_ns for call in calls)
    end = max(call.end_ns for call in calls)
    scale = Scale(time for call in calls for time in (call.begin_ns, call.end_ns))
    bars = []
    for call in calls:
        left, right = scale(call.begin_ns), scale(call.end_ns)
        number = numbers.get(id(call))
        bars.append(
            tag(
                "a",
                str(number) if number and right - left > 2.6 else "",
                class_=f"bar k-{kind_of(call.name)}" + (" roomy" if right - left > 7 else ""),
                style=f"left:{left:.2f}%;width:{max(0.35, right - left):.2f}%",
                href=f"#step-{number}" if number else None,
                title=f"{call.name}, {took(call.ns)}",
                tabindex="-1",
            )
        )
    marks: list[Markup] = []
    last = -100.0
    for time in sorted({call.begin_ns for call in calls} | {end}):
        at = scale(time)
        if (at - last >= 14 and at <= 78) or time == end:
            edge = " last" if time == end else ""
            marks.append(
                tag(
                    "span",
                    took(time - begin) if marks else "0",
                    class_="tick" + edge,
                    style=f"left:{at:.2f}%",
                )
            )
            last = at
    return tag(
        "div",
        tag("div", *bars, class_="bars"),
        tag("div", *marks, class_="ticks"),
        class_="line",
        aria_hidden="true",
    )


def percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 1 else "<1 %"


def shares(parts: Sequence[tuple[str, str, int]]) -> Markup:
    """Kinds of time as shares of the whole: (class, what, ns), with their figures below."""
    whole = sum(ns for _, _, ns in parts) or 1
    bars = [
        tag("span", class_=f"share {name}", style=f"width:{100 * ns / whole:.2f}%")
        for name, _, ns in parts
        if ns
    ]
    legend = [
        tag(
            "li",
            tag("span", class_=f"dot {name}"),
            f" {what} ",
            tag("b", took(ns)),
            tag("span", f" {percent(ns, whole)}", class_="dim"),
        )
        for name, what, ns in parts
        if ns
    ]
    return join(
        tag("div", *bars, class_="shares", aria_hidden="true"), tag("ul", *legend, class_="legend")
    )


def run(calls: Sequence[Call], began_ns: int, ended_ns: int) -> Markup:
    """How many kernel calls at which time of the run, as columns: to scale."""
    span = max(1, ended_ns - began_ns)
    counts = [0] * COLUMNS
    for call in calls:
        at = (call.begin_ns - began_ns) * COLUMNS // span
        counts[min(COLUMNS - 1, max(0, at))] += 1
    highest = log1p(max(counts, default=1) or 1)
    columns = [
        tag(
            "i",
            style=f"height:{100 * log1p(count) / highest:.0f}%",
            class_=None if count else "none",
        )
        for count in counts
    ]
    ticks = [
        tag(
            "span",
            took(span * at // 2) if at else "0",
            class_="tick last" if at == 2 else "tick",
            style=f"left:{50 * at}%",
        )
        for at in range(3)
    ]
    return tag(
        "div",
        tag("div", *columns, class_="columns"),
        tag("div", *ticks, class_="ticks"),
        class_="run",
        role="img",
        aria_label="Kernel calls over the time of the run",
    )


def counts(found: Sequence[SummaryRow]) -> Markup:
    """Kernel calls by name, as bars: those that were made most."""
    shown = sorted(found, key=lambda row: -row.count)[:MOST]
    highest = max((row.count for row in shown), default=1)
    lines = [
        tag(
            "li",
            tag("a", row.name, href=man_page(row.name)[1]),
            tag(
                "span",
                tag(
                    "i",
                    class_=f"k-{kind_of(row.name)}",
                    style=f"width:{100 * row.count / highest:.1f}%",
                ),
                aria_hidden="true",
            ),
            tag("b", f"{row.count:,}"),
            tag("span", took(row.ns), class_="dim"),
        )
        for row in shown
    ]
    return tag("ul", *lines, class_="counts")
