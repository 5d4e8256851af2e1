"""Running a program with the recorder in it."""

from __future__ import annotations

import os
import signal

from zolal.trace.store import Folder
from zolal.trace.witness import Witness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIBRARY = "zolal_preload.so"
SIZE_LEAST = 1 << 20
SIZE_ENOUGH = 16 << 20
"""A recording in memory of so many bytes is better than a larger one on a disk."""


def library() -> str:
    """The path of the library that is loaded into the program."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), LIBRARY)


def environment(folder: Folder, size: int, calls: bool = False) -> dict[str, str]:
    """Ours, and what makes the program a traced one: src/preload/process.h."""
    before = os.environ.get("LD_PRELOAD")
    return {
        **os.environ,
        "ZOLAL_TRACE": f"{folder.path}:{size}" + (":calls" if calls else ""),
        "LD_PRELOAD": f"{library()}:{before}" if before else library(),
    }


def run(command: list[str], folder: Folder, size: int, calls: bool = False) -> int:
    """Run it to its end; its exit code, or -signal. OSError when it cannot be started."""
    variables = environment(folder, size, calls)

    def start(mask: Iterable[int]) -> int:
        # As a shell would start it, less what Python ignores. The module subprocess would take
        # longer to import than all else here.
        return os.posix_spawnp(
            command[0],
            command,
            variables,
            setsigmask=mask,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )

    return follow(start, folder)


def run_exact(path: str, command: list[str], folder: Folder, size: int, has_all: bool) -> int:
    """The same by ptrace(2). exact.NotTraced where that is not allowed."""
    from zolal.trace.exact import Program

    started = []

    def start(mask: Iterable[int]) -> int:
        started.append(Program(path, command, folder, size, has_all, mask))
        return started[0].pid

    status = follow(start, folder)
    started[0].check()
    return status


def follow(start: Callable[[Iterable[int]], int], folder: Folder) -> int:
    """Start a program, and wait for its end. It has our descriptors, and is in our process group:
    Ctrl-C is its to handle, and what else asks us alone to end is passed on."""
    passed = (signal.SIGTERM, signal.SIGHUP)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (*passed, signal.SIGINT, signal.SIGCHLD))
    try:
        child = start(mask)
        witness = Witness()
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            number = signal.sigwait((*passed, signal.SIGCHLD))
            if number in passed and not witness.was_sent(number):
                os.kill(child, number)
        witness.end()
        # What waits to be told was the program's.
        for number in (*passed, signal.SIGINT):
            signal.signal(number, signal.signal(number, signal.SIG_IGN))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    status = os.waitstatus_to_exitcode(ended[1])
    folder.end(status)
    return status
