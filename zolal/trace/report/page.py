"""The page: its head, and the chapters."""

from __future__ import annotations

import os
import time
from importlib.resources import files

from zolal.trace.model import Trace
from zolal.trace.report import drawing
from zolal.trace.report.cast import choose
from zolal.trace.report.chapters import Chapters
from zolal.trace.report.markup import Markup, join, tag
from zolal.trace.report.words import plural, took

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def name_of(program: list[str]) -> str:
    """ "python3 app.py" """
    words = [os.path.basename(program[0]), *program[1:]] if program else ["a program"]
    return drawing.short(" ".join(words), 120)


class Page:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.cast = choose(trace)
        self._chapters = Chapters(self.cast)

    def html(self) -> str:
        chapters = join(*self._chapters.write())
        style = files("zolal.trace.report").joinpath("style.css").read_text("utf-8")
        title = f"The journey of {name_of(self.trace.command)}"
        head = tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("style", Markup(style)),
        )
        body = tag(
            "body",
            tag("a", "To the story", href="#story", class_="skip"),
            self._header(),
            tag("main", chapters, id="story"),
            tag(
                "footer",
                "Made by zolal trace. The file is complete in itself: keep it, send it, print it.",
            ),
        )
        return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"

    # ---------------------------------------------------------------------------------- the head

    def _header(self) -> Markup:
        trace, calls = self.trace, sum(len(each.calls) for each in self.trace.processes)
        pythons = sorted({each.python for each in trace.processes if each.python})
        try:
            began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(trace.began_ns / 1e9))
        except (OverflowError, OSError, ValueError):
            began = "at no time"  # the recording is damaged
        facts = [
            ("Python", ", ".join(pythons) or "none seen"),
            ("began", began),
            ("took", took(max(0, trace.ended_ns - trace.began_ns))),
            ("kernel calls", f"{calls:,}"),
            ("processes", f"{len(trace.processes):,}"),
            ("ended with", trace.ended),
        ]
        links = [
            tag("li", tag("a", title, href=f"#{name}"))
            for _, (name, title) in sorted(self._chapters.titles.items())
        ]
        return tag(
            "header",
            tag("p", "A program's journey through the kernel", class_="eyebrow"),
            tag("h1", tag("code", name_of(trace.command))),
            tag("p", self._abstract(), class_="abstract"),
            tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in facts), class_="facts"),
            tag("nav", tag("ol", *links), aria_label="Chapters"),
        )

    def _abstract(self) -> str:
        cast = self.cast
        if not cast.stories:
            return "While it was watched, this program asked nothing of the kernel's network."
        if cast.first is None:
            what = (
                f"It listened on {cast.address}, but nobody called."
                if cast.listener
                else "It made no connection, and nobody connected to it."
            )
            return what + " What it asked of the kernel's network stands here."
        connections, answered = len(cast.connections), len(cast.exchanges)
        if cast.is_server:
            where = f" listened on {cast.address}," if cast.listener else ""
            said = f"This program{where} took {plural(connections, 'connection')}"
            said += f" and answered {plural(answered, 'request')}" if answered else ""
        else:
            said = f"This program made {plural(connections, 'connection')}"
            said += f" and sent {plural(answered, 'request')} over them" if answered else ""
        return (
            said
            + ". Here is what it asked of the kernel on the way, and which lines of Python did."
        )
