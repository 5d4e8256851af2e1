"""A WSGI server inside a program.

    from zolal import Server

    with Server(app, bind="127.0.0.1:0") as server:   # serves in a thread of its own
        print(server.url)
        ...

    Server(app, bind=["127.0.0.1:8000", "unix:/run/app.sock"]).serve_forever()   # in this thread

Several may run in one process, in any thread. A server takes no signals: what a Python signal
handler raises (Ctrl-C: KeyboardInterrupt) ends serve_forever() and is raised by it, and a handler
may call shutdown()."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from zolal import _zolal
from zolal.address import url_of
from zolal.interruptible import Event
from zolal.recording import follow_recording, start_recording, wants_xray

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Server"]

Application: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]
"""A WSGI application: PEP 3333."""

Answered: TypeAlias = Callable[[str, int, str, int, int, "str | None"], object]
"""on_answer(host, port, request_line, status, bytes, refused)."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


Bind: TypeAlias = str | int | HasFileno

S = TypeVar("S", bound="Server")

THREADS = 16

_servers: weakref.WeakSet[Server] = weakref.WeakSet()
_running: weakref.WeakSet[Server] = weakref.WeakSet()
_here = threading.local()


class _Core(_zolal.Server):
    """One run of a server."""

    def __init__(
        self, around_thread: Callable[[], AbstractContextManager[object]] | None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._around_thread = around_thread

    def _follow(self, number: int) -> None:
        _here.core = self
        if self._around_thread is None:
            super()._follow(number)
        else:
            with self._around_thread():
                super()._follow(number)


class Server:
    """Serves a WSGI application. Listens from its creation on: who connects waits for a start.

    app: a callable, PEP 3333.
    bind: "host:port", ":port", "[::]:port", "unix:PATH", "unix:@NAME", or a listening socket (what
        has a fileno(); it stays the caller's, who closes it); several in a sequence. Port 0 becomes
        a free one: see `addresses`.
    threads: how many may be in the application at once, 1 to 1024; quick requests need one. With 1
        the application runs in the thread that serves.
    backlog: most connections that wait in the kernel's queue.
    limits: by their names in `Server.LIMITS`, over the defaults given there.
    environ: what else every environ has, in the place of what it would have.
    server_name: the Server field of answers.
    persistence: which answers leave their connection open: "always"; "with_length", those with a
        Content-Length or without a body; "never".
    around_thread: makes a context manager that each application thread runs in, for what is a
        thread's own: its connections to a database, say.
    on_answer: called as on_answer(host, port, request_line, status, bytes, refused) after each
        answer; `refused` is None, or why the server itself has refused the request.
    on_message: called with a line for the operator.
    access_log_fd: a descriptor that gets a line for each answer, in Apache's combined format.
    xray: print each request's journey to standard error. None: as the environment says,
        ZOLAL_XRAY=1.

    Raises OSError (its strerror is a line for people) when it cannot listen, ValueError for an
    option that cannot be."""

    LIMITS: Mapping[str, tuple[int, str]] = _zolal.limits
    """Every limit: its default and what it means."""

    def __init__(
        self,
        app: Application,
        *,
        bind: Bind | Sequence[Bind] = "127.0.0.1:8000",
        threads: int = THREADS,
        backlog: int = 2048,
        limits: Mapping[str, int] | None = None,
        environ: Mapping[str, Any] | None = None,
        server_name: str = "zolal",
        header_map: str = "drop",
        persistence: str = "always",
        around_thread: Callable[[], AbstractContextManager[object]] | None = None,
        on_answer: Answered | None = None,
        on_message: Callable[[str], object] | None = None,
        access_log_fd: int = -1,
        v6_only: bool = False,
        reuse_port: bool = False,
        unix_mode: int = 0,
        xray: bool | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(f"the application is not callable: {app!r}")
        self._app = app
        self._xray = wants_xray() if xray is None else xray
        self._options: dict[str, Any] = {
            "around_thread": around_thread,
            "threads": threads,
            "limits": dict(limits or {}),
            "server": server_name,
            "header_map": header_map,
            "persistence": persistence,
            "on_answer": on_answer,
            "on_message": on_message,
            "access_log_fd": access_log_fd,
            "python_calls": self._xray,
        }
        self._listen_options: dict[str, Any] = {
            "backlog": backlog,
            "v6_only": v6_only,
            "reuse_port": reuse_port,
            "unix_mode": unix_mode,
        }
        self._environ = dict(environ or {})
        self._begin_unstarted()
        self._bind = _binds(bind)
        self.addresses: list[str] = []
        """Where it listens, as it came to be: "127.0.0.1:43210", "unix:/run/app.sock"."""
        start_recording(self._xray)
        self._open()
        _servers.add(self)

    def _begin_unstarted(self) -> None:
        self._lock = threading.Lock()
        self._core: _Core | None = None
        self._serving: int | None = None  # the thread's ident
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._ended = Event()
        self._ended.set()

    def _open(self) -> _Core:
        """Listen, where that was given up at the end of a run; where it was before."""
        if self._core is None:
            core = _Core(**self._options)
            try:
                self.addresses = [self._listen(core, bind) for bind in self._bind]
            except BaseException:
                core.close()
                raise
            self._bind = [
                address if isinstance(bind, str) else bind
                for bind, address in zip(self._bind, self.addresses, strict=True)
            ]
            self._core = core
        return self._core

    def _listen(self, core: _Core, bind: Bind) -> str:
        if isinstance(bind, str):
            return core.listen(bind, environ=self._environ, **self._listen_options)
        fileno = bind if isinstance(bind, int) else bind.fileno()
        return core.adopt(fileno, environ=self._environ)

    @property
    def url(self) -> str:
        """What a person gives a browser, for the first address: "http://127.0.0.1:43210"."""
        return url_of(self.addresses[0])

    @property
    def address(self) -> str:
        """The first one."""
        return self.addresses[0]

    @property
    def port(self) -> int:
        """Of the first address; 0 for a UNIX socket."""
        address = self.addresses[0]
        return 0 if address.startswith("unix:") else int(address.rpartition(":")[2])

    @property
    def is_serving(self) -> bool:
        return not self._ended.is_set()

    def serve_forever(self) -> None:
        """Serve in this thread until shutdown(), or until a Python signal handler raises: that is
        raised here. A shutdown() since the creation makes it return at once. Afterwards, one may
        serve again, on the same addresses. RuntimeError: it serves already."""
        if self.is_serving:
            raise RuntimeError("the server is serving already")
        self._serve()

    def _serve(self) -> None:
        here = threading.get_ident()
        try:
            with self._lock:
                if self._serving is not None:
                    raise RuntimeError("the server is serving already")
                self._serving = here
                self._ended.clear()
                core = self._open()
                _running.add(self)
            if self._xray:
                follow_recording()
            core.run(self._app)
        finally:
            if self._serving == here:
                _running.discard(self)
                if self._core is not None:
                    self._core.close()
                self._core = None
                self._serving = None
                self._ended.set()

    def start(self: S) -> S:
        """Serve in a thread of its own; it does not keep the process. Returns the server."""
        with self._lock:
            if self.is_serving:
                raise RuntimeError("the server is serving already")
            self._open()
            self._failure = None
            thread = threading.Thread(
                target=self._serve_in_thread, name=f"zolal {self.url}", daemon=True
            )
            try:
                self._thread = thread
                self._ended.clear()
                thread.start()
            except BaseException:
                if thread.ident is None:
                    self._thread = None
                    self._ended.set()
                raise
        return self

    def _serve_in_thread(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._failure = error
            self._ended.set()

    @property
    def application(self) -> Application:
        """It may be exchanged while the server serves: for requests that begin after."""
        return self._app

    @application.setter
    def application(self, application: Application) -> None:
        if not callable(application):
            raise TypeError(f"the application is not callable: {application!r}")
        self._app = application
        core = self._core
        if core is not None:
            core.application = application

    def stop(self) -> None:
        """Ask it to end, and do not wait: shutdown()."""
        core = self._core
        if core is not None:
            try:
                core.stop()
            except RuntimeError:
                pass  # it has just ended and is closed

    def shutdown(self, timeout: float | None = None) -> bool:
        """Ask it to end: what is in the kernel's queue is answered, running requests get
        limits["graceful_ms"]. From any thread, a signal handler or the application; waits, at most
        `timeout` seconds, but where its own end would wait for that. Returns whether it has ended.
        Raises what has ended a server that was started by start()."""
        self.stop()
        if self.is_own_thread():
            return False
        if not self._ended.wait(timeout):
            return False
        thread = self._thread
        if thread is not None:
            thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return True

    def is_own_thread(self) -> bool:
        """Does the calling thread serve, or run the application for it?"""
        core = self._core
        if core is None:
            return False
        return self._serving == threading.get_ident() or getattr(_here, "core", None) is core

    def close(self) -> None:
        """shutdown(), then give the addresses up. Does nothing the second time."""
        try:
            self.shutdown()
        finally:
            with self._lock:
                if self._ended.is_set() and self._core is not None:
                    self._core.close()
                    self._core = None

    def __enter__(self: S) -> S:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "serving" if self.is_serving else "listening" if self._core else "closed"
        return f"<zolal.Server {' '.join(self.addresses)} {state}>"


def _binds(bind: Bind | Sequence[Bind]) -> list[Bind]:
    if isinstance(bind, Sequence) and not isinstance(bind, str):
        return list(bind)
    return [bind]


@atexit.register
def _end() -> None:
    """The threads of a server that nobody has ended are gone before the interpreter is."""
    for server in list(_running):
        server.stop()
        server._ended.wait(1)


def _after_fork() -> None:
    """The parent serves; what the child starts is its own."""
    _running.clear()
    for server in list(_servers):
        server._begin_unstarted()


os.register_at_fork(after_in_child=_after_fork)
