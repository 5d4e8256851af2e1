"""Await chains: what asyncio's loop calls for a coroutine, told under that coroutine.

A coroutine that asks for bytes that are not there yet (`loop.sock_recv`) makes the call itself and
is refused: EAGAIN. The loop waits, and makes the same call again from a callback, where the
coroutine does not run: its frames are not on the stack. They are taken from the call that was
refused: the last one on this descriptor, by this thread."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from itertools import takewhile

from zolal.trace.model import Call, Frame

LATER = (-errno.EAGAIN, -errno.EINPROGRESS)
CALLBACKS = ("_sock_recv", "_sock_accept", "_sock_sendall", "_sock_connect", "_sock_sendto")
LOOP = "asyncio/selector_events.py"


def name_of(frame: Frame) -> str:
    """Without its class, of which Python 3.10 does not tell."""
    return frame.function.rpartition(".")[2]


def _after_handle(stack: tuple[Frame, ...]) -> int:
    """Where in the stack the loop has begun a callback: behind Handle._run; 0: nowhere."""
    for at in range(len(stack), 0, -1):
        frame = stack[at - 1]
        if name_of(frame) == "_run" and frame.file.endswith("asyncio/events.py"):
            return at
    return 0


def _is_callback(frame: Frame) -> bool:
    """Of the loop's own, which does what a coroutine has asked for."""
    return frame.file.endswith(LOOP) and name_of(frame).startswith(CALLBACKS)


def _who_awaits(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Of the frames of a call that was refused: those that wait now, up to the loop's own code."""
    return tuple(
        frame._replace(awaits=True) for frame in takewhile(lambda f: not _is_callback(f), frames)
    )


def add_awaits(calls: Iterable[Call]) -> None:
    """Put the frames that await into the stacks of the calls that were made for them."""
    refused: dict[tuple[int, int], tuple[Frame, ...]] = {}  # thread, descriptor -> who waits
    running: dict[int, tuple[str, tuple[Frame, ...]]] = {}  # thread -> its callback, and for whom
    for call in calls:
        at = _after_handle(call.stack)
        callback = call.stack[at] if 0 < at < len(call.stack) else None
        key = (call.tid, call.fd)
        if call.name == "close":
            refused.pop(key, None)
        if callback is None or not _is_callback(callback):
            running.pop(call.tid, None)
            if callback and call.result in LATER:
                refused[key] = _who_awaits(call.stack[at:])
            continue
        # What a callback does on other descriptors, such as the one that it has accepted, it does
        # for the same.
        function, chain = running.get(call.tid, ("", ()))
        if key in refused or function != callback.function:
            chain = refused.get(key, ())
        running[call.tid] = (callback.function, chain)
        call.stack = (*call.stack[:at], *chain, *call.stack[at:])
