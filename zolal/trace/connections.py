"""From calls to what a person knows: a program's start, its sockets, the requests on them.

Sockets are followed by their descriptors, from the call that makes one to the one that closes it;
requests and answers are known by the first lines of what goes through (HTTP/1, Redis,
PostgreSQL)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from zolal.trace.model import Call, Process

REQUEST_LINE = re.compile(r"([A-Z-]+) (\S+)(?: HTTP/1\..*)?$")
STATUS_LINE = re.compile(r"HTTP/1\.\d (\d{3})")
QUERY = re.compile(r"(redis|postgresql) (\w+)$")
RECEIVES = frozenset(["recvfrom", "recvmsg", "recvmmsg", "read", "readv"])
WAITS = frozenset(
    "poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2".split(),
)


@dataclass(eq=False)
class Exchange:
    """A request and its answer on a connection."""

    connection: Connection
    title: str  # "GET /login"; "redis GET"
    status: str = ""  # "200"; "" while none was seen
    calls: list[Call] = field(default_factory=list)
    is_server: bool = True  # the request was received

    @property
    def begin_ns(self) -> int:
        return self.calls[0].begin_ns

    @property
    def end_ns(self) -> int:
        return max(call.end_ns for call in self.calls)

    @property
    def ns(self) -> int:
        return self.end_ns - self.begin_ns

    @property
    def kernel_ns(self) -> int:
        return sum(call.ns for call in self.calls if call.name not in WAITS)

    @property
    def waiting_ns(self) -> int:
        return sum(call.ns for call in self.calls if call.name in WAITS)


@dataclass(eq=False)
class Connection:
    """A socket's life, or an epoll's."""

    fd: int
    number: int  # within its process
    kind: str = "socket"  # "listening", "accepted", "connected", "pair", "epoll"
    address: str = ""  # of the listener, or the peer
    calls: list[Call] = field(default_factory=list)  # that belong to no exchange
    exchanges: list[Exchange] = field(default_factory=list)
    is_encrypted: bool = False


@dataclass(eq=False)
class Story:
    """A process, told: its calls before the first connection, then each connection; what is left
    belongs to no socket that is known."""

    process: Process
    start: list[Call] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    rest: list[Call] = field(default_factory=list)

    @property
    def exchanges(self) -> list[Exchange]:
        found = [exchange for each in self.connections for exchange in each.exchanges]
        return sorted(found, key=lambda exchange: exchange.begin_ns)


def ready_in(call: Call) -> list[int]:
    """The descriptors that a wait has found ready, of those that its record has."""
    if call.result <= 0:
        return []
    if call.name.startswith("epoll"):
        return [fd for fd, _ in struct.iter_unpack("=iI", call.data[: len(call.data) // 8 * 8])]
    polled = call.data[4 : 4 + (len(call.data) - 4) // 8 * 8]
    return [fd for fd, _, ready in struct.iter_unpack("=iHH", polled) if ready]


def watched_in(call: Call) -> int:
    """The descriptor of an epoll_ctl; -1: not known."""
    return struct.unpack_from("=i", call.data, 4)[0] if len(call.data) >= 8 else -1


def address_in(call: Call) -> str:
    """The address among a call's arguments."""
    words = [word for word in call.args.split(", ") if ":" in word or word.startswith("unix")]
    return words[0] if words else ""


class Teller:
    """Takes a process's calls in their order."""

    def __init__(self, process: Process) -> None:
        self.story = Story(process)
        self._open: dict[int, Connection] = {}
        self._under_way: dict[int, Exchange] = {}  # thread -> what it serves
        self._waited: dict[int, Call] = {}  # listening descriptor -> the wait that led to an accept
        self._is_started = False

    def tell(self) -> Story:
        for call in self.story.process.calls:
            self._take(call)
        return self.story

    def _make(self, fd: int, kind: str) -> Connection:
        made = Connection(fd, len(self.story.connections) + 1, kind)
        self.story.connections.append(made)
        self._open[fd] = made
        return made

    def _take(self, call: Call) -> None:
        if call.name in ("accept", "accept4") and call.result >= 0:
            self._is_started = True
            self._under_way.pop(call.tid, None)
            made = self._make(call.result, "accepted")
            made.address = address_in(call)
            wait = self._waited.pop(call.fd, None)
            made.calls += [wait, call] if wait else [call]
            return
        if call.name == "socket" and call.result >= 0:
            self._make(call.result, "socket").calls.append(call)
            self._note_start(call)
            return
        connection = self._open.get(self._subject(call))
        if connection and connection.kind == "listening" and call.name in WAITS:
            self._waited[connection.fd] = call
            return
        if connection is None:
            self._loose(call)
            return
        self._follow(connection, call)
        if call.name == "close" and call.result >= 0:
            self._waited.pop(call.fd, None)
            del self._open[call.fd]

    def _subject(self, call: Call) -> int:
        """The descriptor that the call is about: that which a wait was over for, if it was one."""
        if call.name == "epoll_ctl":
            return watched_in(call)
        if call.name in WAITS:
            ready = ready_in(call)
            return ready[0] if len(ready) == 1 else -1
        return call.fd

    def _note_start(self, call: Call) -> None:
        if not self._is_started:
            self.story.start.append(call)

    def _loose(self, call: Call) -> None:
        """It is on no socket of which the beginning is known."""
        exchange = self._under_way.get(call.tid)
        if exchange and call.name in WAITS:
            exchange.calls.append(call)
        elif not self._is_started:
            self.story.start.append(call)
        else:
            self.story.rest.append(call)

    def _follow(self, connection: Connection, call: Call) -> None:
        if call.name == "listen" and call.result >= 0:
            connection.kind = "listening"
        elif call.name == "bind" and call.result >= 0:
            connection.address = address_in(call)
        elif call.name == "connect":
            connection.kind, connection.address = "connected", address_in(call)
            self._is_started = True
        connection.is_encrypted |= call.encrypted
        self._exchange(connection, call)

    def _exchange(self, connection: Connection, call: Call) -> None:
        current = connection.exchanges[-1] if connection.exchanges else None
        if title := self._title(call, connection):
            current = Exchange(connection, title, is_server=not call.is_sent)
            if not connection.exchanges:
                current.calls += connection.calls if connection.kind != "listening" else []
                connection.calls = []
            connection.exchanges.append(current)
            if current.is_server:
                self._under_way[call.tid] = current
        elif current and (found := STATUS_LINE.match(call.first_line)):
            current.status = current.status or found[1]
        if current is None:
            connection.calls.append(call)
            if connection.kind in ("listening", "socket"):
                self._note_start(call)
            return
        current.calls.append(call)
        if call.name == "close" and self._under_way.get(call.tid) is current:
            del self._under_way[call.tid]

    def _title(self, call: Call, connection: Connection) -> str:
        """Of the exchange that this call begins; "": it begins none."""
        if found := REQUEST_LINE.match(call.first_line):
            is_received = not call.is_sent
            if is_received == (connection.kind != "connected"):
                return f"{found[1]} {found[2]}"
        if found := QUERY.match(call.first_line):
            return found[0]
        return ""


def nested(story: Story) -> dict[int, list[Exchange]]:
    """The client's exchanges that happened while a server's was under way in the same thread, where
    that is the only one: id of the server's exchange -> what it asked of others."""
    served = [each for each in story.exchanges if each.is_server]
    found: dict[int, list[Exchange]] = {}
    for asked in story.exchanges:
        if asked.is_server:
            continue
        tid = asked.calls[-1].tid
        outer = [
            each
            for each in served
            if each.begin_ns <= asked.begin_ns < each.end_ns
            and any(call.tid == tid for call in each.calls)
        ]
        if len(outer) == 1:
            found.setdefault(id(outer[0]), []).append(asked)
    return found


def tell(process: Process) -> Story:
    return Teller(process).tell()
