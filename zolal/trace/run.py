"""Running a program with the recorder in it."""

from __future__ import annotations

import os
import signal
import subprocess
from types import FrameType

from zolal.trace.store import Folder

LIBRARY = "zolal_preload.so"
SIZE_LEAST = 1 << 20


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
    """Run it to its end; its exit code, or -signal. It has our descriptors, and is in our process
    group: Ctrl-C is its to handle, and what else asks us to end is passed on. OSError when it
    cannot be started."""
    child = subprocess.Popen(command, env=environment(folder, size, calls), close_fds=False)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    before = [signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGHUP)]
    interrupts = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = child.wait()
    finally:
        signal.signal(signal.SIGINT, interrupts)
        for number, handler in zip((signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)
    folder.end(status)
    return status
