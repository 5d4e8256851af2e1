"""An asyncio event loop whose core is in C: `zolal.run(main())`, `zolal.new_event_loop()`."""

from __future__ import annotations

import asyncio
import functools
import os
import selectors
import signal
import socket
import sys
import threading
import weakref
from asyncio import base_events, selector_events
from asyncio.base_events import _format_handle  # type: ignore[attr-defined]
from asyncio.constants import ACCEPT_RETRY_DELAY
from asyncio.format_helpers import _format_callback_source
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import zolal.socket
from zolal import _zolal
from zolal.recording import follow_recording, wants_xray
from zolal.tls import TLSLoop

__all__ = ["EventLoop", "new_event_loop", "run"]

if TYPE_CHECKING:
    from zolal.task_tracing import Watch

_T = TypeVar("_T")


class _Watched(selectors.BaseSelector):
    """What the loop watches by readers and writers, as a selector shows it; it selects nothing."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = weakref.ref(loop)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        loop = self._loop()
        rows = [] if loop is None else loop._watched()
        keys = {}
        for fd, reader, writer in rows:
            events = selectors.EVENT_READ if reader else 0
            events |= selectors.EVENT_WRITE if writer else 0
            keys[fd] = selectors.SelectorKey(fd, fd, events, (reader, writer))
        return keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        try:
            return self.get_map()[fd]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise NotImplementedError("use the loop's add_reader() and add_writer()")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise NotImplementedError("use the loop's remove_reader() and remove_writer()")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        raise NotImplementedError("the loop waits by itself")


_SelectorSocketTransport = vars(selector_events)["_SelectorSocketTransport"]
_StreamTransport = _zolal.make_stream_transport(_SelectorSocketTransport)
# Asyncio's name for what reads; None: the connection is lost.
_StreamTransport._read_ready_cb = property(lambda self: self._protocol and self._read_ready)
if sys.version_info >= (3, 12):

    def _writelines(self: Any, list_of_data: Iterable[Any]) -> None:
        """As asyncio's, which in 3.12.0 to 3.13.0 has nobody paused (CVE-2024-12254)."""
        _SelectorSocketTransport.writelines(self, list_of_data)
        if self.get_write_buffer_size() > 0:
            self._maybe_pause_protocol()

    _StreamTransport.writelines = _writelines


class _Connecting:
    """What asyncio's sock_connect() asks of a socket, with the loop's own kernel calls."""

    def __init__(self, loop: EventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._sock = sock
        self.fileno = sock.fileno

    def connect(self, address: object) -> None:
        self._loop._connect(self._sock, address)

    def getsockopt(self, level: int, option: int) -> int:
        return self._loop._connect_error(self._sock)


_sock_connect: Any = vars(selector_events.BaseSelectorEventLoop)["_sock_connect"]
_sendfile_native: Any = vars(selector_events.BaseSelectorEventLoop)["_sendfile_native"]


class EventLoop(_zolal.LoopCore, TLSLoop):
    """An asyncio event loop. Callbacks, timers, waiting, sockets, servers and streams' transports
    are in C; what else there is (TLS handshakes, subprocesses, look-ups, executors) is asyncio's
    own on top.

    `xray`: print what its tasks do, as they end; None: if ZOLAL_XRAY=1 says so."""

    if TYPE_CHECKING:  # what asyncio's classes have besides what is documented
        _csock: socket.socket
        _signal_handlers: dict[int, asyncio.Handle]
        _current_handle: asyncio.Handle | None

        _transports: weakref.WeakValueDictionary[int, asyncio.Transport]

        def _accept_connection2(self, *args: Any) -> Coroutine[Any, Any, None]: ...
        def _ensure_fd_no_transport(self, fd: object) -> None: ...
        def _remove_reader(self, fd: int) -> bool: ...
        def _start_serving(self, *args: Any) -> None: ...
        def _make_self_pipe(self) -> None: ...
        def _close_self_pipe(self) -> None: ...

    def __init__(self, *, xray: bool | None = None) -> None:
        super().__init__(_Watched(self))
        _loops.add(self)
        self._watch: Watch | None = None
        if wants_xray() if xray is None else xray:
            from zolal.task_tracing import Watch

            follow_recording()
            self._watch = Watch()
            self._is_watched = True

    def _sock_connect(self, future: object, sock: object, address: object) -> None:
        """Begin to connect. zolal's sockets make recorded calls by themselves."""
        if type(sock) is socket.socket:
            sock = _Connecting(self, sock)
        _sock_connect(self, future, sock, address)

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        **options: Any,
    ) -> asyncio.Transport:
        if sys.version_info >= (3, 12):
            self._ensure_fd_no_transport(sock)
        plain = type(sock) in (socket.socket, zolal.socket.socket)
        kind: Any = _StreamTransport if plain else _SelectorSocketTransport
        transport: asyncio.Transport = kind(self, sock, protocol, waiter, **options)
        return transport

    async def _sendfile_native(
        self, transport: asyncio.Transport, file: Any, offset: int, count: int
    ) -> int:
        """Send a file by sendfile(2). Meanwhile the socket is not the transport's."""
        self._transports[self._forget_transport(transport)] = transport
        sent: int = await _sendfile_native(self, transport, file, offset, count)
        return sent

    def _accepted(
        self, connection: socket.socket, peer: object, server: object, *rest: object
    ) -> None:
        """In debug mode: a connection came."""
        logger = vars(base_events)["logger"]
        logger.debug("%r got a new connection from %r: %r", server, peer, connection)

    def _accepted_secure(
        self,
        connection: socket.socket,
        peer: object,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        listener: socket.socket,
        sslcontext: object,
        server: object,
        backlog: int,
        *timeouts: float,
    ) -> None:
        """A connection came whose transport begins with TLS."""
        accept = self._accept_connection2(
            protocol_factory, connection, {"peername": peer}, sslcontext, server, *timeouts
        )
        self.create_task(accept)

    def _accept_failed(self, failure: BaseException, protocol: object) -> None:
        """In debug mode: a connection's protocol or transport could not be made."""
        message = "Error on transport creation for incoming connection"
        context = {"message": message, "exception": failure}
        if protocol is not None:
            context["protocol"] = protocol
        self.call_exception_handler(context)

    def _accept_later(
        self, failure: OSError, protocol_factory: object, listener: socket.socket, *rest: Any
    ) -> None:
        """There are no descriptors, or is no memory, for a connection: try again in a while."""
        self.call_exception_handler(
            {
                "message": "socket.accept() out of system resource",
                "exception": failure,
                "socket": TransportSocket(listener),
            }
        )
        self._remove_reader(listener.fileno())
        self.call_later(ACCEPT_RETRY_DELAY, self._start_serving, protocol_factory, listener, *rest)

    def run_forever(self) -> None:
        """Run until stop() is called."""
        woken = self._wake_on_signals()
        if not self.is_running():
            # Not where a subclass, or who has put another in its place, counts on single turns.
            own = type(self)._run_once is _zolal.LoopCore._run_once
            self._runs_on = own and "_run_once" not in vars(self)
            if self._watch:
                self._watch.begin()
        try:
            super().run_forever()
        finally:
            if not self.is_running():
                self._runs_on = False
                if self._watch:
                    self._watch.end()
            if woken and not self._signal_handlers:
                signal.set_wakeup_fd(-1)

    def _wake_on_signals(self) -> bool:
        """Have each signal write a byte to the loop: one that comes just before it waits, when
        Python has looked for signals already, would be slept through. Only the main thread may,
        and only where the program has no descriptor of its own for that."""
        if self.is_closed() or threading.current_thread() is not threading.main_thread():
            return False
        before = signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        if before in (-1, self._csock.fileno()):
            return True
        signal.set_wakeup_fd(before)
        return False

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove it; False where there is none."""
        removed = super().remove_signal_handler(sig)
        if removed and self.is_running():
            self._wake_on_signals()
        return removed

    def close(self) -> None:
        """Close the loop, which must not run."""
        if self._watch and not self.is_closed():
            self._watch.close(self._close)
        else:
            self._close()

    def _close(self) -> None:
        was_closed = self.is_closed()
        super().close()
        if not was_closed:
            self._core_close()

    def _callback_failed(self, handle: asyncio.Handle, failure: BaseException) -> None:
        """Report what a callback raised."""
        source = _format_callback_source(handle._callback, handle._args)  # type: ignore[attr-defined]
        context: dict[str, Any] = {
            "message": f"Exception in callback {source}",
            "exception": failure,
            "handle": handle,
        }
        traceback = getattr(handle, "_source_traceback", None)
        if traceback:
            context["source_traceback"] = traceback
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Call the loop's exception handler."""
        if self._watch:
            self._watch.report_context(context)
        super().call_exception_handler(context)

    def _run_handle(self, handle: asyncio.Handle) -> None:
        """Run a handle of asyncio's; any where it is recorded, and in debug mode, which says so
        if it takes long."""
        if handle._cancelled:
            return
        run = functools.partial(self._watch.run, handle) if self._watch else handle._run
        begin = self.time()
        self._current_handle = handle if self._debug else None
        try:
            run()
            seconds = self.time() - begin
            if self._debug and seconds >= self.slow_callback_duration:
                text = _format_handle(handle)
                vars(base_events)["logger"].warning("Executing %s took %.3f seconds", text, seconds)
        finally:
            self._current_handle = None
            del handle, run  # a task in it would hold this frame by the traceback of what it raised

    def _after_fork(self) -> None:
        """In a forked child: the parent keeps epoll and the pipe to itself."""
        if self.is_closed():
            return
        self._core_reopen()
        self._has_forked = True
        old = self._csock.fileno()
        self._close_self_pipe()
        self._make_self_pipe()
        if threading.current_thread() is threading.main_thread():
            before = signal.set_wakeup_fd(-1)
            if before != -1:
                signal.set_wakeup_fd(self._csock.fileno() if before == old else before)


_loops: weakref.WeakSet[EventLoop] = weakref.WeakSet()


def _after_fork() -> None:
    for loop in list(_loops):
        loop._after_fork()


def _note_fork() -> None:
    for loop in list(_loops):
        loop._has_forked = True


os.register_at_fork(after_in_child=_after_fork, after_in_parent=_note_fork)


def new_event_loop(*, xray: bool | None = None) -> EventLoop:
    """A new loop: for asyncio.run(main(), loop_factory=zolal.new_event_loop) and the like."""
    return EventLoop(xray=xray)


if sys.version_info >= (3, 11):

    def run(
        main: Coroutine[Any, Any, _T], *, debug: bool | None = None, xray: bool | None = None
    ) -> _T:
        """Run a coroutine on a new loop: asyncio.run(), on zolal. `debug`: None: as asyncio is
        told by PYTHONASYNCIODEBUG and -X dev. `xray`: print what its tasks do; None: if
        ZOLAL_XRAY=1 says so."""
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("zolal.run() cannot be called from a running event loop")
        factory = functools.partial(new_event_loop, xray=xray)
        with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
            return runner.run(main)

else:

    def run(
        main: Coroutine[Any, Any, _T], *, debug: bool | None = None, xray: bool | None = None
    ) -> _T:
        """Run a coroutine on a new loop: asyncio.run(), on zolal. `debug`: None: as asyncio is
        told by PYTHONASYNCIODEBUG and -X dev. `xray`: print what its tasks do; None: if
        ZOLAL_XRAY=1 says so."""
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("zolal.run() cannot be called from a running event loop")
        if not asyncio.iscoroutine(main):
            raise ValueError(f"a coroutine was expected, got {main!r}")
        loop = new_event_loop(xray=xray)
        try:
            asyncio.set_event_loop(loop)
            if debug is not None:
                loop.set_debug(debug)
            return loop.run_until_complete(main)
        finally:
            try:
                _cancel_all(loop)
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
            finally:
                asyncio.set_event_loop(None)
                loop.close()

    def _cancel_all(loop: EventLoop) -> None:
        """Cancel the tasks that are left, wait for them, and report what they raise."""
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                loop.call_exception_handler(
                    {
                        "message": "unhandled exception during zolal.run() shutdown",
                        "exception": task.exception(),
                        "task": task,
                    }
                )


if sys.version_info < (3, 12):

    class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        """asyncio.set_event_loop_policy(zolal.EventLoopPolicy()): for Python 3.11 and older."""

        _loop_factory: Callable[[], EventLoop] = EventLoop

    __all__ += ["EventLoopPolicy"]
