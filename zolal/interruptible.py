"""What threads share where a signal handler may raise in one of them at any moment."""

from __future__ import annotations

import threading
import time

LOOK_SECONDS = 0.5
"""Who waits looks so often whether set() was interrupted before it came to them."""


class Event:
    """threading.Event, but that no exception of a signal handler leaves it locked. That one's lock
    is taken by a with-statement over Python code: an exception raised within its __enter__(), when
    the lock is taken, leaves it taken, and whoever comes next waits for ever."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[threading.Lock] = []  # each is taken, and set() releases it

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for waiting in list(self._waiting):
            try:
                waiting.release()
            except RuntimeError:  # somebody else has set it, too
                pass

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is set; or, after `timeout` seconds, False."""
        waiting = threading.Lock()
        waiting.acquire()
        deadline = None if timeout is None else time.monotonic() + timeout
        self._waiting.append(waiting)
        try:
            while not self._is_set:
                left = LOOK_SECONDS
                if deadline is not None:
                    left = min(left, deadline - time.monotonic())
                if left <= 0:
                    return False
                if waiting.acquire(timeout=left):
                    break
        finally:
            self._waiting.remove(waiting)
        return True
