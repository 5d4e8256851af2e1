"""The drop-in for the standard library's socketserver, on zolal's sockets.

The classes have the names, the signatures, the attributes and the meaning of the standard ones.
Other than there,

- shutdown() is immediate, and may be called from anywhere: from any thread, from several, before
  serve_forever() has begun (which then returns at once), from a signal handler, and from a handler
  that runs in the serving thread (it then returns before the loop has ended);
- a server that is closed while it serves says so, by a ValueError out of serve_forever(), and a
  process without free descriptors waits for some: neither turns the loop at full speed.

The standard ThreadingMixIn and ForkingMixIn can be mixed in as well as the ones here."""

from __future__ import annotations

import errno
import io
import math
import os
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

from zolal import _zolal, socket
from zolal.recording import follow_recording, start_recording, wants_xray
from zolal.tracing import begin_connection, end_connection, enter_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer, Self

__all__ = [
    "BaseRequestHandler",
    "BaseServer",
    "DatagramRequestHandler",
    "ForkingMixIn",
    "ForkingTCPServer",
    "ForkingUDPServer",
    "ForkingUnixDatagramServer",
    "ForkingUnixStreamServer",
    "StreamRequestHandler",
    "TCPServer",
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
    "ThreadingUnixDatagramServer",
    "ThreadingUnixStreamServer",
    "UDPServer",
    "UnixDatagramServer",
    "UnixStreamServer",
]

ACCEPT_PAUSE_MS = 50
ACCEPT_PAUSES = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EINVAL,
    errno.EBADF,
    errno.ENOTSOCK,
}
"""What accept(2) may say again at once, and for long: no descriptors, no memory, or a socket that
does not listen any more."""


def _milliseconds(seconds: float | None) -> int | None:
    """For poll(2): rounded up, so that no wait is too short; None: for ever."""
    if seconds is None or seconds == math.inf:
        return None
    return max(0, math.ceil(seconds * 1000))


class Loop:
    """One serve_forever() that runs."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.process = os.getpid()
        self.stopping = False
        self.over = False
        self.wakeup = -1  # an eventfd
        self.waiters: list[threading.Lock] = []

    def is_here(self) -> bool:
        """Is it below on the stack, or waits it for the code that asks?"""
        return self.thread == threading.get_ident()

    def wake(self) -> None:
        os.eventfd_write(self.wakeup, 1)

    def set_app(self, application: Any) -> None:
        """The server's application is another one."""

    def sleep(self, milliseconds: int) -> None:
        """Wait, but for shutdown()."""
        _zolal.poll([(self.wakeup, select.POLLIN)], milliseconds)

    def drain(self) -> None:
        try:
            os.eventfd_read(self.wakeup)
        except BlockingIOError:
            pass


class _Loops:
    """The serve_forever() calls of a server that run: usually one or none.

    The lock is reentrant, and a waiter waits on a lock of its own, because a signal handler that
    calls shutdown() may interrupt its thread at any line of this class."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._running: list[Loop] = []
        self._stop_next = False

    def begin(self, loop: Loop) -> None:
        with self._lock:
            loop.wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._running.append(loop)
            if self._stop_next:
                self._stop_next = False
                loop.stopping = True

    def end(self, loop: Loop) -> None:
        with self._lock:
            loop.over = True
            if loop in self._running:
                self._running.remove(loop)
            wakeup, loop.wakeup = loop.wakeup, -1
            if wakeup >= 0:
                os.close(wakeup)
            while loop.waiters:
                loop.waiters.pop().release()

    def _of_this_process(self) -> list[Loop]:
        """Without those of a parent that has forked."""
        process = os.getpid()
        return [loop for loop in self._running if loop.process == process]

    def running(self) -> list[Loop]:
        with self._lock:
            return self._of_this_process()

    def wake(self) -> None:
        with self._lock:
            for loop in self._of_this_process():
                loop.wake()

    def pause(self) -> None:
        """The loop of this thread, if there is one, waits a little."""
        for loop in self._of_this_process():
            if loop.is_here():
                loop.sleep(ACCEPT_PAUSE_MS)

    def stop(self) -> None:
        """End the loops that run, and wait for that unless one of them is below on the stack. If
        there is none, the next one ends when it begins: its thread may be starting just now."""
        with self._lock:
            if any(loop.is_here() for loop in self._running):
                for loop in self._running:
                    loop.stopping = True
                self.wake()
                return
            loops = self._of_this_process()
            self._stop_next = not loops
            waiters = []
            for loop in loops:
                loop.stopping = True
                loop.wake()
                waiter = threading.Lock()
                waiter.acquire()
                loop.waiters.append(waiter)
                waiters.append(waiter)
        for waiter in waiters:
            waiter.acquire()


class BaseServer:
    """What the servers have in common.

    For the caller: serve_forever(), shutdown(), handle_request(), fileno().

    To be overridden: server_bind(), server_activate(), get_request(), handle_timeout(),
    verify_request(), process_request(), shutdown_request(), close_request(), service_actions(),
    handle_error(), server_close().

    `timeout`: seconds that handle_request() waits; None: for ever."""

    timeout: float | None = None

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Callable[[Any, Any, Any], Any],
    ) -> None:
        """May be extended, not overridden."""
        self.server_address = server_address
        self.RequestHandlerClass = RequestHandlerClass

    @property
    def _loops(self) -> _Loops:
        # Made when it is first needed: __init__ may have been another class's. The first thread to
        # come with one wins.
        return self.__dict__.setdefault("_zolal_loops", _Loops())  # type: ignore[no-any-return]

    def server_activate(self) -> None:
        """Called by the constructor."""

    def fileno(self) -> int:
        raise NotImplementedError

    def _open_fileno(self) -> int:
        fd = self.fileno()
        if fd < 0:
            raise ValueError(
                "the server is closed: shutdown() ends serve_forever(), then server_close() closes"
            )
        return fd

    def serve_forever(self, poll_interval: float | None = 0.5) -> None:
        """Handle requests until shutdown(). service_actions() is called after each, and each
        `poll_interval` seconds. `timeout` is ignored."""
        if wants_xray():
            follow_recording()
        interval = _milliseconds(poll_interval)
        loops = self._loops
        loop = Loop()
        try:
            loops.begin(loop)
            while not loop.stopping:
                fd = self._open_fileno()
                ready = dict(
                    _zolal.poll([(fd, select.POLLIN), (loop.wakeup, select.POLLIN)], interval)
                )
                if loop.stopping:
                    break
                if loop.wakeup in ready:
                    loop.drain()
                    self._open_fileno()
                if events := ready.get(fd):
                    if events & select.POLLNVAL:
                        raise ValueError("the server's descriptor was closed while it served")
                    self._handle_request_noblock()
                self.service_actions()
        finally:
            loops.end(loop)

    def shutdown(self) -> None:
        """End serve_forever(), and return when it has ended, or at once if this is called in its
        thread. If it does not run, the next call of it returns at once."""
        self._loops.stop()

    def service_actions(self) -> None:
        """Called by serve_forever() in each of its turns."""

    def handle_request(self) -> None:
        """Handle one request, or call handle_timeout() when none came within `timeout` seconds or
        the socket's own timeout, whichever is less."""
        limits = [limit for limit in (self._socket_timeout(), self.timeout) if limit is not None]
        if not limits:
            while not _zolal.poll([(self._open_fileno(), select.POLLIN)], None):
                pass
            return self._handle_request_noblock()
        left = min(limits)
        deadline = time.monotonic() + left
        while True:
            if _zolal.poll([(self._open_fileno(), select.POLLIN)], _milliseconds(left)):
                return self._handle_request_noblock()
            left = deadline - time.monotonic()
            if left < 0:
                return self.handle_timeout()

    def _socket_timeout(self) -> float | None:
        return self.socket.gettimeout()  # type: ignore[attr-defined, no-any-return]

    def _handle_request_noblock(self) -> None:
        """Handle the request that is there."""
        number = begin_connection()
        try:
            self._handle_connection(number)
        finally:
            end_connection()

    def _handle_connection(self, number: int) -> None:
        try:
            request, client_address = self.get_request()
        except OSError as error:
            if error.errno in ACCEPT_PAUSES:
                self._loops.pause()
            return
        if isinstance(request, socket.socket):
            request.trace_number = number
        if not self.verify_request(request, client_address):
            self.shutdown_request(request)
            return
        try:
            self.process_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
            self.shutdown_request(request)
        except BaseException:
            self.shutdown_request(request)
            raise

    def get_request(self) -> tuple[Any, Any]:
        """(request, client address). An OSError: there is none after all."""
        raise NotImplementedError

    def handle_timeout(self) -> None:
        """Called by handle_request() when no request came in time."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to process it."""
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """finish_request(), then shutdown_request(); the mix-ins do that elsewhere."""
        self.finish_request(request, client_address)
        self.shutdown_request(request)

    def server_close(self) -> None:
        """Give back what the server holds."""

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Make a RequestHandlerClass, which handles the request while it is made."""
        enter_connection(request)
        self.RequestHandlerClass(request, client_address, self)

    def shutdown_request(self, request: Any) -> None:
        """End one request."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Give back what one request holds."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An exception came out of process_request(), or out of a thread's finish_request(): print
        it, and go on."""
        import traceback

        line = "-" * 40
        print(line, file=sys.stderr)
        print(
            "Exception occurred during processing of request from",
            client_address,
            file=sys.stderr,
        )
        traceback.print_exc()
        print(line, file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.server_close()


class TCPServer(BaseServer):
    """A server of streams: with `address_family` AF_INET, AF_INET6 or AF_UNIX."""

    address_family: int = socket.AF_INET
    socket_type: int = socket.SOCK_STREAM
    request_queue_size = 5
    allow_reuse_address: bool = False
    allow_reuse_port: bool = False

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Callable[[Any, Any, Any], Any],
        bind_and_activate: bool = True,
    ) -> None:
        """May be extended, not overridden."""
        super().__init__(server_address, RequestHandlerClass)
        start_recording(wants_xray())
        self.socket = socket.socket(self.address_family, self.socket_type)
        if bind_and_activate:
            try:
                self.server_bind()
                self.server_activate()
            except BaseException:
                self.server_close()
                raise

    def server_bind(self) -> None:
        """Bind the socket to server_address, which becomes what the kernel made of it."""
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.allow_reuse_port and self.address_family in (socket.AF_INET, socket.AF_INET6):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        self.socket.listen(self.request_queue_size)

    def server_close(self) -> None:
        self.socket.close()
        self._loops.wake()

    def fileno(self) -> int:
        """Of the listening socket; -1 when it is closed."""
        return self.socket.fileno()

    def get_request(self) -> tuple[Any, Any]:
        return self.socket.accept()

    def shutdown_request(self, request: Any) -> None:
        """Say that nothing more follows, also where somebody else still holds the socket, and
        close it."""
        try:
            request.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The client has gone.
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        request.close()


class UDPServer(TCPServer):
    """A server of datagrams: a request is (data, the server's socket)."""

    socket_type = socket.SOCK_DGRAM
    max_packet_size = 8192

    def get_request(self) -> tuple[Any, Any]:
        data, client_address = self.socket.recvfrom(self.max_packet_size)
        return (data, self.socket), client_address

    def server_activate(self) -> None:
        """There is nothing to listen to."""

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """The socket is the server's."""


class UnixStreamServer(TCPServer):
    address_family = socket.AF_UNIX


class UnixDatagramServer(UDPServer):
    address_family = socket.AF_UNIX


if TYPE_CHECKING:
    _Mixed = BaseServer
else:
    _Mixed = object


class ForkingMixIn(_Mixed):
    """Each request in a process of its own."""

    timeout: float | None = 300
    active_children: set[int] | None = None
    max_children = 40
    block_on_close = True
    """server_close() waits for the processes."""

    def collect_children(self, *, blocking: bool = False) -> None:
        """Take note of processes that have ended; wait for one while there are max_children."""
        children = self.active_children
        if not children:
            return
        while len(children) >= self.max_children:
            try:
                # Any child: to ask for each would take as many calls as there are.
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                children.clear()
            except OSError:
                break
            else:
                children.discard(pid)
        for child in list(children):
            try:
                pid, _ = os.waitpid(child, 0 if blocking else os.WNOHANG)
            except ChildProcessError:
                children.discard(child)  # Somebody else has waited for it.
            except OSError:
                pass
            else:
                children.discard(pid)  # 0 while it runs.

    def handle_timeout(self) -> None:
        self.collect_children()

    def service_actions(self) -> None:
        self.collect_children()

    def process_request(self, request: Any, client_address: Any) -> None:
        pid = os.fork()
        if pid == 0:
            self._handle_in_child(request, client_address)
        if self.active_children is None:
            self.active_children = set()
        self.active_children.add(pid)
        self.close_request(request)

    def _handle_in_child(self, request: Any, client_address: Any) -> None:
        """It never returns: what is on the stack is the parent's."""
        status = 1
        try:
            self.finish_request(request, client_address)
            status = 0
        except Exception:
            self.handle_error(request, client_address)
        finally:
            try:
                self.shutdown_request(request)
            finally:
                os._exit(status)

    def server_close(self) -> None:
        super().server_close()
        self.collect_children(blocking=self.block_on_close)


class _Threads:
    """The threads that server_close() waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: list[threading.Thread] = []

    def __len__(self) -> int:
        return len(self._alive)

    def start(self, thread: threading.Thread) -> None:
        """Start it, and remember it if there is anything to wait for."""
        with self._lock:
            self._alive = [one for one in self._alive if one.is_alive()]
            thread.start()
            if not thread.daemon:
                self._alive.append(thread)

    def join(self) -> None:
        with self._lock:
            threads, self._alive = self._alive, []
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()


class ThreadingMixIn(_Mixed):
    """Each request in a thread of its own."""

    daemon_threads = False
    """They do not keep the process alive, and server_close() does not wait for them."""
    block_on_close = True
    """server_close() waits for the threads, if they are no daemons."""
    _threads: ClassVar[_Threads | tuple[()]] = ()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """What the thread does."""
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address)
        )
        thread.daemon = self.daemon_threads
        if self.block_on_close:
            self.__dict__.setdefault("_threads", _Threads()).start(thread)
        else:
            thread.start()

    def server_close(self) -> None:
        super().server_close()
        if threads := self._threads:
            threads.join()


class ForkingTCPServer(ForkingMixIn, TCPServer):
    pass


class ForkingUDPServer(ForkingMixIn, UDPServer):
    pass


class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer):
    pass


class ForkingUnixDatagramServer(ForkingMixIn, UnixDatagramServer):
    pass


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    pass


class ThreadingUDPServer(ThreadingMixIn, UDPServer):
    pass


class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
    pass


class ThreadingUnixDatagramServer(ThreadingMixIn, UnixDatagramServer):
    pass


class BaseRequestHandler:
    """One request: to make one of these is to handle it. setup(), handle() and finish() are to be
    overridden; they find the request, the client_address and the server as attributes."""

    def __init__(self, request: Any, client_address: Any, server: Any) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server
        self.setup()
        try:
            self.handle()
        finally:
            self.finish()

    def setup(self) -> None:
        """Called before handle()."""

    def handle(self) -> None:
        """Do what the request asks for."""

    def finish(self) -> None:
        """Called after handle(), whatever came of it, unless setup() failed."""


class _SocketReader(io.RawIOBase):
    """What is read from a connection. It knows how much that was: so tell() of the BufferedReader
    around it is how much of that has been taken."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__()
        self._raw = raw
        self._taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count: int | None = self._raw.readinto(buffer)
        self._taken += count or 0
        return count

    def tell(self) -> int:
        return self._taken

    def fileno(self) -> int:
        return self._raw.fileno()

    @property
    def name(self) -> Any:
        return self._raw.name  # type: ignore[attr-defined]

    @property
    def mode(self) -> str:
        return "rb"

    def close(self) -> None:
        try:
            self._raw.close()
        finally:
            super().close()


class _SocketWriter(io.BufferedIOBase):
    """What is written goes to the connection at once and in full."""

    def __init__(self, connection: Any) -> None:
        self._sock = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        self._sock.sendall(data)
        with memoryview(data) as view:
            return view.nbytes

    def fileno(self) -> int:
        fd: int = self._sock.fileno()
        return fd


class StreamRequestHandler(BaseRequestHandler):
    """A request that is a stream: `connection` is its socket, `rfile` what comes from it, `wfile`
    where the answer goes."""

    rbufsize = -1
    """Of rfile; 0: unbuffered, -1: io.DEFAULT_BUFFER_SIZE."""
    wbufsize = 0
    timeout: float | None = None
    """Seconds that each receive and send may take; None: for ever."""
    disable_nagle_algorithm = False
    """TCP_NODELAY; nothing on a socket that is not TCP's."""

    def setup(self) -> None:
        self.connection = self.request
        if self.timeout is not None:
            self.connection.settimeout(self.timeout)
        if self.disable_nagle_algorithm and self._is_tcp():
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.rfile = self._reader()
        if self.wbufsize == 0:
            self.wfile: Any = _SocketWriter(self.connection)
        else:
            self.wfile = self.connection.makefile("wb", self.wbufsize)

    def _is_tcp(self) -> bool:
        family = getattr(self.connection, "family", None)
        return family in (socket.AF_INET, socket.AF_INET6)

    def _reader(self) -> Any:
        raw = self.connection.makefile("rb", 0)
        if not isinstance(raw, io.RawIOBase):
            return raw  # Of a connection that is no socket.
        reader = _SocketReader(raw)
        if self.rbufsize == 0:
            return reader
        return io.BufferedReader(
            reader, self.rbufsize if self.rbufsize > 0 else io.DEFAULT_BUFFER_SIZE
        )

    def finish(self) -> None:
        if not self.wfile.closed:
            try:
                self.wfile.flush()
            except OSError:
                pass  # The client has gone.
        self.wfile.close()
        self.rfile.close()


class DatagramRequestHandler(BaseRequestHandler):
    """A request that is a datagram: `rfile` has it, and what `wfile` has at the end is sent."""

    def setup(self) -> None:
        self.packet, self.socket = self.request
        self.rfile = io.BytesIO(self.packet)
        self.wfile = io.BytesIO()

    def finish(self) -> None:
        self.socket.sendto(self.wfile.getvalue(), self.client_address)
