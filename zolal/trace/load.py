"""From recordings to the model."""

from __future__ import annotations

import gc
from functools import lru_cache
from typing import Any

from zolal._zolal import Event, Reader
from zolal.trace.awaits import add_awaits
from zolal.trace.model import UNFINISHED, Call, Frame, Process, Trace
from zolal.trace.python_calls import Threads
from zolal.trace.store import open_store
from zolal.xray import calls


@lru_cache(maxsize=65536)
def _stack(place: tuple[tuple[str, int], ...]) -> tuple[Frame, ...]:
    frames = []
    for text, line in reversed(place):
        function, _, file = text.partition(" (")
        frames.append(Frame(function, file.removesuffix(")"), line))
    return tuple(frames)


def _call(process: Process, event: Event, offset_ns: int) -> Call:
    return Call(
        process,
        event.thread,
        event.op,
        event.fd,
        calls.all_arguments(event),
        event.result,
        event.begin_ns + offset_ns,
        event.end_ns + offset_ns,
        _stack(event.place or ()),
        event.argument,
        event.args,
        encrypted=event.encrypted,
    )


def read_process(reader: Reader) -> Process:
    """All that a recording has."""
    header = reader.header()
    process = Process(
        header["pid"],
        header["parent"],
        [word for word in header["program"].split("\0") if word],
        header["python"],
        header["note"],
        header["began_realtime_ns"],
        lost=header["dropped"],
        filled_up=header["filled_up"],
    )
    offset_ns = header["began_realtime_ns"] - header["began_monotonic_ns"]
    last: dict[int, Call] = {}  # thread -> its latest call
    began: dict[int, int] = {}  # thread -> the latest beginning of one
    threads = Threads(process, offset_ns)
    while events := reader.read(4096):
        for event in events:
            if event.kind == "call":
                last[event.thread] = call = _call(process, event, offset_ns)
                process.calls.append(call)
                threads.take_call(call)
                began[event.thread] = max(call.begin_ns, began.get(event.thread, 0))
            elif event.kind.startswith("python_"):
                threads.take(event)
            elif event.kind == "first_line" and event.thread in last:
                call = last[event.thread]
                call.first_line = event.args.decode("latin-1")
                call.is_sent = event.op == "sent"
            elif event.kind == "lost":
                process.lost += event.argument
    for event in reader.noted():
        call = _call(process, event, offset_ns)
        if call.begin_ns > began.get(event.thread, 0):
            call.result = UNFINISHED
            process.calls.append(call)
            threads.take_call(call)
    add_awaits(process.calls)
    threads.end()
    return process


def _join(processes: list[Process]) -> None:
    """Each process under that which has started it: the latest of that number before it."""
    for process in processes:
        parents = [
            other
            for other in processes
            if other is not process
            and other.began_ns <= process.began_ns
            and other.pid in (process.parent, process.pid)
        ]
        own = [other for other in parents if other.pid == process.pid]
        # A program that another has become by exec is its child, too.
        found = own or [other for other in parents if other.pid == process.parent]
        if found:
            found[-1].children.append(process)
            process.is_child = True


def _number(about: dict[str, Any], name: str) -> int:
    value = about.get(name, 0)
    return value if isinstance(value, int) and abs(value) < 1 << 63 else 0


def load(path: str) -> Trace:
    """The recording at `path`. OSError, zolal.trace.store.StoreError."""
    about, recordings = open_store(path)
    processes = []
    collects = gc.isenabled()
    gc.disable()  # all that is made stays, and there may be millions of it
    try:
        for _, reader in recordings:
            processes.append(read_process(reader))
            reader.close()
    finally:
        if collects:
            gc.enable()
    processes.sort(key=lambda process: process.began_ns)
    _join(processes)
    return Trace(
        [str(word) for word in about["command"]],
        _number(about, "began_ns"),
        _number(about, "ended_ns"),
        _number(about, "status"),
        processes,
        _number(about, "failures"),
        _number(about, "failure"),
        _number(about, "budget"),
        str(about.get("cut_by", "")),
        about.get("runs_on") is True,
    )
