"""Programs traced by ptrace(2): each call as the kernel has it, however it is made."""

from __future__ import annotations

import os

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
