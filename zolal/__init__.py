"""zolal: a web server for Python that you can see through."""

from __future__ import annotations

from zolal._zolal import version as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sys

    from zolal.event_loop import EventLoop as EventLoop
    from zolal.event_loop import new_event_loop as new_event_loop
    from zolal.event_loop import run as run
    from zolal.server import Server as Server

    if sys.version_info < (3, 12):
        from zolal.event_loop import EventLoopPolicy as EventLoopPolicy

__all__ = ["EventLoop", "Server", "__version__", "new_event_loop", "run"]


def __getattr__(name: str) -> object:
    """What the command line does not need is imported when it is asked for."""
    if name == "Server":
        from zolal.server import Server

        return Server
    if name in ("EventLoop", "EventLoopPolicy", "new_event_loop", "run"):
        from zolal import event_loop

        return getattr(event_loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
