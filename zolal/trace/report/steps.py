"""Kernel calls one after the other, as a page tells them: below the line of the program that led to
them, each with its words, its page of the manual, and the way that Python took to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from zolal.trace.connections import RECEIVES, WAITS, Connection
from zolal.trace.model import Call, Frame
from zolal.trace.report.drawing import SENDS, kind_of, short
from zolal.trace.report.manual import man_page
from zolal.trace.report.markup import Markup, join, tag
from zolal.trace.report.source import AROUND, LIBRARY, Sources, own_frame
from zolal.trace.report.words import Situation, plural, sentence, took
from zolal.trace.tree import place

ALIKE = 3  # neighbours that differ in sizes and times alone: more are counted
STEPS = 48  # of a chapter
WAY = 7  # names of functions on the way to a call: of more the first and the last
LONGEST = 400  # characters of a call's arguments
AROUND_OWN = 4  # lines before and after one of the program itself
TOGETHER = 14  # lines of a function that are quoted as one piece
IMPORTING = "<frozen importlib"
OPENED = frozenset(["socket", "bind", "listen", "accept", "accept4", "connect", "recv", "send"])
"""What a reader sees Python's own lines of without asking, the first time."""


@dataclass
class Step:
    """A call, and how many that are like it follow."""

    call: Call
    alike: list[Call] = field(default_factory=list)
    left_out: int = 0  # calls before it that are not told


@dataclass
class Scene:
    """Neighbours that one function of the program led to, by lines that can be quoted together."""

    first: Frame | None
    steps: list[Step]
    lines: set[int]


def scenes(steps: Sequence[Step]) -> list[Scene]:
    found: list[Scene] = []
    for step in steps:
        frame, last = own_frame(step.call.stack), found[-1] if found else None
        if last and last.steps[0].call.tid == step.call.tid:
            if frame is None and last.first is None:
                last.steps.append(step)
                continue
            if frame and last.first and frame[:2] == last.first[:2]:
                lines = last.lines | {frame.line}
                if max(lines) - min(lines) < TOGETHER:
                    last.steps.append(step)
                    last.lines = lines
                    continue
        found.append(Scene(frame, [step], {frame.line} if frame else set()))
    return found


def _shape(call: Call) -> object:
    return (call.tid, call.name, call.fd, call.result >= 0, call.stack)


def fold(calls: Sequence[Call]) -> list[Step]:
    found: list[Step] = []
    run = 0
    for call in calls:
        same = bool(found) and _shape(found[-1].call) == _shape(call)
        run = run + 1 if same else 1
        if run > ALIKE:
            found[-1].alike.append(call)
        else:
            found.append(Step(call))
    return found


def choose(calls: Sequence[Call], wanted: set[int], most: int = STEPS) -> tuple[list[Step], int]:
    """At most so many steps: those whose calls' ids are wanted, then the first ones; and how many
    calls are left out behind the last."""
    steps = fold(calls)
    if len(steps) > most:
        ranked = sorted(range(len(steps)), key=lambda at: (id(steps[at].call) not in wanted, at))
        kept = set(ranked[:most])
    else:
        kept = set(range(len(steps)))
    found: list[Step] = []
    left_out = 0
    for at, step in enumerate(steps):
        if at in kept:
            step.left_out, left_out = left_out, 0
            found.append(step)
        else:
            left_out += 1 + len(step.alike)
    return found, left_out


class StepWriter:
    """Writes steps, numbered through the page; what a call is for is said at length once."""

    def __init__(self, sources: Sources, roles: dict[int, Connection], main_tid: int) -> None:
        self.numbers: dict[int, int] = {}  # by the calls' id
        self._sources = sources
        self._roles = roles
        self._main_tid = main_tid
        self._known: set[object] = set()
        self._before: tuple[Frame, ...] = ()  # the way to the call before, in this scene
        self._opened: set[str] = set()
        self._quoted: set[tuple[str, tuple[int, ...]]] = set()  # with their surroundings

    def write(self, calls: Sequence[Call], wanted: set[int] | None = None) -> Markup:
        steps, left_out = choose(calls, wanted or set())
        return join(*map(self._scene, scenes(steps)), _left_out(left_out, "p"))

    def _scene(self, scene: Scene) -> Markup:
        self._before = ()
        tid = scene.steps[0].call.tid
        thread = tag("span", f"thread {tid}", class_="chip") if tid != self._main_tid else None
        if scene.first is None:
            left = join(
                tag("p", "No line of Python led here, or none is known.", thread, class_="where")
            )
        else:
            lines = tuple(sorted(scene.lines))
            key = (scene.first.file, lines)
            around = AROUND if LIBRARY.search(scene.first.file) else AROUND_OWN
            around = 0 if key in self._quoted else around
            self._quoted.add(key)
            left = join(
                self._heading(scene.first, thread), self._quote(scene.first.file, lines, around)
            )
        items = [item for step in scene.steps for item in self._step(step, len(scene.lines) > 1)]
        return tag(
            "section",
            tag("div", left, class_="lines"),
            tag("ol", *items, class_="steps"),
            class_="scene",
        )

    def _heading(self, frame: Frame, thread: Markup | None = None) -> Markup:
        return tag(
            "p",
            tag("b", short(_name(frame), 80)),
            " ",
            tag("span", place(frame), class_="file"),
            thread,
            class_="where",
        )

    def _quote(self, file: str, marked: Sequence[int], around: int = AROUND) -> Markup:
        """Lines with their neighbours, or why they cannot be shown."""
        found = self._sources.quote(file, marked[0], marked[-1], around)
        remark = tag("p", found.remark, class_="remark") if found.remark else None
        if not found.lines:
            return join(remark)
        lines = []
        for number, line in found.lines:
            is_it = number in marked
            inside = join(tag("span", str(number), class_="no"), line or " ")
            lines.append(tag("mark" if is_it else "span", inside, class_="ln"))
        code = tag("code", *lines)
        label = f"{file}, line {', '.join(map(str, marked))}"
        return join(tag("pre", code, tabindex="0", role="group", aria_label=label), remark)

    def _step(self, step: Step, says_line: bool) -> Iterator[Markup]:
        call, own = step.call, own_frame(step.call.stack)
        if step.left_out:
            yield _left_out(step.left_out)
        number = self.numbers[id(call)] = len(self.numbers) + 1
        kind = kind_of(call.name)
        what: object = call.name if call.result >= 0 else call.result
        last = call.stack[-1] if call.stack else None
        now = Situation(self._roles.get(id(call)), last, what in self._known)
        if not now.is_trial and (call.name not in WAITS or call.result):
            self._known.add(what)
        said = sentence(call, now)
        page, address = man_page(call.name)
        line = tag("span", f"line {own.line}", class_="at") if own and says_line else None
        inside = [
            tag(
                "p",
                tag("a", str(number), class_=f"number k-{kind}", href=f"#step-{number}"),
                self._code(call),
                None if call.is_unfinished else tag("span", took(call.ns), class_="took"),
                class_="call",
            ),
            tag("p", line, said, " ", tag("a", page, href=address, class_="man"), class_="said"),
            self._way(call, own),
        ]
        yield tag("li", *inside, id=f"step-{number}", class_="step")
        if step.alike:
            spent = took(sum(each.ns for each in step.alike))
            moved = sum(max(0, each.result) for each in step.alike if kind in ("receive", "send"))
            more = f"… and {len(step.alike):,} more like this one, {spent} together"
            more += f", {plural(moved, 'byte')}" if moved else ""
            yield tag("li", more, class_="more")

    def _code(self, call: Call) -> Markup:
        failed = call.result < 0
        return tag(
            "code",
            tag("b", call.name),
            f"({short(call.args, LONGEST)})" + (" " if call.is_unfinished else " = "),
            tag("span", call.outcome, class_="failed" if failed else "result"),
        )

    def _way(self, call: Call, own: Frame | None) -> Markup | None:
        """From the program's line down to the library's that made the call, as far as it is another
        than that to the call before."""
        before, self._before = self._before, call.stack
        if not call.stack or call.stack[-1] == own or call.stack == before:
            return None
        inner = list(call.stack)
        if own and own in inner:
            inner = inner[len(inner) - inner[::-1].index(own) :]
        common = 0
        for old, new in zip(before, call.stack, strict=False):
            if old != new:
                break
            common += 1
        shared = max(0, common - (len(call.stack) - len(inner)))
        names = [_name(frame) for frame in inner[shared:] if not frame.file.startswith(IMPORTING)]
        names[:0] = ["…"] if shared else []
        if len(names) > WAY:
            names[2 : len(names) - WAY + 3] = ["…"]
        last = call.stack[-1]
        name = "recv" if call.name in RECEIVES else "send" if call.name in SENDS else call.name
        is_open = name in OPENED and name not in self._opened and call.result >= 0
        self._opened.add(name if is_open else "")
        return tag(
            "details",
            tag("summary", "through ", tag("span", " › ".join(names), class_="names")),
            self._heading(last),
            self._quote(last.file, (last.line,)),
            open=is_open,
        )


def _name(frame: Frame) -> str:
    if frame.function == "<module>":
        folder, name = os.path.split(frame.file)
        name = os.path.basename(folder) if name == "__init__.py" else name.removesuffix(".py")
        return f"module {name}"
    return frame.function or "…"


def _left_out(count: int, name: str = "li") -> Markup:
    if not count:
        return Markup()
    return tag(name, f"… {plural(count, 'call')} left out here", class_="more")
