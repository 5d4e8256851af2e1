"""What the application calls by itself, joined with what the server records: each call goes to the
request, or the task, inside whose Python call it was made, in the same thread."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from zolal._zolal import Event, Reader
from zolal.recording import library_folders

Place = tuple[tuple[str, int], ...]


class Joiner:
    """Reads both recordings, and gives their events in one order."""

    def __init__(self, server: Reader, program: Reader) -> None:
        self._server = server
        self._program = program
        self._early: list[Event] = []  # of the program, later than what is known of the server
        self._inside: dict[int, list[tuple[int, int]]] = {}  # thread -> connection, request; nested
        self._folders = library_folders()

    def read(self) -> list[Event]:
        """What is new."""
        known_ns = time.monotonic_ns()
        events = self._server.read()
        # What the program has done before that is all written by now.
        while more := self._program.read():
            self._early += [event for event in more if event.kind == "call"]
        ready = [event for event in self._early if event.end_ns <= known_ns]
        self._early = [event for event in self._early if event.end_ns > known_ns]
        return self._place(
            sorted([*events, *ready], key=lambda event: event.end_ns), set(map(id, ready))
        )

    def _place(self, events: Iterable[Event], of_program: set[int]) -> list[Event]:
        found = []
        for event in events:
            if id(event) in of_program:
                found.append(self._adopt(event))
                continue
            self._follow(event)
            found.append(event)
        return found

    def _follow(self, event: Event) -> None:
        """Which request's Python code a thread is in."""
        inside = self._inside.setdefault(event.thread, [])
        if event.kind == "python_enter":
            inside.append((event.connection, event.request))
        elif event.kind == "python_leave" and inside:
            inside.pop()

    def _adopt(self, event: Event) -> Event:
        """The program's call as one of the request's that its thread is in."""
        inside = self._inside.get(event.thread)
        connection, request = inside[-1] if inside else (0, 0)
        fields: list[object] = [*event]
        fields[3:5] = connection, request
        place = self._own_lines(event.place or ())
        make: Any = Event  # a structure of C's: what is no part of the sequence comes by name
        adopted: Event = make(fields, {"place": place, "encrypted": event.encrypted})
        return adopted

    def _own_lines(self, place: Place) -> Place:
        """Out to the program's first line."""
        for at, (text, _) in enumerate(place):
            if not text.partition(" (")[2].startswith(self._folders):
                return place[: at + 1]
        return place
