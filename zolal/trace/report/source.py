"""The lines of Python that led to calls, as they stand in their files when the page is made."""

from __future__ import annotations

import os
import re
import stat
import tokenize
from dataclasses import dataclass

from zolal.trace.model import Frame

LIBRARY = re.compile(r"/lib(?:64)?/python3[^/]*/|/(?:site|dist)-packages/|^<|^$")
LARGEST = 1 << 22  # bytes of a file that is read
FILES = 200  # that are kept; more are not read
WIDEST = 160  # characters of a line
AROUND = 2  # lines before and after


@dataclass
class Quote:
    """A line and its neighbours, or why there are none."""

    lines: list[tuple[int, str]]
    remark: str = ""


class Sources:
    """Files of Python, read once. Others are not read, whatever a recording says."""

    def __init__(self, ended_ns: int) -> None:
        self._ended_ns = ended_ns  # of the trace
        self._files: dict[str, tuple[list[str], str]] = {}

    def quote(self, file: str, first: int, last: int, around: int = AROUND) -> Quote:
        """Lines `first` to `last`, and those around them."""
        if file not in self._files and len(self._files) < FILES:
            self._files[file] = self._read(file)
        lines, remark = self._files.get(file, ([], "too many files: it was not read"))
        if not 0 < first <= last <= len(lines):
            return Quote([], remark or "the file has no such line (any more)")
        begin = max(1, first - around)
        found = [(begin + at, line) for at, line in enumerate(lines[begin - 1 : last + around])]
        while found[0][0] < first and not found[0][1].strip():
            del found[0]
        while found[-1][0] > last and not found[-1][1].strip():
            del found[-1]
        margin = min(
            (len(line) - len(line.lstrip()) for _, line in found if line.strip()), default=0
        )
        return Quote([(number, line[margin:][:WIDEST]) for number, line in found], remark)

    def _read(self, path: str) -> tuple[list[str], str]:
        if path.startswith("<") or not path:
            return [], "it is not in a file: part of Python itself, or made while it ran"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return [], "the file is not there (any more), or cannot be read"
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            os.close(descriptor)
            return [], "it is not a file that could be quoted"
        with open(descriptor, "rb") as file:
            if not path.endswith((".py", ".pyw")) and b"python" not in file.readline(200):
                return [], "it does not look like a file of Python"
            file.seek(0)
            try:
                encoding = tokenize.detect_encoding(file.readline)[0]
            except SyntaxError:
                encoding = "latin-1"
            file.seek(0)
            content = file.read().decode(encoding, "replace")
        changed = status.st_mtime_ns > self._ended_ns
        remark = "the file has changed since: the line may be another" if changed else ""
        return [line.expandtabs(4) for line in content.splitlines()], remark


def own_frame(stack: tuple[Frame, ...]) -> Frame | None:
    """Of those that led to a call the line that its reader knows best: the innermost one of the
    program itself; where all is library (`python -m http.server`), of the module that was run."""
    for frame in reversed(stack):
        if not LIBRARY.search(frame.file):
            return frame
    mains = [
        frame.file
        for frame in stack[:8]
        if frame.function == "<module>" and not frame.file.startswith("<")
    ]
    for frame in reversed(stack):
        if mains and frame.file == mains[0]:
            return frame
    return stack[-1] if stack else None
