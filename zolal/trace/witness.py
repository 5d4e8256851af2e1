"""Whether a signal was sent to our whole process group, or to us alone: the kernel does not say."""

from __future__ import annotations

import os
import signal


class Witness:
    """A process of our group that does nothing, and keeps each signal that it is sent. What it has
    when we are told was sent to the group: the kernel begins with the youngest of a group
    (kernel/signal.c, __kill_pgrp_info). It is no copy of us, whom one may look for by name."""

    def __init__(self) -> None:
        self._sent = 0  # signals that those before it had, a bit for each
        self._begin()

    def _begin(self) -> None:
        # Its input ends, and so does it, should we be killed.
        end, self._end = os.pipe()
        try:
            self._pid = os.posix_spawn(
                "/bin/cat",
                ["cat"],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, end, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setsigmask=signal.valid_signals(),
            )
        except OSError:
            self._pid = 0  # none can be had: then all is taken as sent to us alone
        os.close(end)

    def _kept(self) -> int:
        try:
            with open(f"/proc/{self._pid}/status") as file:
                return next(int(line[7:], 16) for line in file if line.startswith("ShdPnd:"))
        except (OSError, StopIteration):
            return 0

    def was_sent(self, number: int) -> bool:
        """Was it sent this signal, too, since it was asked for it last?"""
        bit = 1 << (number - 1)
        sent = self._sent | self._kept()
        if not sent & bit:
            return False
        # A signal that is kept is there once, however often it was sent: the next one is kept anew.
        self.end()
        self._sent = sent & ~bit
        self._begin()
        return True

    def end(self) -> None:
        os.close(self._end)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
