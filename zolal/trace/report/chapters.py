"""The page's chapters, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from zolal.trace.connections import RECEIVES, WAITS, Connection, Exchange, Story
from zolal.trace.model import Call
from zolal.trace.report import drawing
from zolal.trace.report.cast import (
    KINDS_OF_CONNECTION,
    Cast,
    calls_of,
    in_order,
    inner_of,
    wait_before,
    with_waits,
)
from zolal.trace.report.markup import Markup, join, tag
from zolal.trace.report.source import Sources
from zolal.trace.report.steps import StepWriter
from zolal.trace.report.tables import glossary, processes, requests, summary
from zolal.trace.report.words import LONG_NS, plural, took
from zolal.trace.summary import rows

BARS = 160  # calls that are drawn on one line


def spent(calls: Sequence[Call]) -> list[tuple[str, str, int]]:
    """Where the time from the first call's beginning to the last one's end went."""
    waiting = kernel = covered = 0
    latest = calls[0].begin_ns
    for call in calls:
        own = max(0, call.end_ns - max(latest, call.begin_ns))
        latest = max(latest, call.end_ns)
        covered += own
        slow = call.ns >= LONG_NS and call.name in RECEIVES | {"accept", "accept4", "connect"}
        if call.name in WAITS or slow:
            waiting += own
        else:
            kernel += own
    python = max(0, latest - calls[0].begin_ns - covered)
    return [
        ("waiting", "waiting for others", waiting),
        ("kernel", "the kernel at work", kernel),
        ("python", "Python, between the calls", python),
    ]


class Chapters:
    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.trace = cast.trace
        self.titles: dict[int, tuple[str, str]] = {}  # number -> id, title
        main = cast.main.process.pid if cast.main else 0
        self.steps = StepWriter(Sources(cast.trace.ended_ns), cast.roles, main)
        self._at = 0  # the number of the one that is being written

    def write(self) -> list[Markup]:
        """All of them; then `titles` has theirs."""
        cast, first, listener = self.cast, self.cast.first, self.cast.listener
        tell: list[Callable[[], Markup]] = []
        if cast.main is None:
            tell.append(self._nothing)
        else:
            tell += [self._glance, self._start]
        if first:
            tell += [lambda: self._connection(first), lambda: self._conversation(first)]
            if len(cast.exchanges) > 1 or len(cast.connections) > 1:
                tell.append(self._others)
        if listener:
            tell.append(lambda: self._end(listener))
        tell.append(self._more)
        found: dict[int, Markup] = {}
        # The first has links to what the others number.
        for at in [*range(1, len(tell)), 0]:
            self._at = at + 1
            found[at] = tell[at]()
        return [found[at] for at in range(len(tell))]

    def _chapter(self, name: str, title: str, *inside: object) -> Markup:
        self.titles[self._at] = (name, title)
        number = tag("span", str(self._at), class_="chapter")
        return tag("section", tag("h2", number, title), *inside, id=name, class_="part")

    def _nothing(self) -> Markup:
        said = (
            "It opened no socket, waited for none and connected to nobody. Calls for files and "
            "memory are not part of this story."
        )
        return self._chapter("nothing", "Nothing to tell", tag("p", said))

    def _glance(self) -> Markup:
        cast, trace = self.cast, self.trace
        how = tag(
            "p",
            "A program computes by itself, but it cannot touch the network by itself: only the "
            "kernel can. So it asks, by a ",
            tag("em", "kernel call"),
            " (or system call), waits for the answer, and goes on. Each call has a name, "
            "arguments, a result, and takes its time; below, each stands next to the line of "
            "Python that led to it.",
        )
        legend = tag(
            "ul",
            *(
                tag("li", tag("span", class_=f"dot k-{kind}"), " " + what)
                for kind, what in drawing.KINDS.items()
            ),
            class_="legend",
        )
        sockets = self._sockets()
        lives = tag(
            "figure",
            drawing.lives(sockets, cast.listener, trace.began_ns, self.steps.numbers),
            tag(
                "figcaption",
                "The sockets and their lives, from top to bottom. Each line is a socket with its "
                "descriptor's number; times count from the program's start. Not to scale.",
            ),
        )
        run = tag(
            "figure",
            drawing.run(trace.calls, trace.began_ns, trace.ended_ns),
            tag(
                "figcaption",
                "The whole run, to scale: the taller a column, the more kernel calls.",
            ),
        )
        counts = tag(
            "figure",
            drawing.counts(rows(trace.calls, lambda call: call.name)),
            tag("figcaption", "What was asked for most, and how long all of it took."),
        )
        figures = join(lives if sockets else None, tag("div", run, counts))
        both = tag("div", figures, class_="pair" if sockets else None)
        return self._chapter("glance", "At a glance", how, legend, both)

    def _sockets(self) -> list[Connection]:
        """Those whose lives are drawn: the listening one, the first that is told, some others."""
        cast = self.cast
        found = [each for each in (cast.listener, cast.first) if each]
        known = {id(each) for each in found}
        for each in cast.main.connections if cast.main and found else []:
            if each.kind in KINDS_OF_CONNECTION and id(each) not in known:
                found.append(each)
        return found[: drawing.LANES]

    def _start(self) -> Markup:
        cast = self.cast
        story = cast.opener or cast.main
        assert story
        first = calls_of(cast.first)[0].begin_ns if cast.first else None
        own = {id(call) for call in (calls_of(cast.first) if cast.first else [])}
        calls = story.start if cast.first else [*story.start, *story.rest]
        if not cast.first:
            calls = in_order([*calls, *(c for each in story.connections for c in calls_of(each))])
        if first and story is cast.main:
            calls = [call for call in calls if call.begin_ns < first and id(call) not in own]
        if cast.is_server and cast.main is story and cast.first:
            waited = {id(call) for call in wait_before(story.process, calls_of(cast.first)[0])}
            calls = [call for call in calls if id(call) not in waited]
        wanted = {id(call) for call in calls_of(cast.listener)} if cast.listener else set()
        if cast.listener:
            title = "The program starts to listen"
            said = (
                "Whoever wants to be called needs a telephone, a number, and must be ready to pick "
                "up: socket, bind, listen. The rest is what Python's libraries do around these "
                "three."
            )
        else:
            title = "The program starts" if cast.first else "What it asked of the kernel"
            said = "Before anything goes over the network, libraries look around and get ready."
        parts = [tag("p", said)]
        if cast.opener and cast.main and cast.opener is not cast.main:
            parts.append(
                tag(
                    "p",
                    f"Process {cast.opener.process.pid} opened the socket; process "
                    f"{cast.main.process.pid}, which it has started, inherits it and takes the "
                    "connections.",
                )
            )
        if not calls:
            parts.append(tag("p", "Nothing of that kind was seen.", class_="dim"))
        return self._chapter("start", title, *parts, self.steps.write(calls, wanted))

    def _beginning(self, connection: Connection) -> list[Call]:
        """A connection's calls until the first bytes go over it."""
        found: list[Call] = []
        for call in calls_of(connection):
            if call.name in RECEIVES or call.name in drawing.SENDS:
                break
            found.append(call)
        return found

    def _connection(self, connection: Connection) -> Markup:
        assert self.cast.main
        process = self.cast.main.process
        calls = self._beginning(connection)
        if connection.kind == "connected":
            said = (
                "This time it is the program that calls. Its socket needs no address of its own, "
                "the kernel picks one; connect names the other side's."
            )
            steps = self.steps.write(with_waits(process, calls, {connection.fd}))
            return self._chapter("connection", "It calls somebody", tag("p", said), steps)
        said = (
            "Somebody calls. The listening socket is never talked through: for each caller it "
            "gives birth to a socket of its own, and goes on listening."
        )
        figure = tag("figure", drawing.birth(self.cast.listener, connection, self.cast.address))
        calls = in_order([*wait_before(process, calls[0]), *calls])
        title = "The first connection"
        accepted = [each for each in self.cast.connections if each.kind == "accepted"]
        if accepted[0] is not connection:
            title = "A connection"
            said += " (Before this one others came, and asked nothing that could be read.)"
        return self._chapter("connection", title, tag("p", said), figure, self.steps.write(calls))

    def _journey(
        self, story: Story, exchange: Exchange | None, connection: Connection
    ) -> list[Call]:
        """The calls of a request, or of a connection without any that is known, with what was asked
        of others meanwhile."""
        if exchange is None:
            return with_waits(story.process, calls_of(connection), {connection.fd})
        inner = inner_of(story, exchange)
        calls = [*exchange.calls, *(call for each in inner for call in each.calls)]
        fds = {connection.fd, *(each.connection.fd for each in inner)}
        return with_waits(story.process, calls, fds)

    def _conversation(self, connection: Connection) -> Markup:
        story = self.cast.main
        assert story
        exchange = self.cast.told
        calls = self._journey(story, exchange, connection)
        seen = [call for call in calls if id(call) in self.steps.numbers]
        rest = [call for call in calls if id(call) not in self.steps.numbers]
        steps = self.steps.write(rest, {id(call) for call in calls_of(connection)})
        tls = connection.is_encrypted
        if exchange:
            title = "One request"
            status = f", answered with {exchange.status}" if exchange.status else ""
            side = "from" if exchange.is_server else "to"
            said = join(
                tag("code", drawing.short(exchange.title, 200)),
                f" {side} {connection.address or 'a caller'}{status}, in "
                f"{plural(len(calls), 'kernel call')} and {took(exchange.ns)}.",
            )
        else:
            title = "One conversation"
            said = Markup("What goes over the connection is no HTTP that could be read here")
            said = join(said, ", for it is encrypted: " if tls else ".")
            if tls:
                said = join(said, "OpenSSL reads the 5 bytes of a record's head, then the record.")
            said = join(
                said, f" From its first call to its last: {plural(len(calls), 'kernel call')}."
            )
        if seen:
            said = join(said, " Its beginning was told in the chapter before; it goes on here.")
        return self._chapter(
            "request",
            title,
            tag("p", said),
            self._timeline(calls),
            self._remarks(calls),
            steps,
        )

    def _timeline(self, calls: list[Call]) -> Markup:
        if not calls:
            return Markup()
        caption = "From the first call to the last. Between the boxes Python is at work. "
        caption += "Long stretches are drawn shorter than they are; the numbers are true."
        if len(calls) > BARS:
            caption += f" Of {len(calls):,} calls the first {BARS}."
        return tag(
            "figure",
            drawing.line(calls[:BARS], self.steps.numbers),
            tag("figcaption", caption),
            tag("h3", "Where the time went"),
            drawing.shares(spent(calls)),
            class_="times",
        )

    def _remarks(self, calls: list[Call]) -> Markup:
        """What a reader might not see at once."""
        found: list[str] = []
        sends = [call for call in calls if call.name in drawing.SENDS and call.result > 0]
        by_fd: dict[int, list[Call]] = {}
        for call in sends:
            by_fd.setdefault(call.fd, []).append(call)
        for fd, each in by_fd.items():
            before_receive = [call for call in each if call.result < 1000]
            if self.cast.told and len(before_receive) >= 3:
                total = sum(call.result for call in each)
                found.append(
                    f"{plural(len(each), 'call')} sent {plural(total, 'byte')} over descriptor "
                    f"{fd}. Each costs a visit to the kernel, and maybe a packet: one call for all "
                    "of it would do."
                )
        again = sum(call.result == -11 for call in calls)
        if again:
            found.append(
                f"{plural(again, 'call')} came too early and found nothing to do (EAGAIN): so it "
                "is meant on a non-blocking socket, it is no failure."
            )
        if not found:
            return Markup()
        return tag("ul", *(tag("li", each) for each in found), class_="notice")

    def _others(self) -> Markup:
        cast = self.cast
        exchanges, connections = cast.exchanges, cast.connections
        parts: list[Markup] = []
        if exchanges:
            times = [each.ns for each in exchanges]
            said = f"{plural(len(exchanges), 'request')} over "
            said += f"{plural(len(connections), 'connection')}: half of them took less than "
            said += f"{took(int(median(times)))}, the slowest {took(max(times))}"
            said += "." if cast.slowest else ": it is the one told above."
            parts += [tag("p", said), requests(exchanges)]
        else:
            parts.append(tag("p", f"{plural(len(connections), 'connection')} in all."))
        slowest = cast.slowest
        if slowest:
            for story in cast.stories:
                if any(each is slowest for each in story.exchanges):
                    parts.append(self._slowest(story, slowest))
        return self._chapter("others", "All the others", *parts)

    def _slowest(self, story: Story, slowest: Exchange) -> Markup:
        calls = self._journey(story, slowest, slowest.connection)
        steps = self.steps.write(calls)
        return tag(
            "details",
            tag(
                "summary",
                "The slowest: ",
                tag("code", drawing.short(slowest.title, 120)),
                f" {slowest.status}, {took(slowest.ns)}",
            ),
            self._timeline(calls),
            steps,
            class_="big",
        )

    def _end(self, listener: Connection) -> Markup:
        trace = self.trace
        closing = [call for call in calls_of(listener) if call.name in drawing.ENDS]
        after = took(max(0, trace.ended_ns - trace.began_ns))
        said = f"The program ended with {trace.ended} after {after}."
        if trace.runs_on:
            said = f"After {after} the program was let go: it runs on."
        elif not closing:
            said += " It did not close the listening socket itself: the kernel does that for a "
            said += "program that ends."
        left = [call for call in closing if id(call) not in self.steps.numbers]
        return self._chapter("end", "The end", tag("p", said), self.steps.write(left))

    def _more(self) -> Markup:
        commands = join(
            tag("code", "zolal trace -o run.trace -- …"),
            " keeps a recording, ",
            tag("code", "zolal xray run.trace --as tree"),
            " shows all of it (or as summary, perfetto, folded, jsonl).",
        )
        return self._chapter(
            "more",
            "For those who want more",
            *summary(self.trace),
            processes(self.trace, self.cast),
            glossary(),
            tag("p", commands, class_="dim"),
        )
