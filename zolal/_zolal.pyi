"""The extension module: what the C core offers to the Python package. Not a public interface."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

version: str

limits: dict[str, tuple[int, str]]
"""Every limit: name -> (default, meaning), as src/server/limits.h lists them."""

class Server:
    """A worker that serves a WSGI application (PEP 3333)."""

    def __init__(
        self,
        *,
        access_log_fd: int = -1,
        limits: dict[str, int] | None = None,
        handle_signals: bool = False,
        python_calls: bool = False,
        on_message: Callable[[str], object] | None = None,
        header_map: str = "drop",
        threads: int = 1,
        on_answer: Callable[[str, int, str, int, int, str | None], object] | None = None,
        server: str | None = None,
    ) -> None:
        """`python_calls`: record the calls between server and application with file and line.
        `on_message`: a line for the operator. ValueError names a limit that does not exist.
        `on_answer(host, port, request_line, status, bytes, refused)`: an answer is over; `refused`
        is why the server itself gave it. `server`: the Server field; None: zolal."""

    def listen(
        self,
        address: str,
        *,
        backlog: int = 2048,
        v6_only: bool = False,
        reuse_port: bool = False,
        defer_accept: int = 1,
        unix_mode: int = 0,
        environ: dict[str, Any] = ...,
    ) -> str:
        """Listen on "host:port", ":port", "[::]:port" or "unix:path". Returns the address as it
        came to be (port 0 becomes a port). OSError: errno, and a line for the user as strerror.
        `environ`: what else every environ has, in the place of what it would have."""

    def adopt(self, fileno: int, *, environ: dict[str, Any] = ...) -> str:
        """Take connections from a listening socket, through a descriptor of our own: the caller
        keeps and closes `fileno`, which is made non-blocking. Returns its address."""

    def _follow(self, number: int) -> None:
        """The life of an application thread: what each that the server starts calls. One that
        overrides it can do something before and after."""

    def run(self, application: Callable[[dict[str, Any], Any], Iterable[bytes]]) -> None:
        """Serve `application` in this thread until stop(), a signal (handle_signals), or an
        exception from a Python signal handler, which is raised here. May be called once."""

    def early_hints(self, headers: list[tuple[str, str]]) -> None:
        """wsgi.early_hints: send 103 (RFC 8297) for the request that is being answered."""

    def stop(self) -> None:
        """Ask run() to end; from any thread."""

    def close(self) -> None:
        """Close listeners and connections; run() does so by itself at its end."""

def recording_start(size: int = 0) -> str:
    """Start this process's recording (`size` bytes, 0: 1 MiB) and record the calling thread.
    Returns its path, "" when it lies in anonymous memory. RuntimeError if there is one."""

def recording_stop(remove: bool = True) -> None:
    """End it. `remove`: delete the file. Nothing happens when there is none."""

def trace_enter(text: str, line: int = 0, /) -> None:
    """Record that a call begins in this thread: "qualified name (file)" and a line, or any text.
    Texts are remembered: not too many different ones. Nothing happens without a recording."""

def trace_leave(failed: bool = False, /) -> None:
    """Record that it is over, whether an exception left it."""

class Event(NamedTuple):
    kind: str
    """ "call", "request_begin", "request_end", "state", "python_enter", "python_leave", "lost"."""
    op: str
    """Of a call its name, "recvfrom"; of python_*: "application", "next", "close", "read", "write",
    "start_response", "call"; else ""."""
    thread: int  # gettid(2)
    connection: int  # 0: none
    request: int  # 0: none
    begin_ns: int  # CLOCK_MONOTONIC
    end_ns: int
    fd: int
    argument: int
    result: int  # -errno on failure
    name: str
    args: bytes  # layouts: src/trace/event.h

class Reader:
    """Reads a recording, live or after its process is gone."""

    def __init__(self, path: str) -> None:
        """OSError when it cannot be opened, ValueError when it is no recording of this version."""

    pid: int
    ended: bool
    """The writer has closed the recording."""

    def read(self, most: int = 10000) -> list[Event]:
        """What is new, oldest first; [] when there is nothing now."""

    def close(self) -> None: ...
