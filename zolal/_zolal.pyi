"""The extension module: what the C core offers to the Python package. Not a public interface."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, overload

from typing_extensions import Buffer

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

version: str

def exact_launch(
    folder: bytes,
    size: int,
    has_all: bool,
    path: bytes,
    argv: list[bytes],
    environ: list[bytes],
    mask: list[int],
    /,
) -> tuple[int, object]:
    """Run a program that is traced by ptrace(2), by a process of its own: the program's pid, which
    is our child, and what exact_failure asks. `mask`: its signals that are blocked. OSError."""

def exact_attach(folder: bytes, size: int, has_all: bool, pid: int, /) -> tuple[int, object]:
    """Trace one that runs, until it ends or the tracer gets SIGTERM: the tracer's pid, which is our
    child. When this returns it is traced, or exact_failure says why not. OSError."""

def exact_failure(page: object, /) -> tuple[str, int] | None:
    """What has failed, "trace" or "run", and errno; None: nothing."""

def exact_status(page: object, /) -> int | None:
    """How the process has ended, as waitpid(2) says it; None: it has not, or was let go."""

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
        persistence: str = "always",
    ) -> None:
        """`python_calls`: record the calls between server and application with file and line.
        `on_message`: a line for the operator. ValueError names a limit that does not exist.
        `on_answer(host, port, request_line, status, bytes, refused)`: an answer is over; `refused`
        is why the server itself gave it. `server`: the Server field; None: zolal.
        `persistence`: which answers leave their connection open: "always"; "with_length", those
        with a Content-Length or without a body; "never"."""

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

    def adopt(
        self, fileno: int, *, environ: dict[str, Any] = ..., leave_queue: bool = False
    ) -> str:
        """Take connections from a listening socket, through a descriptor of our own: the caller
        keeps and closes `fileno`, which is made non-blocking. Returns its address. `leave_queue`:
        who waits in its queue at the end of run() is not answered, but left to who serves next."""

    application: Callable[[dict[str, Any], Any], Iterable[bytes]]
    """What run() calls for a request. Setting it does nothing unless run() runs."""

    def filenos(self) -> list[int]:
        """The descriptors of the listeners, in the order in which they came; they stay the
        server's."""

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

class Echo:
    """The echo server (RFC 862)."""

    def __init__(
        self, on_connection: Callable[[Any], object], on_message: Callable[[str], object]
    ) -> None:
        """`on_connection(address)`: it was accepted; the address is as a socket's accept() has it.
        `on_message`: a line for the operator."""

    def listen(self, address: str, *, backlog: int = 2048) -> str:
        """As Server.listen."""

    def run(self) -> None:
        """Echo, in this thread, until SIGTERM or SIGINT, which it handles; then all is closed."""

    def close(self) -> None:
        """Close listeners and connections. RuntimeError while it runs."""

def recording_start(size: int = 0) -> str:
    """Start this process's recording (`size` bytes, 0: 1 MiB) and record the calling thread; others
    join when they first use a Socket or poll(). Returns its path, "" when it lies in anonymous
    memory. RuntimeError if there is one."""

def recording_stop(remove: bool = True) -> None:
    """End it. `remove`: delete the file. Nothing happens when there is none."""

def record_places(folders: tuple[str, ...] | None, /) -> None:
    """From now on each kernel call of a Socket is recorded with its place: the lines of Python that
    led to it, out to the first whose file begins with none of `folders`. None: not any more."""

def trace_enter(text: str, line: int = 0, kind: str = "call", /) -> None:
    """Record that a call begins in this thread: "qualified name (file)" and a line, or any text.
    Texts are remembered: not too many different ones. Nothing happens without a recording.
    `kind`: one of TRACE_PYTHON_CALLS in src/trace/event.h."""

def trace_leave(failed: bool = False, kind: str = "call", /) -> None:
    """Record that it is over, whether an exception left it."""

def recording_join_preload() -> str | None:
    """The library of `zolal trace` records from now on what others than this extension call. The
    path of its recording; "": it has none; None: it is not loaded."""

def recording_path() -> str | None:
    """Of this process's recording, "" when it lies in anonymous memory; None: there is none."""

TASKS: int
"""The connection, for trace_subject(), of what belongs to a task; the request is its number."""

def trace_subject(connection: int, request: int = 0, /) -> None:
    """What this thread records from now on belongs to this connection and request; 0: to none."""

def trace_request_begin(method: str, target: str, /) -> None:
    """The subject's request has been read."""

def trace_request_end(status: int, bytes: int, /) -> None:
    """It is answered, by a body of so many bytes; status 0: none was sent."""

class Event(NamedTuple):
    kind: str
    """ "call", "request_begin", "request_end", "state", "python_enter", "python_leave",
    "python_yield", "python_resume", "python_switch", "python_whole",
    "first_line", "lost"."""
    op: str
    """Of a call its name, "recvfrom"; of python_*: "application", "next", "close", "read", "write",
    "start_response", "call", "c_call"; of a first line "received", "sent"; else ""."""
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
    place: tuple[tuple[str, int], ...] | None = None
    """Of a call: ("function (file)", line), ..., the innermost first; of a python_whole: what is
    called and its first line. No part of the sequence."""
    encrypted: bool = False
    """Of a call: what it has moved begins a TLS record. No part of the sequence."""
    under_way: bool = False
    """Of a python_enter: it had begun before calls were recorded. No part of the sequence."""
    resumed: bool = False
    suspended: bool = False
    """Of a python_whole: it began as a python_resume, ended as a python_yield. No parts either."""

class Reader:
    """Reads a recording, live or after its process is gone."""

    def __init__(self, path: str, offset: int = 0) -> None:
        """`offset`: where it begins in the file. OSError when it cannot be opened, ValueError when
        it is no recording of this version."""

    pid: int
    ended: bool
    """The writer has closed the recording."""

    def read(self, most: int = 10000) -> list[Event]:
        """What is new, oldest first; [] when there is nothing now."""

    def noted(self) -> list[Event]:
        """The latest call that each thread has begun of those that may wait, without its end: it is
        over if a call of the thread's has its begin_ns. Known of programs that are traced."""

    def header(self) -> dict[str, Any]:
        """Whose recording it is: pid, parent, program (NULs between the arguments), python, note,
        began_monotonic_ns, began_realtime_ns, filled_up (errno: why it grew no more), dropped."""

    def copy(self, fd: int, /) -> int:
        """Write a recording of what this one has to `fd`, without its holes; how many bytes."""

    def close(self) -> None: ...

class Socket:
    """A socket of the core: what zolal.socket.socket is made of, with the names, arguments,
    exceptions and time-outs of CPython's `_socket.socket`. Every kernel call is recorded.

    An address is (host, port) for AF_INET, (host, port[, flowinfo[, scope]]) for AF_INET6, a str
    or bytes for AF_UNIX (abstract with a leading NUL). OSError, in the subclass of the errno, for
    what the kernel refuses; TimeoutError when the time-out is over; socket.gaierror for a host's
    name that is not found; OverflowError for a port beyond 0 to 65535.
    """

    def __init__(
        self,
        family: int = -1,
        type: int = -1,
        proto: int = -1,
        fileno: int | None = None,
    ) -> None:
        """-1: AF_INET, SOCK_STREAM, 0; with `fileno`: what the kernel says. socket(2)."""

    @property
    def family(self) -> int: ...
    @property
    def type(self) -> int:
        """Without SOCK_NONBLOCK and SOCK_CLOEXEC."""

    @property
    def proto(self) -> int: ...
    @property
    def timeout(self) -> float | None:
        """Seconds; None: calls wait for ever."""

    def _accept(self, accepted: Socket, /) -> Any:
        """Open `accepted`, which was made by __new__ alone, with a connection; its peer's address.
        accept4(2)."""

    def bind(self, address: Any, /) -> None: ...
    def close(self) -> None: ...
    def connect(self, address: Any, /) -> None: ...
    def connect_ex(self, address: Any, /) -> int:
        """0, or the errno: EAGAIN when the time-out is over."""

    def detach(self) -> int: ...
    def fileno(self) -> int:
        """-1 when closed."""

    def getpeername(self) -> Any: ...
    def getsockname(self) -> Any: ...
    @overload
    def getsockopt(self, level: int, option: int, /) -> int: ...
    @overload
    def getsockopt(self, level: int, option: int, buflen: int, /) -> bytes: ...
    @overload
    def setsockopt(self, level: int, option: int, value: int | Buffer, /) -> None: ...
    @overload
    def setsockopt(self, level: int, option: int, value: None, optlen: int, /) -> None: ...
    def listen(self, backlog: int = 128, /) -> None: ...
    def recv(self, bufsize: int, flags: int = 0, /) -> bytes: ...
    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int: ...
    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]: ...
    def recvfrom_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]: ...
    def send(self, data: Buffer, flags: int = 0, /) -> int: ...
    def sendall(self, data: Buffer, flags: int = 0, /) -> None: ...
    @overload
    def sendto(self, data: Buffer, address: Any, /) -> int: ...
    @overload
    def sendto(self, data: Buffer, flags: int, address: Any, /) -> int: ...
    def sendmsg(
        self,
        buffers: Iterable[Buffer],
        ancdata: Iterable[tuple[int, int, Buffer]] = ...,
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int: ...
    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]: ...
    def recvmsg_into(
        self, buffers: Iterable[Buffer], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]: ...
    def _sendfile(self, in_fd: int, offset: int, count: int, /) -> int:
        """How many bytes of the file went, 0 at its end. sendfile(2)."""

    def setblocking(self, flag: bool, /) -> None: ...
    def getblocking(self) -> bool: ...
    def settimeout(self, timeout: float | None, /) -> None: ...
    def gettimeout(self) -> float | None: ...
    def shutdown(self, how: int, /) -> None: ...

def poll(
    fds: list[tuple[int | _HasFileno, int]], timeout_ms: int | None, /
) -> list[tuple[int, int]]:
    """Wait, without the GIL, until one of [(fd, events), ...] is ready: [(fd, revents), ...] of
    those that are, [] when the time is over. `timeout_ms`: None or below 0: for ever. A signal's
    handler runs meanwhile, and what it raises is raised; then the wait goes on. poll(2)."""

def socketpair(family: int = ..., type: int = ..., proto: int = 0, /) -> tuple[int, int]:
    """Two connected descriptors, close-on-exec. socketpair(2)."""

def dup_socket(fd: int, /) -> int:
    """Another descriptor of it, close-on-exec. fcntl(2), F_DUPFD_CLOEXEC."""

def close_socket(fd: int, /) -> None:
    """close(2)."""

def get_inheritable(fd: int, /) -> bool: ...
def set_inheritable(fd: int, inheritable: bool, /) -> None:
    """fcntl(2), FD_CLOEXEC."""

def getdefaulttimeout() -> float | None:
    """Seconds that new sockets of zolal wait; None: for ever."""

def setdefaulttimeout(timeout: float | None, /) -> None: ...

class LoopCore:
    """The part of zolal.EventLoop that is in C. The other methods of an event loop that it has are
    typed as asyncio types them."""

    _debug: bool
    _closed: bool
    _is_watched: bool
    _runs_on: bool
    _has_forked: bool

    def _run_once(self) -> None:
        """Wait, and run what is ready and due: a turn, or several where `_runs_on`."""

    def _watched(self) -> list[tuple[int, asyncio.Handle | None, asyncio.Handle | None]]:
        """(descriptor, reader, writer) of what add_reader() and add_writer() have."""

    def _forget_transport(self, transport: asyncio.Transport, /) -> int:
        """Its descriptor, which the core does not know to be used from now on."""

    def _connect(self, sock: Any, address: object, /) -> None:
        """connect(2) of a socket of the standard library's: BlockingIOError while it goes on."""

    def _connect_error(self, sock: Any, /) -> int:
        """What became of that: SO_ERROR, an errno or 0."""

    def _core_close(self) -> None:
        """Close the loop's descriptors and drop all callbacks."""

    def _core_reopen(self) -> None:
        """In a forked child: epoll and eventfd of its own, with the same registrations."""

class SocketOperation:
    """What sock_recv() and its like return: a coroutine in C."""

    __name__: str

def make_stream_transport(base: type, /) -> Any:
    """The loop's class of transports for streams, which derives from asyncio's."""

class TLSCore:
    """The part of asyncio's SSLProtocol that is in C, to derive from together with it."""

    def _do_read(self) -> None: ...
    def _write_appdata(self, list_of_data: Any, /) -> None: ...

class TLSMethods:
    """The part of asyncio's transport for TLS that is in C, to derive from together with it."""

    @classmethod
    def _adopt(cls, transports: type, /) -> None:
        """The class of transports that has the slots "_closed" and "_ssl_protocol"."""

    def write(self, data: Any, /) -> None: ...
    def is_closing(self) -> bool: ...
