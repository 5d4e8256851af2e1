"""zolal: a web server for Python that you can see through."""

from __future__ import annotations

from zolal._zolal import version as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from zolal.server import Server as Server

__all__ = ["Server", "__version__"]


def __getattr__(name: str) -> object:
    """What the command line does not need is imported when it is asked for."""
    if name == "Server":
        from zolal.server import Server

        return Server
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
