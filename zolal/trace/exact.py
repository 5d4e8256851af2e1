"""Programs traced by ptrace(2): each call as the kernel has it, however it is made."""

from __future__ import annotations

import os
from errno import EPERM

from zolal import _zolal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from zolal.trace.store import Folder


class NotTraced(Exception):
    """The kernel does not let us trace it. `errno`: why."""

    def __init__(self, errno: int) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno


class Program:
    """A program that is traced from its beginning. It is our child."""

    def __init__(
        self,
        path: str,
        command: list[str],
        folder: Folder,
        size: int,
        has_all: bool,
        mask: Iterable[int],
    ) -> None:
        self.pid, self._page = _zolal.exact_launch(
            os.fsencode(folder.path),
            size,
            has_all,
            os.fsencode(path),
            [os.fsencode(word) for word in command],
            [name + b"=" + value for name, value in os.environb.items()],
            list(mask),
        )

    def check(self) -> None:
        """It has ended: was it the program at all? NotTraced; OSError when it could not be run."""
        if failure := _zolal.exact_failure(self._page):
            what, errno = failure
            if what == "trace":
                raise NotTraced(errno)
            raise OSError(errno, os.strerror(errno))


def status_of(pid: int | str) -> dict[str, str]:
    """The lines of /proc/PID/status, proc_pid_status(5); {} when there is no such process."""
    try:
        with open(f"/proc/{pid}/status", errors="backslashreplace") as file:
            return {name: text.strip() for name, _, text in (line.partition(":") for line in file)}
    except OSError:
        return {}


def who(pid: int | str) -> str:
    """ "strace (12)" """
    return f"{status_of(pid).get('Name', 'a process')} ({pid})"


def yama_scope() -> int:
    """What the security module Yama lets trace: 0 all that the kernel does, 1 one's own children,
    2 who may trace anything, 3 nobody."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


CAP_SYS_PTRACE = 19
CONTAINER = "in a container it takes docker run --cap-add SYS_PTRACE"


def may_trace_anything() -> bool:
    return bool(int(status_of("self").get("CapEff", "0"), 16) >> CAP_SYS_PTRACE & 1)


def why_not_ours(error: NotTraced) -> str:
    """Why a program of our own is not let be traced, and what helps."""
    if error.errno != EPERM:
        return str(error)
    tracer = status_of("self").get("TracerPid", "0")
    if tracer != "0":
        return f"we are traced already, with all that we start, by {who(tracer)}"
    if yama_scope() >= 2 and not may_trace_anything():
        return _by_yama(yama_scope())
    return f"ptrace(2) is not permitted; {CONTAINER}"


def _by_yama(scope: int) -> str:
    if scope == 3:
        return "kernel.yama.ptrace_scope is 3: nobody may trace until the machine starts anew"
    return (
        f"kernel.yama.ptrace_scope is {scope}; sudo, or once: "
        f"sudo sysctl kernel.yama.ptrace_scope={0 if scope == 1 else 1}"
    )
