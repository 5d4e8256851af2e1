"""Kernel calls as they happen, each under its connection: for a server that knows no requests."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from zolal._zolal import Event
from zolal.xray import calls, render

CONNECTIONS_REMEMBERED = 65_536


class Calls:
    """Prints each call under a heading that names its connection; the heading comes again when
    another connection was in between. A wait that has brought something stands under whom it has
    brought it for."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or render.make_console()
        self._heading = -1
        self._wait: Event | None = None
        self._peers: dict[int, str] = {}  # connection -> its address

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.kind == "lost":
                self._console.print(render.lost(event.argument))
            elif event.kind == "call" and event.op == "epoll_wait":
                self._show_wait(0)
                self._wait = event
            elif event.kind == "call":
                self._show(event)

    def settle(self) -> None:
        """Nothing more has come for a while."""

    def rest(self) -> None:
        """The recording has ended."""
        self._show_wait(0)

    def _show(self, event: Event) -> None:
        connection = event.connection
        if event.op == "accept4" and event.result < 0:
            connection = 0  # there is none
        elif event.op == "accept4":
            self._remember(connection, calls.sockaddr(event.args))
        self._show_wait(connection)
        self._head(connection)
        ends = event.op == "close" and connection > 0
        self._line(event, "└── " if ends else "├── ")
        if ends:
            self._peers.pop(connection, None)

    def _show_wait(self, connection: int) -> None:
        if self._wait:
            self._head(connection)
            self._line(self._wait, "├── ")
            self._wait = None

    def _head(self, connection: int) -> None:
        if connection == self._heading:
            return
        self._heading = connection
        name = f"connection {connection}" if connection else "server"
        text = Text(name, style="bold")
        text.append(f"  {render.plain(self._peers.get(connection, ''))}".rstrip(), style="dim")
        self._console.print(text)

    def _line(self, event: Event, branch: str) -> None:
        self._console.print(Text(branch) + render.kernel(event))

    def _remember(self, connection: int, peer: str) -> None:
        self._peers[connection] = peer
        while len(self._peers) > CONNECTIONS_REMEMBERED:
            del self._peers[next(iter(self._peers))]
