"""A recorded kernel call as strace(1) would write it. The layouts are src/trace/event.h's."""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable

from zolal._zolal import Event
from zolal.xray import kernel_calls


def _names(prefix: str) -> dict[int, str]:
    """The socket module's constants by value; CAN's share their numbers with the others."""
    found = {name: value for name, value in vars(socket).items() if name.startswith(prefix)}
    return {int(value): name for name, value in found.items() if "J1939" not in name}


FAMILIES = {int(family): family.name for family in socket.AddressFamily}
TYPES = {1: "SOCK_STREAM", 2: "SOCK_DGRAM"}
TYPE_FLAGS = {0o4000: "SOCK_NONBLOCK", 0o2000000: "SOCK_CLOEXEC"}
EVENTFD_FLAGS = {0o4000: "EFD_NONBLOCK", 0o2000000: "EFD_CLOEXEC", 1: "EFD_SEMAPHORE"}
EPOLL_FLAGS = {0o2000000: "EPOLL_CLOEXEC"}
MESSAGE_FLAGS = {int(flag): flag.name for flag in socket.MsgFlag if flag.name}
EPOLL_OPERATIONS = {1: "EPOLL_CTL_ADD", 2: "EPOLL_CTL_DEL", 3: "EPOLL_CTL_MOD"}
EPOLL_EVENTS = {
    select.EPOLLIN: "IN",
    select.EPOLLPRI: "PRI",
    select.EPOLLOUT: "OUT",
    select.EPOLLERR: "ERR",
    select.EPOLLHUP: "HUP",
    select.EPOLLRDHUP: "RDHUP",
    select.EPOLLET: "ET",
}
POLL_EVENTS = {
    select.POLLIN: "IN",
    select.POLLPRI: "PRI",
    select.POLLOUT: "OUT",
    select.POLLERR: "ERR",
    select.POLLHUP: "HUP",
    select.POLLNVAL: "NVAL",
}
FCNTL = {1: "F_GETFD", 2: "F_SETFD", 3: "F_GETFL", 4: "F_SETFL", 1030: "F_DUPFD_CLOEXEC"}
IOCTL = {0x5421: "FIONBIO", 0x541B: "FIONREAD", 0x5450: "FIONCLEX", 0x5451: "FIOCLEX"}
SHUTDOWN = {0: "SHUT_RD", 1: "SHUT_WR", 2: "SHUT_RDWR"}
LEVELS = {
    1: ("SOL_SOCKET", _names("SO_")),
    6: ("IPPROTO_TCP", _names("TCP_")),
    41: ("IPPROTO_IPV6", _names("IPV6_")),
}


def _ints(data: bytes, count: int) -> list[int]:
    return [
        number for (number,) in struct.iter_unpack("=i", data[: min(len(data) // 4, count) * 4])
    ]


def _bits(value: int, names: dict[int, str]) -> str:
    found = [name for bit, name in names.items() if value & bit]
    return "|".join(found) or str(value)


def sockaddr(data: bytes) -> str:
    """ "127.0.0.1:80", "[::1]:80", "unix:path"; "" for no address."""
    if len(data) < 2:
        return ""
    (family,) = struct.unpack_from("=H", data)
    if family == socket.AF_INET and len(data) >= 8:
        (port,) = struct.unpack_from("!H", data, 2)
        return f"{socket.inet_ntop(socket.AF_INET, data[4:8])}:{port}"
    if family == socket.AF_INET6 and len(data) >= 24:
        (port,) = struct.unpack_from("!H", data, 2)
        return f"[{socket.inet_ntop(socket.AF_INET6, data[8:24])}]:{port}"
    if family == socket.AF_UNIX:
        path = data[2:]
        if path[:1] == b"\0":
            return "unix:@" + path[1:].decode("utf-8", "backslashreplace")
        return "unix:" + path.split(b"\0")[0].decode("utf-8", "backslashreplace")
    return FAMILIES.get(family, str(family))


def _socket(event: Event) -> str:
    family, kind, protocol = (*_ints(event.args, 3), 0, 0, 0)[:3]
    flags = "".join(f"|{name}" for bit, name in TYPE_FLAGS.items() if kind & bit)
    return f"{FAMILIES.get(family, family)}, {TYPES.get(kind & 0xF, kind & 0xF)}{flags}, {protocol}"


def _socketpair(event: Event) -> str:
    return f"{_socket(event)}, {_ints(event.args, 5)[3:]}"


def _length(event: Event) -> tuple[int, str]:
    """Length or count, and what is written of the flags behind it."""
    flags = event.argument >> 32
    return event.argument & 0xFFFFFFFF, f", {_bits(flags, MESSAGE_FLAGS)}" if flags else ""


def _fd_and_address(event: Event) -> str:
    return ", ".join(filter(None, [str(event.fd), sockaddr(event.args)]))


def _with_address(event: Event) -> str:
    length, flags = _length(event)
    address = sockaddr(event.args)
    return f"{event.fd}, {length}{flags}" + (f", {address}" if address else "")


def _eventfd(event: Event) -> str:
    count = _ints(event.args, 1)
    return f"{count[0] if count else 0}, {_bits(event.argument, EVENTFD_FLAGS)}"


def _poll(event: Event) -> str:
    if len(event.args) < 4:
        return "..."
    (timeout,) = struct.unpack_from("=i", event.args)
    polled = event.args[4 : 4 + (len(event.args) - 4) // 8 * 8]
    shown = []
    for fd, events, revents in struct.iter_unpack("=iHH", polled):
        got = f" = {_bits(revents, POLL_EVENTS)}" if revents else ""
        shown.append(f"{fd} {_bits(events, POLL_EVENTS)}{got}")
    more = ", ..." if event.argument > len(shown) else ""
    return f"[{', '.join(shown)}{more}], timeout {timeout} ms"


def _command(event: Event, names: dict[int, str]) -> str:
    name = names.get(event.argument, str(event.argument))
    return ", ".join([str(event.fd), name, *map(str, _ints(event.args, 1))])


def _option(event: Event) -> str:
    numbers = _ints(event.args, 3)
    if len(numbers) < 2:
        return str(event.fd)
    level, names = LEVELS.get(numbers[0], (str(numbers[0]), {}))
    value = f", [{numbers[2]}]" if len(numbers) > 2 else ""
    return f"{event.fd}, {level}, {names.get(numbers[1], numbers[1])}{value}"


def _parts(event: Event) -> str:
    lengths = [
        length for (length,) in struct.iter_unpack("=Q", event.args[: len(event.args) // 8 * 8])
    ]
    count, flags = _length(event)
    more = ", ..." if count > len(lengths) else ""
    return f"{event.fd}, [{', '.join(map(str, lengths))}{more}]{flags}"


def _sendfile(event: Event) -> str:
    if len(event.args) < 20:
        return str(event.fd)
    count, offset, in_fd = struct.unpack_from("=QQi", event.args)
    return f"{event.fd}, {in_fd}, [{offset}], {count}"


def _epoll_ctl(event: Event) -> str:
    numbers = _ints(event.args, 3)
    if len(numbers) < 3:
        return str(event.fd)
    operation = EPOLL_OPERATIONS.get(numbers[0], numbers[0])
    return f"{event.fd}, {operation}, {numbers[1]}, {_bits(numbers[2] & 0xFFFFFFFF, EPOLL_EVENTS)}"


def _epoll_wait(event: Event) -> str:
    numbers = _ints(event.args, len(event.args) // 4)
    ready = [
        f"{fd} {_bits(bits & 0xFFFFFFFF, EPOLL_EVENTS)}"
        for fd, bits in zip(numbers[::2], numbers[1::2], strict=False)
    ]
    more = ", ..." if event.result > len(ready) else ""
    timeout = event.argument if event.argument < 1 << 63 else event.argument - (1 << 64)
    return f"{event.fd}, [{', '.join(ready)}{more}], timeout {timeout} ms"


_ARGUMENTS: dict[str, Callable[[Event], str]] = {
    "socket": _socket,
    "bind": _fd_and_address,
    "connect": _fd_and_address,
    "listen": lambda event: f"{event.fd}, {event.argument}",
    "accept": _fd_and_address,
    "accept4": _fd_and_address,
    "getsockname": _fd_and_address,
    "getpeername": _fd_and_address,
    "recvfrom": _with_address,
    "sendto": _with_address,
    "socketpair": _socketpair,
    "poll": _poll,
    "ppoll": _poll,
    "select": _poll,
    "pselect6": _poll,
    "fcntl": lambda event: _command(event, FCNTL),
    "ioctl": lambda event: _command(event, IOCTL),
    "getsockopt": _option,
    "setsockopt": _option,
    "sendmsg": _parts,
    "recvmsg": _parts,
    "readv": _parts,
    "writev": _parts,
    "recvmmsg": lambda event: f"{event.fd}, {''.join(map(str, _length(event)))}",
    "sendmmsg": lambda event: f"{event.fd}, {''.join(map(str, _length(event)))}",
    "dup": lambda event: str(event.fd),
    "dup3": lambda event: ", ".join(map(str, [event.fd, event.argument, *_ints(event.args, 1)])),
    "splice": lambda event: ", ".join(map(str, [event.fd, *_ints(event.args, 1), event.argument])),
    "close_range": lambda event: ", ".join(
        map(str, [event.fd, event.argument, *_ints(event.args, 1)])
    ),
    "sendfile": _sendfile,
    "shutdown": lambda event: f"{event.fd}, {SHUTDOWN.get(event.argument, event.argument)}",
    "close": lambda event: str(event.fd),
    "epoll_create": lambda event: str(event.argument),
    "epoll_create1": lambda event: _bits(event.argument, EPOLL_FLAGS),
    "eventfd2": _eventfd,
    "eventfd": lambda event: str(event.argument),
    "epoll_ctl": _epoll_ctl,
    "epoll_wait": _epoll_wait,
    "epoll_pwait": _epoll_wait,
    "epoll_pwait2": _epoll_wait,
    "io_uring_setup": lambda event: str(event.argument),
    "io_uring_enter": lambda event: ", ".join(
        map(str, [event.fd, event.argument, *_ints(event.args, 2)])
    ),
}


def arguments(event: Event) -> str:
    """What stands between the parentheses."""
    if write := _ARGUMENTS.get(event.op):
        return write(event)
    if len(event.args) >= kernel_calls.WORDS:
        return kernel_calls.arguments(event.op, event.args)
    return f"{event.fd}, {event.argument}"


def all_arguments(event: Event) -> str:
    """The same with what people do not look at: the flags that each accept has."""
    if event.op == "accept4" and event.argument:
        return f"{arguments(event)}, {_bits(event.argument, TYPE_FLAGS)}"
    return arguments(event)


def result(event: Event) -> str:
    """The result; -1 and the error's name for a failure."""
    if event.result >= 0:
        return str(event.result)
    return f"-1 {errno.errorcode.get(-event.result, -event.result)}"


def call(event: Event) -> str:
    return f"{event.op}({arguments(event)}) = {result(event)}"
