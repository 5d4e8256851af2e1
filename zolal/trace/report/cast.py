"""Who appears in the page's story: the process, its listening socket, the first connection, the
request that is told whole. Found in any trace, however long; what is not there is None."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from struct import iter_unpack

from zolal.trace.connections import WAITS, Connection, Exchange, Story, tell
from zolal.trace.model import Call, Process, Trace

KINDS_OF_CONNECTION = ("accepted", "connected")
EPOLL_WAITS = frozenset(["epoll_wait", "epoll_pwait", "epoll_pwait2"])


def calls_of(connection: Connection) -> list[Call]:
    """From its first to its last."""
    found = [*connection.calls, *(call for each in connection.exchanges for call in each.calls)]
    return sorted(found, key=lambda call: call.begin_ns)


def watched(call: Call) -> list[int]:
    """The descriptors that a call for waiting has told of, or that an epoll is told about."""
    data = call.data
    if call.name == "epoll_ctl" and len(data) >= 8:
        return [int.from_bytes(data[4:8], "little", signed=True)]
    if call.name in EPOLL_WAITS:
        return [fd for fd, _ in iter_unpack("<iI", data[: len(data) // 8 * 8])]
    if call.name in WAITS and len(data) >= 4:
        polled = data[4 : 4 + (len(data) - 4) // 8 * 8]
        return [fd for fd, _, ready in iter_unpack("<iHH", polled) if ready]
    return []


@dataclass
class Cast:
    """What the page tells of."""

    trace: Trace
    stories: list[Story]
    main: Story | None = None  # of the process whose connections are told
    opener: Story | None = None  # of the process that opened the listening socket
    listener: Connection | None = None
    first: Connection | None = None
    told: Exchange | None = None
    slowest: Exchange | None = None  # another than `told`
    roles: dict[int, Connection] = field(default_factory=dict)  # id of a call -> whose it is

    @property
    def is_server(self) -> bool:
        return self.first is not None and self.first.kind == "accepted"

    @property
    def address(self) -> str:
        """Where it listens. Of port 0 the one that came of it."""
        if self.listener is None:
            return "an address"
        address = self.listener.address
        if not address.endswith(":0"):
            return address or "an address"
        first = self.first if self.is_server else None
        for call in [*calls_of(self.listener), *(calls_of(first) if first else [])]:
            words = call.args.split(", ")
            if call.name == "getsockname" and call.result >= 0 and len(words) > 1:
                return words[1]
        return address

    @property
    def exchanges(self) -> list[Exchange]:
        """Of the whole trace, on the side that is told."""
        found = [each for story in self.stories for each in story.exchanges]
        return [each for each in found if each.is_server == self.is_server]

    @property
    def connections(self) -> list[Connection]:
        found = [each for story in self.stories for each in story.connections]
        return [each for each in found if self.first and each.kind == self.first.kind]


def _weight(story: Story) -> tuple[int, ...]:
    kinds = [each.kind for each in story.connections]
    served = sum(len(each.exchanges) for each in story.connections if each.kind == "accepted")
    asked = sum(len(each.exchanges) for each in story.connections if each.kind == "connected")
    counts = (kinds.count("accepted"), asked, kinds.count("connected"), kinds.count("listening"))
    return (served, *counts, len(story.process.calls))


def _listener(cast: Cast, accept_fd: int) -> None:
    """The socket that connections come from; a worker's was opened by its parent."""
    parents: dict[int, Process] = {
        id(child): process for process in cast.trace.processes for child in process.children
    }
    stories = {id(story.process): story for story in cast.stories}
    process = cast.main.process if cast.main else None
    while process:
        story = stories[id(process)]
        found = [
            each
            for each in story.connections
            if each.kind == "listening" and accept_fd in (-1, each.fd)
        ]
        if found:
            cast.opener, cast.listener = story, found[0]
            return
        process = parents.get(id(process))


def choose(trace: Trace) -> Cast:
    stories = [tell(process) for process in trace.processes if process.calls]
    cast = Cast(trace, stories)
    if not stories:
        return cast
    cast.main = max(stories, key=_weight)
    known = [each for each in cast.main.connections if each.kind in KINDS_OF_CONNECTION]
    accepted = [each for each in known if each.kind == "accepted"]
    with_requests = [each for each in accepted or known if each.exchanges]
    answered = [each for each in with_requests if any(one.status for one in each.exchanges)]
    cast.first = next(iter(answered or with_requests or accepted or known), None)
    first = calls_of(cast.first) if accepted and cast.first else []
    _listener(cast, next((call.fd for call in first if call.name.startswith("accept")), -1))
    if cast.first:
        whole = [each for each in cast.first.exchanges if each.status]
        cast.told = next(iter(whole or cast.first.exchanges), None)
    slowest = max(cast.exchanges, key=lambda each: each.ns, default=None)
    cast.slowest = slowest if slowest is not cast.told else None
    for story in {id(story): story for story in (cast.main, cast.opener) if story}.values():
        for connection in story.connections:
            cast.roles.update((id(call), connection) for call in calls_of(connection))
    return cast


def in_order(calls: list[Call]) -> list[Call]:
    """Each once, by their beginning."""
    return sorted({id(call): call for call in calls}.values(), key=lambda call: call.begin_ns)


def with_waits(process: Process, calls: list[Call], fds: set[int]) -> list[Call]:
    """The calls of a journey, and those between them that waited for its descriptors or told an
    epoll about them."""
    if not calls:
        return []
    ordered = sorted(process.calls, key=lambda call: call.begin_ns)
    begins = [call.begin_ns for call in ordered]
    first = bisect_left(begins, min(call.begin_ns for call in calls))
    last = bisect_right(begins, max(call.end_ns for call in calls))
    between = [call for call in ordered[first:last] if fds.intersection(watched(call))]
    return in_order([*calls, *between])


def wait_before(process: Process, call: Call) -> list[Call]:
    """The call that waited in the same thread for what this one then took, if any did."""
    before = [
        each
        for each in process.calls
        if each.tid == call.tid and each.end_ns <= call.begin_ns and call.fd in watched(each)
    ]
    return before[-1:]


def inner_of(story: Story, exchange: Exchange) -> list[Exchange]:
    """What was asked of others in its threads while this request was served."""
    if not exchange.is_server:
        return []
    tids = {call.tid for call in exchange.calls}
    return [
        each
        for connection in story.connections
        for each in connection.exchanges
        if not each.is_server
        and exchange.begin_ns <= each.begin_ns < exchange.end_ns
        and each.calls[-1].tid in tids
    ]
