"""Python calls in the recording: what stands in the tree around the kernel calls that were made
under them.

A call is entered with "qualified name (file)" and the line where its function begins, and left
with whether an exception left it. Without a recording both cost a function call."""

from __future__ import annotations

import functools
import itertools
from types import CodeType
from typing import TYPE_CHECKING, TypeVar, cast

from zolal._zolal import (
    trace_enter,
    trace_leave,
    trace_request_begin,
    trace_request_end,
    trace_subject,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    Function = TypeVar("Function", bound=Callable[..., Any])

WRAPPINGS = 16
"""Decorators around a function that are looked through."""


def place_of(function: Callable[..., Any]) -> tuple[str, int]:
    """("qualified name (file)", line) of a function, of what a partial or a decorator of the
    functools kind holds, or of an object that is called like one."""
    try:
        for _ in range(WRAPPINGS):
            if isinstance(function, functools.partial):
                function = function.func
            elif hasattr(function, "__wrapped__"):
                outer: Any = function
                function = outer.__wrapped__
            else:
                break
        code = getattr(function, "__code__", None)
        if code is None and not isinstance(function, type):
            code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        if isinstance(code, CodeType):
            return f"{name} ({code.co_filename})", code.co_firstlineno
        return str(name), 0
    except Exception:  # A proxy may raise anything when it is asked; its call is not ours to stop.
        return type(function).__qualname__, 0


_connections = itertools.count(1)
_requests = itertools.count(1)


def begin_connection() -> int:
    """A number for the connection that is about to be taken: what this thread records from now on
    belongs to it."""
    number = next(_connections)
    trace_subject(number)
    return number


def _number_of(request: Any) -> int:
    """What the server has given the connection; 0: nothing, or it is no socket of ours."""
    number = getattr(request, "trace_number", 0)
    return number if isinstance(number, int) else 0


def enter_connection(request: Any) -> None:
    """In the thread that goes on with it."""
    number = _number_of(request)
    if number:
        trace_subject(number)


def end_connection() -> None:
    trace_subject(0)


def _ascii(text: Any) -> str:
    return str(text).encode("ascii", "backslashreplace").decode("ascii")


def of_a_request(method: Function) -> Function:
    """For a handler's method that reads a request and answers it: what is recorded in it belongs to
    that request. The handler says what it has sent by `_answered`: (status, bytes)."""
    call = traced(method)

    @functools.wraps(method)
    def call_of_a_request(handler: Any) -> Any:
        connection = _number_of(handler.request) or next(_connections)
        trace_subject(connection, next(_requests))
        handler._answered = (0, 0)
        try:
            return call(handler)
        finally:
            if getattr(handler, "raw_requestline", None):
                command, path = getattr(handler, "command", None), getattr(handler, "path", "")
                trace_request_begin(_ascii(command or "-"), _ascii(path))
                trace_request_end(*handler._answered)
            trace_subject(connection)

    return cast("Function", call_of_a_request)


class Call:
    """`with Call(function):` around a call of it."""

    __slots__ = ("_place",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._place = place_of(function)

    def __enter__(self) -> None:
        trace_enter(*self._place)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        trace_leave(kind is not None)


def traced(function: Function) -> Function:
    """Its calls are in the recording."""
    text, line = place_of(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        trace_enter(text, line)
        failed = True
        try:
            result = function(*args, **kwargs)
            failed = False
        finally:
            trace_leave(failed)
        return result

    return cast("Function", call)
