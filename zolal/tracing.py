"""Python calls in the recording: what stands in the tree around the kernel calls that were made
under them.

A call is entered with "qualified name (file)" and the line where its function begins, and left
with whether an exception left it. Without a recording both cost a function call."""

from __future__ import annotations

import functools
from types import CodeType
from typing import TYPE_CHECKING, TypeVar, cast

from zolal._zolal import trace_enter, trace_leave

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
                function = function.__wrapped__
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
