"""This process's recording, for the servers inside a program: it is on, as the command's is."""

from __future__ import annotations

import _thread
import atexit
import os

from zolal import _zolal

TYPE_CHECKING = False  # without importing typing: the command uses this module, too
if TYPE_CHECKING:
    from zolal.xray.follow import Follower

XRAY_SIZE = 16 << 20
"""Bytes of a recording that is printed as it grows."""

_follower: Follower | None = None
_lock = _thread.RLock()


def wants_xray() -> bool:
    """Does the environment ask for each request's journey: ZOLAL_XRAY=1?"""
    return os.environ.get("ZOLAL_XRAY", "") not in ("", "0")


def start_recording(xray: bool = False) -> str:
    """This process's recording; it is started if there is none. `xray`: a large one, with places.
    Returns its path, "" when only this process can read it."""
    if xray:
        record_places()
    with _lock:
        path = _zolal.recording_path()
        if path is None:
            try:
                path = _zolal.recording_start(XRAY_SIZE if xray else 0)
            except (OSError, MemoryError):
                path = ""  # there is no room: one goes without
        return path


def library_folders() -> tuple[str, ...]:
    """How file names begin that are no program's: zolal's, the standard library's, packages'."""
    import sysconfig

    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {os.path.dirname(__file__), "/usr/lib/python3/dist-packages"}
    folders |= {os.path.realpath(folder) for folder in folders}
    return ("<frozen ", *(os.path.join(folder, "") for folder in sorted(folders)))


def record_places() -> None:
    """From now on each kernel call of zolal.socket and zolal.EventLoop is recorded with the lines
    of Python that led to it: out to the first one of the program, which is neither zolal's nor a
    library's; in a task that is watched, to its outermost coroutine."""
    _zolal.record_places(library_folders())


def follow_recording() -> None:
    """Let another process print it, as it grows."""
    global _follower
    from zolal import preload
    from zolal.xray.follow import Follower

    with _lock:
        path = start_recording(True)
        if path and (_follower is None or _follower.path != path):
            _follower = Follower(path, program=preload.join())


@atexit.register
def _end() -> None:
    if _follower:
        _follower.close()
    _zolal.recording_stop()


def _after_fork() -> None:
    """The parent's recording is the parent's."""
    global _follower, _lock
    _follower, _lock = None, _thread.RLock()


os.register_at_fork(after_in_child=_after_fork)
