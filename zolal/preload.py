"""The library of `zolal trace` inside a server that is watched: it records what the application
calls by itself, on sockets of database drivers and HTTP clients; zolal's calls are zolal's."""

from __future__ import annotations

import atexit
import os
import shutil
import sys

from zolal import _zolal

FOLDER = "ZOLAL_XRAY_FOLDER"
"""In the environment: where the recordings lie, and the process that removes them."""

SIZE = 16 << 20


def restart() -> None:
    """Start this program anew with the library in it, which must be there from the beginning.
    Returns where it is there already, or cannot be had: then the application's own calls are not
    shown."""
    if _zolal.recording_join_preload() is not None or FOLDER in os.environ:
        return
    from zolal.trace.run import environment, library
    from zolal.trace.store import Folder

    if not os.path.exists(library()):
        return
    try:
        folder = Folder(sys.orig_argv, SIZE)
    except OSError:
        return
    variables = environment(folder, SIZE) | {FOLDER: f"{folder.path}:{os.getpid()}"}
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)
    except OSError:
        folder.remove()


def join() -> str:
    """The path of what the library records in this process, "" without it. At the process's end it
    is removed."""
    path = _zolal.recording_join_preload() or ""
    if path:
        atexit.register(_remove, path, os.getpid())
    return path


def _remove(path: str, pid: int) -> None:
    if os.getpid() != pid:
        return  # a forked child's atexit
    folder, _, owner = os.environ.get(FOLDER, "").rpartition(":")
    if owner == str(pid):
        shutil.rmtree(folder, ignore_errors=True)
    elif os.path.exists(path):
        os.unlink(path)
