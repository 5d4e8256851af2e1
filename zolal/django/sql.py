"""SQL queries in the recording: each with its time, under the line of the project that asked for
it. Values are not recorded, as no payload is."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

import django
from django.db import connections
from django.db.backends.signals import connection_created

from zolal._zolal import trace_enter, trace_leave
from zolal.recording import wants_xray
from zolal.xray.node import SQL

if TYPE_CHECKING:
    from types import CodeType, FrameType

LONGEST = 200
DIFFERENT = 200
"""Texts that are recorded as they are: a recording keeps them all, and has 60 KiB for them."""
DIFFERENT_OTHERS = 300
"""Of later ones, only what is done to which table."""

_paths = sysconfig.get_paths()


def _folders(*folders: str) -> tuple[str, ...]:
    return tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)


OWN = _folders(os.path.dirname(os.path.dirname(__file__)))
PACKAGES = _folders(_paths["purelib"], _paths["platlib"])
STANDARD = _folders(_paths["stdlib"], _paths["platstdlib"])
SITE = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
MACHINERY = _folders(
    *(os.path.join(os.path.dirname(django.__file__), name) for name in ("db", "utils", "core"))
)
"""Of Django: it asks for queries on somebody's behalf."""

_QUOTED_NAME = re.compile(r"[\"`](\w+)[\"`]")
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_NUMBER = re.compile(r"(?<![\w\"%.])\d+(?:\.\d+)?(?![\w\"])")
_SELECTED = re.compile(r"^SELECT (?:DISTINCT )?(.{60,}?) FROM ", re.IGNORECASE)
_VALUES = re.compile(r"(\((?:%s|NULL|DEFAULT)(?:, (?:%s|NULL|DEFAULT))*\))(?:, \1)+")
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE|TABLE) ([^\s(]{1,60})", re.IGNORECASE)
_MANY = re.compile(r"\(%s(?:, %s){3,}\)")

_kinds: dict[CodeType, int] = {}
_known: set[str] = set()
_known_others: set[str] = set()


def shortened(sql: str) -> str:
    """A query on one line, without the values that stand in it, without quotes around plain names,
    and without most of a long list of columns."""
    text = " ".join(str(sql).split())
    text = _NUMBER.sub("?", _LITERAL.sub("?", text))
    text = _QUOTED_NAME.sub(r"\1", text)
    text = _MANY.sub("(%s, ...)", _VALUES.sub(r"\1, ...", text))
    selected = _SELECTED.match(text)
    if selected:
        columns = selected[1].split(", ")
        if len(columns) > 2:
            text = (
                text[: selected.start(1)]
                + f"{columns[0]}, ... {len(columns) - 1} more"
                + text[selected.end(1) :]
            )
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


def _remembered(text: str) -> str:
    """The text, or less of it where there have been too many."""
    for known, most, less in (
        (_known, DIFFERENT, text),
        (_known_others, DIFFERENT_OTHERS, _outline(text)),
    ):
        if less in known:
            return less
        if len(known) < most:
            known.add(less)
            return less
    return text.partition(" ")[0] + " ..."


def _outline(text: str) -> str:
    verb = text.partition(" ")[0]
    table = _TABLE.search(text)
    return f"{verb} ... {table[1]} ..." if table else f"{verb} ..."


PROJECT, PACKAGE, OTHER = range(3)


def _kind(code: CodeType) -> int:
    """Whose code it is: the project's, a package's that it uses, or neither's."""
    found = _kinds.get(code)
    if found is None:
        path = os.path.realpath(code.co_filename)
        found = PROJECT
        if code.co_filename.startswith("<") or path.startswith(MACHINERY + OWN):
            found = OTHER
        elif path.startswith(PACKAGES) or any(folder in path for folder in SITE):
            found = PACKAGE
        elif path.startswith(STANDARD):
            found = OTHER
        _kinds[code] = found
    return found


def _asking(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the project; if there is none, of a package that it uses."""
    package = None
    while frame is not None:
        kind = _kind(frame.f_code)
        if kind == PROJECT:
            return frame
        if kind == PACKAGE and package is None:
            package = frame
        frame = frame.f_back
    return package


def _name(code: CodeType) -> str:
    return getattr(code, "co_qualname", code.co_name)


def traced_execute(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    """For connection.execute_wrappers: run a query, and record it."""
    frame = _asking(sys._getframe(1))
    if frame is not None:
        trace_enter(f"{_name(frame.f_code)} ({frame.f_code.co_filename})", frame.f_lineno)
    trace_enter(SQL + _remembered(shortened(sql)), 0)
    failed = True
    try:
        result = execute(sql, params, many, context)
        failed = False
    finally:
        trace_leave(failed)
        if frame is not None:
            trace_leave(failed)
    return result


def _watch(connection: Any, **kwargs: Any) -> None:
    if traced_execute not in connection.execute_wrappers:
        connection.execute_wrappers.append(traced_execute)


def watch_if_wanted() -> None:
    """With --xray, record the queries of this process from now on, on all connections that there
    are and will be."""
    if wants_xray():
        connection_created.connect(_watch, dispatch_uid=__name__)
        for connection in connections.all(initialized_only=True):
            _watch(connection)
