"""Programs traced by ptrace(2): each call as the kernel has it, however it is made."""

from __future__ import annotations

import os
import signal
import time
from errno import EPERM, ESRCH

from zolal import _zolal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from zolal.trace.store import Folder


ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Whoever sends one wants us to end."""


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


class Attached:
    """A program that runs already, and is traced from now on by a process of ours, the tracer."""

    def __init__(self, pid: int, folder: Folder, size: int, has_all: bool) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ASKS)  # until follow()
        path = os.fsencode(folder.path)
        self.tracer, self._page = _zolal.exact_attach(path, size, has_all, pid)
        if failure := _zolal.exact_failure(self._page):
            self.wait()
            raise NotTraced(failure[1])

    def wait(self) -> None:
        """Until it has ended, or was let go."""
        os.waitpid(self.tracer, 0)

    def let_go(self) -> None:
        """It runs on, and nobody traces it any more. A signal that the tracer is not waiting for at
        that moment is lost to it: until it has ended it gets another."""
        try:
            while os.waitpid(self.tracer, os.WNOHANG)[0] == 0:
                os.kill(self.tracer, signal.SIGTERM)
                time.sleep(0.01)
        except ChildProcessError:
            pass  # it had ended, and was waited for

    def follow(self) -> None:
        """Until it has ended, or we are asked to: Ctrl-C."""

        def stop(_number: int, _frame: object) -> None:
            for number in ASKS:
                signal.signal(number, lambda *_: None)  # once is enough
            raise KeyboardInterrupt

        for number in ASKS:
            signal.signal(number, stop)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            self.wait()
        except KeyboardInterrupt:
            self.let_go()

    @property
    def status(self) -> int | None:
        """Its exit code, or -signal; None: it runs on."""
        status = _zolal.exact_status(self._page)
        return None if status is None else os.waitstatus_to_exitcode(status)


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


def why_not(pid: int, error: NotTraced) -> str:
    """Why process `pid` does not let itself be traced by us, and what helps."""
    status = status_of(pid)
    if not status or error.errno == ESRCH:
        return "there is no such process"
    if status["State"].startswith("Z"):
        return "it has ended, and its parent has not asked how (a zombie)"
    if status.get("TracerPid", "0") != "0":
        return f"it is traced already, by {who(status['TracerPid'])}, and may have one tracer alone"
    if error.errno != EPERM:
        return str(error)
    if pid == os.getpid() or "VmSize" not in status:
        return "it is we" if pid == os.getpid() else "it is a part of the kernel"
    if os.geteuid() != 0 and int(status["Uid"].split()[0]) != os.getuid():
        return "it is another user's; with sudo it can be traced"
    if yama_scope() > 0 and not may_trace_anything():
        return _by_yama(yama_scope())
    return f"it takes CAP_SYS_PTRACE: sudo gives it; {CONTAINER}"


def _by_yama(scope: int) -> str:
    if scope == 3:
        return "kernel.yama.ptrace_scope is 3: nobody may trace until the machine starts anew"
    return (
        f"kernel.yama.ptrace_scope is {scope}; sudo, or once: "
        f"sudo sysctl kernel.yama.ptrace_scope={0 if scope == 1 else 1}"
    )
