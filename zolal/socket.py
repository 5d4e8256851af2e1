"""Sockets as the standard library's `socket` has them, on zolal's own kernel calls.

The same names, arguments, exceptions and time-outs as `socket` of the running Python. What works on
a socket (socket(2) to close(2)) is zolal's: each kernel call is in the recording, if there is one.
With ZOLAL_XRAY=1 in the environment they are printed as they happen, with their Python lines.
Constants, address and name look-ups (`getaddrinfo`, `inet_pton`, ...) are the standard library's.
"""

from __future__ import annotations

import array
import builtins
import io
import os
import socket as _standard
import sys
from collections.abc import Callable, Iterable
from socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SCM_RIGHTS,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_STREAM,
    SOL_SOCKET,
    AddressFamily,
    AddressInfo,
    MsgFlag,
    SocketKind,
    getaddrinfo,
)
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn, TypeVar, overload

from zolal import _zolal
from zolal.recording import follow_recording, wants_xray

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

    # The standard library's others: see the end of the module.
    def __getattr__(name: str) -> Any: ...


__all__ = ["SocketIO", "AddressFamily", "AddressInfo", "MsgFlag", "SocketKind"]
__all__ += ["AF_INET", "AF_INET6", "AF_UNIX", "IPPROTO_IPV6", "IPV6_V6ONLY", "SCM_RIGHTS"]
__all__ += ["SOCK_STREAM", "SOL_SOCKET", "SO_REUSEADDR", "SO_REUSEPORT", "getaddrinfo"]
__all__ += _standard.__all__

getdefaulttimeout = _zolal.getdefaulttimeout
setdefaulttimeout = _zolal.setdefaulttimeout
SocketType = _zolal.Socket
error = OSError

# Type checkers know it from 3.11 on.
_text_encoding: Callable[[str | None], str] = vars(io)["text_encoding"]

_LOCALHOST, _LOCALHOST_V6 = "127.0.0.1", "::1"

# http.client and others hand on the standard library's, so it has to be that one.
_GLOBAL_DEFAULT_TIMEOUT: Any = _standard._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
_Address = Any  # a tuple, a path or bytes: as the family has it
_Kind = TypeVar("_Kind", AddressFamily, SocketKind)


def close(fd: int) -> None:
    """Close a descriptor: close(2)."""
    _zolal.close_socket(fd)


def dup(fd: int) -> int:
    """Another descriptor of the same socket, not inheritable: fcntl(2), F_DUPFD_CLOEXEC."""
    return _zolal.dup_socket(fd)


def _member(value: int, kind: builtins.type[_Kind]) -> _Kind | int:
    """The enum's member; the number itself where the enum has none."""
    try:
        return kind(value)
    except ValueError:
        return value


_is_to_be_followed = wants_xray()


def _follow() -> None:
    """ZOLAL_XRAY=1: what becomes of the sockets is printed, from the first one on."""
    global _is_to_be_followed
    _is_to_be_followed = False
    follow_recording()


class _GiveupOnSendfile(Exception):
    """sendfile(2) is not for this file: read it and send."""


class socket(_zolal.Socket):
    """A socket. `fileno`: one that is open already; what is not said of it is asked of the kernel.

    Not inheritable by programs that this one starts. Dropped while open: a ResourceWarning.
    Source: socket(2), ip(7), ipv6(7), unix(7).
    """

    __slots__ = ("__weakref__", "_closed", "_io_refs", "trace_number")

    trace_number: int  # of the connection in the recording, where a server has given it one

    _closed: bool
    _io_refs: int  # files of makefile() that are open: the descriptor outlives close() till then

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        if _is_to_be_followed:
            _follow()
        _zolal.Socket.__init__(self, family, type, proto, fileno)
        self._io_refs = 0
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._closed:
            self.close()

    def __repr__(self) -> str:
        kind, closed = self.__class__, getattr(self, "_closed", False)
        parts = [
            f"fd={self.fileno()}",
            f"family={self.family!s}",
            f"type={self.type!s}",
            f"proto={self.proto}",
        ]
        for name, ask in (("laddr", self.getsockname), ("raddr", self.getpeername)):
            try:
                address = None if closed else ask()
            except OSError:
                continue
            if address:
                parts.append(f"{name}={address!s}")
        state = " [closed]" if closed else ""
        return f"<{kind.__module__}.{kind.__qualname__}{state} {', '.join(parts)}>"

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {self.__class__.__name__!r} object")

    @property
    def family(self) -> AddressFamily | int:
        """AF_INET, AF_INET6, AF_UNIX, ..."""
        return _member(super().family, AddressFamily)

    @property
    def type(self) -> SocketKind | int:
        """SOCK_STREAM, SOCK_DGRAM, ...; without SOCK_NONBLOCK and SOCK_CLOEXEC."""
        return _member(super().type, SocketKind)

    def accept(self) -> tuple[socket, _Address]:
        """Wait for a connection: it, and its peer's address. accept4(2)."""
        accepted = socket.__new__(socket)
        accepted._io_refs = 0
        accepted._closed = False
        return accepted, self._accept(accepted)

    def dup(self) -> Self:
        """Another object with another descriptor of the same socket, and the same time-out."""
        copy = self.__class__(super().family, super().type, self.proto, dup(self.fileno()))
        copy.settimeout(self.gettimeout())
        return copy

    def close(self) -> None:
        """Close it, once the files that makefile() made are closed: close(2)."""
        self._closed = True
        if self._io_refs <= 0:
            self._real_close()

    def _real_close(self) -> None:
        _zolal.Socket.close(self)

    def _decref_socketios(self) -> None:
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._closed:
            self.close()

    def detach(self) -> int:
        """Give the descriptor away, which stays open; the object is as if closed."""
        self._closed = True
        return super().detach()

    def get_inheritable(self) -> bool:
        """Does a program that is started get the descriptor?"""
        return _zolal.get_inheritable(self.fileno())

    def set_inheritable(self, inheritable: bool) -> None:
        """Say whether it does: fcntl(2), FD_CLOEXEC."""
        _zolal.set_inheritable(self.fileno(), inheritable)

    @overload
    def makefile(
        self,
        mode: Literal["b", "rb", "br", "wb", "bw", "rwb", "rbw", "wrb", "wbr", "brw", "bwr"],
        buffering: Literal[0],
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> SocketIO: ...
    @overload
    def makefile(
        self,
        mode: Literal["rwb", "rbw", "wrb", "wbr", "brw", "bwr"],
        buffering: Literal[-1, 1] | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.BufferedRWPair: ...
    @overload
    def makefile(
        self,
        mode: Literal["b", "rb", "br"],
        buffering: Literal[-1, 1] | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.BufferedReader: ...
    @overload
    def makefile(
        self,
        mode: Literal["wb", "bw"],
        buffering: Literal[-1, 1] | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.BufferedWriter: ...
    @overload
    def makefile(
        self,
        mode: Literal["r", "w", "rw", "wr", ""] = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.TextIOWrapper: ...
    @overload
    def makefile(
        self,
        mode: str,
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any: ...
    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """A file on the socket, with the arguments of open(); of modes "r", "w" and "b" alone.

        `buffering`: bytes; None or below 0: io.DEFAULT_BUFFER_SIZE; 0, for binary modes: none.
        The descriptor is closed when this file and the socket are.
        """
        if not set(mode) <= {"r", "w", "b"}:
            raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
        writing, binary = "w" in mode, "b" in mode
        reading = "r" in mode or not writing
        raw = SocketIO(self, ("r" if reading else "") + ("w" if writing else ""))
        self._io_refs += 1
        size = io.DEFAULT_BUFFER_SIZE if buffering is None or buffering < 0 else buffering
        if size == 0:
            if not binary:
                raise ValueError("unbuffered streams must be binary")
            return raw
        buffer: Any
        if reading and writing:
            buffer = io.BufferedRWPair(raw, raw, size)
        else:
            buffer = io.BufferedReader(raw, size) if reading else io.BufferedWriter(raw, size)
        if binary:
            return buffer
        text = io.TextIOWrapper(buffer, _text_encoding(encoding), errors, newline)
        text.mode = mode  # type: ignore[misc]
        return text

    def sendfile(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> int:
        """Send `file` from `offset` on, `count` bytes or to its end; returns how many went.

        By sendfile(2) where the file has a descriptor for that, else read and sent. The file's
        position is behind what was sent, after an exception too. ValueError for a socket that does
        not wait, that is no SOCK_STREAM, and for a file of text.
        """
        try:
            return self._sendfile_use_sendfile(file, offset, count)
        except _GiveupOnSendfile:
            return self._sendfile_use_send(file, offset, count)

    def _check_sendfile_params(self, file: BinaryIO, offset: int, count: int | None) -> None:
        if "b" not in getattr(file, "mode", "b"):
            raise ValueError("file should be opened in binary mode")
        if not self.type & SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        if count is not None and not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count is not None and count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")

    def _check_sendfile_waits(self) -> None:
        if self.gettimeout() == 0:
            raise ValueError("non-blocking sockets are not supported")

    def _sendfile_use_sendfile(
        self, file: BinaryIO, offset: int = 0, count: int | None = None
    ) -> int:
        self._check_sendfile_params(file, offset, count)
        try:
            in_fd = file.fileno()
            size = os.fstat(in_fd).st_size
        except (AttributeError, OSError) as failure:  # io.UnsupportedOperation is an OSError
            raise _GiveupOnSendfile from failure
        if not size:
            return 0
        self._check_sendfile_waits()
        sent = 0
        try:
            while count is None or sent < count:
                # The kernel takes no more than 2 GiB at once.
                part = min(size if count is None else count - sent, 1 << 30)
                try:
                    n = self._sendfile(in_fd, offset + sent, part)
                except TimeoutError:
                    raise
                except OSError as failure:
                    if sent == 0:
                        raise _GiveupOnSendfile from failure
                    raise
                if n == 0:
                    break
                sent += n
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)
        return sent

    def _sendfile_use_send(self, file: BinaryIO, offset: int = 0, count: int | None = None) -> int:
        self._check_sendfile_params(file, offset, count)
        self._check_sendfile_waits()
        if offset:
            file.seek(offset)
        sent = 0
        try:
            while count is None or sent < count:
                part = 8192 if count is None else min(8192, count - sent)
                data = memoryview(file.read(part))
                if not data:
                    break
                while data:
                    n = self.send(data)
                    sent += n
                    data = data[n:]
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)
        return sent


class SocketIO(io.RawIOBase):
    """The raw file under makefile(). `mode`: "r", "w", "rw", or these with "b"."""

    def __init__(self, sock: socket, mode: str) -> None:
        if mode not in ("r", "w", "rw", "rb", "wb", "rwb"):
            raise ValueError(f"invalid mode: {mode!r}")
        super().__init__()
        self._sock: socket | None = sock
        self._mode = mode if "b" in mode else mode + "b"
        self._reading = "r" in mode
        self._writing = "w" in mode
        self._timeout_occurred = False

    def readinto(self, buffer: Buffer) -> int | None:
        """Wait as the socket does; None where a non-blocking one has nothing, 0 at the end."""
        sock = self._sock
        if sock is None or not self._reading:
            raise self._refusal("readable")
        if self._timeout_occurred:
            # What was read before the time-out may be lost in a buffer above.
            raise OSError("cannot read from timed out object")
        try:
            return sock.recv_into(buffer)
        except TimeoutError:
            self._timeout_occurred = True
            raise
        except BlockingIOError:
            return None

    def write(self, data: Buffer) -> int | None:
        """How many bytes went; None where a non-blocking socket takes none."""
        sock = self._sock
        if sock is None or not self._writing:
            raise self._refusal("writable")
        try:
            return sock.send(data)
        except BlockingIOError:
            return None

    def _refusal(self, what: str) -> ValueError:
        if self.closed:
            return ValueError("I/O operation on closed file.")
        return io.UnsupportedOperation(f"File or stream is not {what}.")

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed socket.")

    def readable(self) -> bool:
        self._check_open()
        return self._reading

    def writable(self) -> bool:
        self._check_open()
        return self._writing

    def seekable(self) -> bool:
        self._check_open()
        return super().seekable()

    def fileno(self) -> int:
        if self._sock is None:
            raise self._refusal("open")
        return self._sock.fileno()

    @property
    def name(self) -> int:
        """The descriptor, -1 when closed."""
        return -1 if self.closed else self.fileno()

    @property
    def mode(self) -> str:
        return self._mode

    def close(self) -> None:
        """Close the file; the socket goes too, if it was closed before."""
        if self.closed:
            return
        super().close()
        assert self._sock is not None
        self._sock._decref_socketios()
        self._sock = None


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> socket:
    """A socket on a duplicate of `fd`, which stays the caller's."""
    return socket(family, type, proto, dup(fd))


def socketpair(
    family: int | None = None, type: int = SOCK_STREAM, proto: int = 0
) -> tuple[socket, socket]:
    """Two sockets that are connected to each other, of AF_UNIX: socketpair(2)."""
    if _is_to_be_followed:
        _follow()
    family = AF_UNIX if family is None else family
    a, b = _zolal.socketpair(family, type, proto)
    return socket(family, type, proto, a), socket(family, type, proto, b)


def send_fds(
    sock: socket,
    buffers: Iterable[Buffer],
    fds: Iterable[int],
    flags: int = 0,
    address: _Address = None,
) -> int:
    """Send descriptors with `buffers` over an AF_UNIX socket: unix(7), SCM_RIGHTS."""
    rights = (SOL_SOCKET, SCM_RIGHTS, array.array("i", fds))
    return sock.sendmsg(buffers, [rights], flags, address)


def recv_fds(
    sock: socket, bufsize: int, maxfds: int, flags: int = 0
) -> tuple[bytes, list[int], int, _Address]:
    """(data, descriptors, flags, address): at most `maxfds` descriptors: unix(7), SCM_RIGHTS."""
    fds = array.array("i")
    room = _standard.CMSG_LEN(maxfds * fds.itemsize)
    data, ancillary, flags, address = sock.recvmsg(bufsize, room, flags)
    for level, kind, rights in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds.frombytes(rights[: len(rights) // fds.itemsize * fds.itemsize])
    return data, list(fds), flags, address


def create_connection(
    address: tuple[str | None, int],
    timeout: float | None = _GLOBAL_DEFAULT_TIMEOUT,
    source_address: tuple[str, int] | None = None,
    *,
    all_errors: bool = False,
) -> socket:
    """Connect to (host, port): each address that the host has is tried, in getaddrinfo's order.

    `timeout`: seconds for each try, and the socket's afterwards. When all have failed the first's
    exception is raised; with `all_errors`, from Python 3.11 on, an ExceptionGroup of them all.
    """
    host, port = address
    failures: list[OSError] = []
    for family, kind, proto, _, peer in getaddrinfo(host, port, 0, SOCK_STREAM):
        sock = None
        try:
            sock = socket(family, kind, proto)
            if timeout is not _GLOBAL_DEFAULT_TIMEOUT:
                sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(peer)
            return sock
        except OSError as failure:
            failures.append(failure)
            if sock is not None:
                sock.close()
    try:
        if not failures:
            raise OSError("getaddrinfo returns an empty list")
        if all_errors and sys.version_info >= (3, 11):
            raise builtins.ExceptionGroup("create_connection failed", failures)
        raise failures[0 if sys.version_info >= (3, 11) else -1]
    finally:
        failures.clear()  # their tracebacks hold this frame


def has_dualstack_ipv6() -> bool:
    """Can an AF_INET6 socket take IPv4 connections too?"""
    try:
        with socket(AF_INET6, SOCK_STREAM) as sock:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
            return True
    except OSError:
        return False


def create_server(
    address: _Address,
    *,
    family: int = AF_INET,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket:
    """A TCP socket that listens on (host, port), with SO_REUSEADDR.

    `backlog`: connections, None: 128. `dualstack_ipv6`: of AF_INET6, IPv4 too; else IPv6 alone.
    ValueError where the machine or the family cannot.
    """
    if dualstack_ipv6:
        if not has_dualstack_ipv6():
            raise ValueError("dualstack_ipv6 not supported on this platform")
        if family != AF_INET6:
            raise ValueError("dualstack_ipv6 requires AF_INET6 family")
    sock = socket(family, SOCK_STREAM)
    try:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
        if family == AF_INET6:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0 if dualstack_ipv6 else 1)
        try:
            sock.bind(address)
        except OSError as failure:
            text = f"{failure.strerror} (while attempting to bind on address {address!r})"
            raise OSError(failure.errno, text) from None
        if backlog is None:
            sock.listen()
        else:
            sock.listen(backlog)
        return sock
    except BaseException:
        sock.close()
        raise


# Whatever else the module of that name has: constants, look-ups of names, conversions. All that
# works on a socket stands above.
globals().update(
    {name: getattr(_standard, name) for name in _standard.__all__ if name not in globals()}
)
