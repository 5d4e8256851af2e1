"""What an event loop's tasks and callbacks do, for its recording: the time each held the loop, what
it waits for then, and what asyncio complains of. It costs nothing where nobody looks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import re
import sys
import threading
import time
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from zolal import _zolal
from zolal.interruptible import Event
from zolal.recording import library_folders

LONG_SECONDS = 0.05
"""Who holds the loop for longer is looked at, where it stands."""

TITLE_BYTES = 85  # of the 96 that a recording keeps
DONE, CANCELLED, FAILED = 0, 1, 2

_numbers = itertools.count(1)
_folders = library_folders()


_BASES = re.compile(r"^Base\w*EventLoop\.")  # whose methods are the loop's


def _is_library(code: types.CodeType) -> bool:
    return code.co_filename.startswith(_folders)


def _text(code: types.CodeType) -> str:
    return f"{getattr(code, 'co_qualname', code.co_name)} ({code.co_filename})"


def _cut(text: str) -> str:
    return text.encode()[:TITLE_BYTES].decode("utf-8", "ignore")


def _awaits(awaiting: Any) -> Iterator[tuple[types.CodeType, int]]:
    """Code and line of a coroutine, of what it awaits, and so on."""
    while awaiting is not None:
        for prefix, inner in (("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")):
            frame = getattr(awaiting, f"{prefix}_frame", None)
            if frame is not None:
                yield frame.f_code, frame.f_lineno
                awaiting = getattr(awaiting, f"{prefix}_{inner}")
                break
        else:
            return


def _innermost(awaiting: Any) -> Any:
    """What stands at the end of the chain: a socket operation, a future's iterator, ..."""
    while True:
        inner = getattr(awaiting, "cr_await", None) or getattr(awaiting, "gi_yieldfrom", None)
        inner = inner or getattr(awaiting, "ag_await", None)
        if inner is None or isinstance(awaiting, _zolal.SocketOperation):
            return awaiting
        awaiting = inner


def _position(coroutine: Any) -> tuple[str, int, str]:
    """The program's innermost line of a task, and the library's function that it awaits there."""
    program, library = None, ""
    for code, line in _awaits(coroutine):
        if not _is_library(code):
            program, library = (_text(code), line), ""
        elif not library:
            library = _BASES.sub("", getattr(code, "co_qualname", code.co_name))
    if program is None:
        name = getattr(coroutine, "__qualname__", type(coroutine).__qualname__)
        return name, 0, library
    return *program, library


def _awaited(task: asyncio.Task[Any], library: str) -> str:
    """What a task waits for."""
    operation = _innermost(task.get_coro())
    if isinstance(operation, _zolal.SocketOperation):
        return operation.__name__
    future = getattr(task, "_fut_waiter", None)
    if isinstance(future, asyncio.Task):
        return f"task {getattr(future.get_coro(), '__qualname__', '?')}"
    if library:
        return library
    return "its turn" if future is None else type(future).__name__.strip("_")


def _callback_name(callback: Any) -> str:
    while isinstance(callback, functools.partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.BaseTransport) and hasattr(owner, "get_protocol"):
        return f"{type(owner.get_protocol()).__qualname__}: {callback.__name__.strip('_')}"
    return getattr(callback, "__qualname__", type(callback).__qualname__)


class Watch:
    """Records the steps of one loop's tasks. Entered by the thread that runs the loop."""

    def __init__(self) -> None:
        self._tasks: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._waiting: set[int] = set()
        self._began = 0.0  # of the callback that runs; 0: none
        self._found: tuple[str, int] | None = None
        self._subject = 0  # the number of what runs; 0: nothing does
        self._over = Event()
        self._undo = contextlib.ExitStack()

    def begin(self) -> None:
        """The loop begins to run, in this thread."""
        ident = threading.get_ident()
        self._over.clear()
        looker = threading.Thread(target=self._look, args=(ident,), name="zolal-watch", daemon=True)
        looker.start()
        self._undo.callback(looker.join)
        self._undo.callback(self._over.set)
        _watching[ident] = self
        self._undo.callback(_watching.pop, ident)
        depth = sys.get_coroutine_origin_tracking_depth()
        sys.set_coroutine_origin_tracking_depth(max(depth, 1))  # where one was made
        self._undo.callback(sys.set_coroutine_origin_tracking_depth, depth)

    def end(self) -> None:
        """It runs no more."""
        self._undo.close()

    def close(self, close: Callable[[], None]) -> None:
        """Record how the loop is closed."""
        self._belong(next(_numbers))
        _zolal.trace_request_begin("callback", "the event loop is closed")
        close()
        _zolal.trace_request_end(DONE, 0)
        self._belong(0)

    def run(self, handle: asyncio.Handle) -> None:
        """Run a callback, and record it."""
        callback = handle._callback  # type: ignore[attr-defined]
        task = getattr(callback, "__self__", None)
        self._began, self._found = time.monotonic(), None
        try:
            if isinstance(task, asyncio.Task):
                self._step(task, handle)
            else:
                self._call(callback, handle)
        finally:
            self._began = 0.0
            self._belong(0)
            del handle, callback, task  # see _run_handle

    def _belong(self, number: int) -> None:
        """What follows belongs to this task, callback or report; 0: to none."""
        self._subject = number
        _zolal.trace_subject(_zolal.TASKS if number else 0, number)

    def _step(self, task: asyncio.Task[Any], handle: asyncio.Handle) -> None:
        coroutine = task.get_coro()
        number = self._tasks.get(task)
        if number is None:
            number = self._tasks[task] = next(_numbers)
            self._belong(number)
            name = getattr(coroutine, "__qualname__", type(coroutine).__qualname__)
            code = getattr(coroutine, "cr_code", None)
            kind = "library" if code and _is_library(code) else "task"
            _zolal.trace_request_begin(kind, _cut(f"{task.get_name()}: {name}()"))
        else:
            self._belong(number)
        if number in self._waiting:
            _zolal.trace_leave(False, "wait")
            self._waiting.discard(number)
        text, line, _ = _position(coroutine)
        self._run_handle(handle, text, line)
        if task.done():
            outcome = CANCELLED if task.cancelled() else DONE
            if outcome == DONE and getattr(task, "_exception", None) is not None:
                outcome = FAILED
            _zolal.trace_request_end(outcome, 0)
        else:
            text, line, library = _position(coroutine)
            name, _, path = text.partition(" (")
            what = f"{_awaited(task, library)} < {name}"
            _zolal.trace_enter(f"{what} ({path}" if path else what, line, "wait")
            self._waiting.add(number)
        del task, handle, coroutine  # see _run_handle

    def _call(self, callback: Any, handle: asyncio.Handle) -> None:
        name = _callback_name(callback)
        self._belong(next(_numbers))
        _zolal.trace_request_begin("callback", _cut(name))
        code = getattr(getattr(callback, "__func__", callback), "__code__", None)
        self._run_handle(handle, _text(code) if code else name, code.co_firstlineno if code else 0)
        _zolal.trace_request_end(DONE, 0)

    def _run_handle(self, handle: asyncio.Handle, text: str, line: int) -> None:
        """Run it. What a task raises has its frames and, from Python 3.12 on, those that called
        them: the task must not be in those, or only the garbage collector ends it."""
        _zolal.trace_enter(text, line, "step")
        try:
            handle._run()
        finally:
            if self._found:
                _zolal.trace_enter(*self._found, "blocked")
                _zolal.trace_leave(False, "blocked")
            _zolal.trace_leave(False, "step")
            del handle

    def _look(self, ident: int) -> None:
        """Where does a callback stand that takes long? Another thread sees that, once."""
        looked_at = 0.0
        while not self._over.wait(LONG_SECONDS / 2):
            began = self._began
            if not began or began == looked_at or time.monotonic() - began < LONG_SECONDS:
                continue
            looked_at, frame = began, sys._current_frames().get(ident)
            while frame is not None and _is_library(frame.f_code):
                frame = frame.f_back
            if frame is not None and began == self._began:
                self._found = _text(frame.f_code), frame.f_lineno

    def report(self, message: str, text: str, line: int = 0) -> None:
        """Something that asyncio or Python complains of. `text`: "what (file)". What another thread
        collects as garbage is not reported: its calls are another's."""
        if _watching.get(threading.get_ident()) is not self:
            return
        before = self._subject
        self._belong(next(_numbers))
        _zolal.trace_request_begin("report", _cut(message))
        _zolal.trace_enter(text, line)
        _zolal.trace_leave()
        _zolal.trace_request_end(FAILED, 0)
        self._belong(before)

    def report_context(self, context: dict[str, Any]) -> None:
        """What the loop's exception handler is given."""
        task = context.get("task") or context.get("future")
        code = None
        if isinstance(task, asyncio.Task):
            code = getattr(task.get_coro(), "cr_code", None)
        failure = context.get("exception")
        message = context.get("message", "")
        if failure is not None:
            message = f"{message}: {type(failure).__name__}: {failure}"
        line = code.co_firstlineno if code else 0
        trace = failure.__traceback__ if failure is not None else None
        while trace is not None:  # the innermost line of the program that raised
            if not _is_library(trace.tb_frame.f_code):
                code, line = trace.tb_frame.f_code, trace.tb_lineno
            trace = trace.tb_next
        self.report(message, _text(code) if code else "", line)


_watching: dict[int, Watch] = {}
"""By thread: whose loop runs there."""

_warnings: Any = warnings
_warn_unawaited = _warnings._warn_unawaited_coroutine


def _report_unawaited(coroutine: Any) -> None:
    """Python calls this of a coroutine that goes away and was never awaited."""
    watch = _watching.get(threading.get_ident())
    if watch is not None:
        code = getattr(coroutine, "cr_code", None)  # sock_*() has none
        text, line = (_text(code), code.co_firstlineno) if code else ("", 0)
        for path, origin, function in (coroutine.cr_origin or ())[:1]:
            text, line = f"{function} ({path})", origin
        watch.report(f"{coroutine.__qualname__}() was never awaited", text, line)
    _warn_unawaited(coroutine)


_warnings._warn_unawaited_coroutine = _report_unawaited
