"""Each kernel call in a sentence or two, for somebody who meets it for the first time."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from zolal.trace.connections import RECEIVES, WAITS, Connection
from zolal.trace.model import Call, Frame
from zolal.trace.report.cast import EPOLL_WAITS, watched
from zolal.trace.report.manual import ERRORS, OPTIONS
from zolal.trace.report.source import LIBRARY
from zolal.xray.render import duration

LONG_NS = 1_000_000
"""Who stands still for longer was waiting."""

FAMILIES = {1: "other programs on this machine (a UNIX socket)", 2: "IPv4", 10: "IPv6"}
TYPES = {1: "TCP", 2: "UDP"}


@dataclass
class Situation:
    """What is known around a call."""

    connection: Connection | None = None  # whose it is
    frame: Frame | None = None  # of Python, that made it
    is_known: bool = False  # the call, or how it failed, was explained before

    def is_in(self, module: str) -> bool:
        """Is it a module of the standard library's, of that name, that made the call?"""
        file = self.frame.file if self.frame else ""
        return bool(LIBRARY.search(file)) and file.endswith(f"/{module}.py")

    @property
    def is_trial(self) -> bool:
        """Is the call one of those by which a module that is imported tries what there is?"""
        function = self.frame.function if self.frame else ""
        return function == "_can_use" and self.is_in("selectors")


def took(ns: int) -> str:
    """A time that no line is broken in."""
    return duration(ns).replace(" ", "\u00a0")


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _bytes(count: int) -> str:
    return plural(count, "byte")


def _ints(call: Call, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}i", call.data[: 4 * count].ljust(4 * count, b"\0"))


def _socket(call: Call, now: Situation) -> str:
    family, kind, _ = _ints(call, 3)
    what = FAMILIES.get(family, "a kind of network that few programs use")
    if family in (2, 10):
        what = f"{TYPES.get(kind & 0xF, 'packets')} over {what}"
    said = (
        f"Asks the kernel for a new socket, an end point for {what}. It gets number {call.result}"
    )
    return said + (
        "." if now.is_known else ", its descriptor: the program calls it by that from now."
    )


def _socketpair(call: Call, now: Situation) -> str:
    fds = _ints(call, 5)[3:]
    return (
        f"Makes two sockets that are connected to each other, {fds[0]} and {fds[1]}: what is "
        "written into one comes out of the other. An event loop wakes itself up with such a pair."
    )


def _address(call: Call) -> str:
    words = [word for word in call.args.split(", ")[1:] if ":" in word]
    return words[0] if words else "an address"


def _bind(call: Call, now: Situation) -> str:
    address = _address(call)
    said = f"Gives the socket its address, {address}: who wants to reach the program calls there."
    if address.endswith(":0"):
        said += " Port 0 means: any that is free."
    return said


def _connect(call: Call, now: Situation) -> str:
    address = _address(call)
    how = (
        ""
        if address.startswith("unix")
        else " The kernel greets it there and waits for its greeting"
    )
    how += ", TCP's handshake." if how else ""
    return f"Calls {address}." + ("" if now.is_known or call.result < 0 else how)


def _listen(call: Call, now: Situation) -> str:
    return (
        "Makes it a listening socket. The kernel answers callers by itself from here on, and has "
        f"up to {call.argument} connections wait in a queue until the program takes them."
    )


def _accept(call: Call, now: Situation) -> str:
    peer = _address(call)
    peer = "the caller" if peer in ("an address", "unix:") else peer
    said = f"Takes the next connection from the queue: {peer} has called. "
    if now.is_known:
        return said + f"Its socket is descriptor {call.result}."
    return said + (
        f"The kernel makes a socket of its own for it, descriptor {call.result}; the listening "
        f"one, {call.fd}, stays free for the next caller."
    )


def _line(call: Call) -> str:
    """What the bytes are, where that was recognised."""
    if not call.first_line:
        return ""
    protocol, _, command = call.first_line.partition(" ")
    names = {"redis": "Redis", "postgresql": "PostgreSQL"}
    if protocol in names:
        return f" It is a command in {names[protocol]}'s language: {command}."
    return f" They begin with “{call.first_line}”."


def _receive(call: Call, now: Situation) -> str:
    if call.result == 0:
        return "Zero bytes: the other side has said all it had to say."
    verb = "Reads" if now.connection is None else "Takes"
    return f"{verb} {_bytes(call.result)} that came in.{_line(call)}"


def _send(call: Call, now: Situation) -> str:
    said = f"Hands {_bytes(call.result)} to the kernel"
    said += (
        "." if now.is_known else ", which sends them when the line is free: the program can go on."
    )
    said += _line(call)
    asked = call.argument & 0xFFFFFFFF
    if call.name in ("sendto", "write") and 0 <= call.result < asked < 0xFFFFFFFF:
        said += f" It had {asked:,}: the kernel's buffer is full, the rest must wait."
    return said


def _timeout(call: Call) -> int:
    """In milliseconds; -1: for ever."""
    if call.name in EPOLL_WAITS:
        return call.argument if call.argument < 1 << 63 else call.argument - (1 << 64)
    return _ints(call, 1)[0]


def _wait(call: Call, now: Situation) -> str:
    timeout = _timeout(call)
    fds = watched(call)
    if timeout == 0:
        said = "Looks, without waiting, whether there is something to do. "
        return said + (f"There is, on {_descriptors(fds)}." if call.result else "There is not.")
    if call.result == 0:
        return f"Sleeps until something happens; nothing did for {took(call.ns)}."
    said = "Sleeps until something happens. "
    if not now.is_known:
        said = "Gives the processor back and sleeps until something happens on what it watches. "
    if not fds:
        return said + "It did."
    return said + f"After {took(call.ns)} it does, on {_descriptors(fds)}."


def _descriptors(fds: list[int]) -> str:
    return ("descriptor " if len(fds) < 2 else "descriptors ") + (", ".join(map(str, fds)) or "one")


def _epoll_create(call: Call, now: Situation) -> str:
    if now.is_trial:
        return (
            "While it is imported, Python's selectors module tries whether this kernel has epoll."
        )
    if now.is_known:
        return f"Makes an epoll, descriptor {call.result}."
    return (
        f"Makes an epoll, descriptor {call.result}: a list, kept by the kernel, of what a program "
        "wants to be woken for. With it one thread looks after thousands of sockets."
    )


def _epoll_ctl(call: Call, now: Situation) -> str:
    operation, fd, _ = _ints(call, 3)
    if operation == 2:
        return f"Takes descriptor {fd} off the epoll's list."
    events = call.args.rsplit(", ", 1)[-1].split("|")
    what = {"IN": "something to read", "OUT": "room to write"}
    wanted = " or ".join(what[each] for each in events if each in what) or "its end"
    verb = "Puts descriptor {} on the epoll's list" if operation == 1 else "Changes descriptor {}"
    return verb.format(fd) + f": wake me when it has {wanted}."


def _close(call: Call, now: Situation) -> str:
    if now.connection is None:
        if now.is_trial:
            return f"It has. What it made for the trial is given back, and number {call.fd} too."
        return f"Gives descriptor {call.fd} back. The number is free again."
    if now.connection.kind == "listening":
        return "Gives the listening socket back: from here on nobody can call."
    who = "connection" if now.connection.kind in ("accepted", "connected") else "socket"
    return f"Gives the {who} back; number {call.fd} is free for the next one."


def _shutdown(call: Call, now: Situation) -> str:
    return {
        0: "Says that it will read no more.",
        1: "Tells the other side that nothing more will come: the end of the answer, in TCP a FIN. "
        "What it says could still be read.",
    }.get(call.argument, "Ends the connection in both directions, without giving the socket back.")


def _getsockname(call: Call, now: Situation) -> str:
    address = _address(call)
    if now.frame and now.frame.function.endswith("__init__") and now.is_in("socket"):
        return "Python makes a socket object of a descriptor, and asks the kernel what kind it is."
    return f"Asks which address the socket has on this side: {address}."


def _getpeername(call: Call, now: Situation) -> str:
    return f"Asks who is at the other end: {_address(call)}."


def _setsockopt(call: Call, now: Situation) -> str:
    option = (call.args.split(", ") + ["", "", ""])[2]
    meaning = OPTIONS.get(option, "how the kernel is to treat it")
    if call.args.endswith("[0]"):
        return f"Switches {option} off. Switched on it means: {meaning}."
    return f"Sets {option}: {meaning}."


def _getsockopt(call: Call, now: Situation) -> str:
    option = (call.args.split(", ") + ["", "", ""])[2]
    if option == "SO_ERROR":
        return "Asks how the last attempt on the socket, to connect for example, has ended."
    return f"Asks how {option} is set on the socket."


def _ioctl(call: Call, now: Situation) -> str:
    if "FIONBIO" not in call.args:
        return "Asks something of the device or socket behind the descriptor."
    if call.args.endswith("1"):
        said = f"Makes descriptor {call.fd} non-blocking"
        rest = (
            ": a call that would have to wait fails with EAGAIN, and the program can do other work"
        )
        return said + ("" if now.is_known else rest) + "."
    return f"Makes descriptor {call.fd} blocking: a call that has to wait sleeps."


def _fcntl(call: Call, now: Situation) -> str:
    command = (call.args.split(", ") + [""])[1]
    return {
        "F_GETFL": "Asks how the descriptor is set: is it blocking?",
        "F_SETFL": "Sets how the descriptor behaves, as blocking or not.",
        "F_GETFD": "Asks whether programs that this one starts would inherit the descriptor.",
        "F_SETFD": "Sets whether programs that this one starts inherit the descriptor.",
        "F_DUPFD_CLOEXEC": f"Makes {call.result} a second number for what {call.fd} stands for.",
    }.get(command, "Asks or sets a property of the descriptor.")


def _dup(call: Call, now: Situation) -> str:
    return f"Makes {call.result} a second number for what descriptor {call.fd} stands for."


def _eventfd(call: Call, now: Situation) -> str:
    return f"Makes a counter, descriptor {call.result}, by which threads wake one another up."


def _sendfile(call: Call, now: Situation) -> str:
    return (
        f"Sends {_bytes(call.result)} of a file straight from the kernel's memory: the program "
        "never sees them."
    )


def _splice(call: Call, now: Situation) -> str:
    return f"Moves {_bytes(call.result)} from one descriptor to another within the kernel."


def _messages(call: Call, now: Situation) -> str:
    verb = "Sends" if call.name == "sendmmsg" else "Receives"
    return f"{verb} {plural(call.result, 'message')} at once."


def _close_range(call: Call, now: Situation) -> str:
    return "Closes a whole range of descriptors: a new program is to begin without them."


def _io_uring(call: Call, now: Situation) -> str:
    return (
        "Makes an io_uring: two queues shared with the kernel. What goes through them makes no "
        "calls and is not seen here."
    )


def _io_uring_enter(call: Call, now: Situation) -> str:
    return (
        "Asks the kernel to look at an io_uring: work is queued there, or its results are wanted."
    )


WORDS: dict[str, Callable[[Call, Situation], str]] = {
    "socket": _socket,
    "socketpair": _socketpair,
    "bind": _bind,
    "connect": _connect,
    "listen": _listen,
    "accept": _accept,
    "accept4": _accept,
    **dict.fromkeys(("recvfrom", "recvmsg", "read", "readv"), _receive),
    **dict.fromkeys(("sendto", "sendmsg", "write", "writev"), _send),
    "recvmmsg": _messages,
    "sendmmsg": _messages,
    **dict.fromkeys(WAITS, _wait),
    "epoll_create": _epoll_create,
    "epoll_create1": _epoll_create,
    "epoll_ctl": _epoll_ctl,
    "close": _close,
    "shutdown": _shutdown,
    "getsockname": _getsockname,
    "getpeername": _getpeername,
    "setsockopt": _setsockopt,
    "getsockopt": _getsockopt,
    "ioctl": _ioctl,
    "fcntl": _fcntl,
    **dict.fromkeys(("dup", "dup2", "dup3"), _dup),
    "eventfd": _eventfd,
    "eventfd2": _eventfd,
    "sendfile": _sendfile,
    "splice": _splice,
    "close_range": _close_range,
    "io_uring_setup": _io_uring,
    "io_uring_enter": _io_uring_enter,
}

AIMS = {
    "socket": "Asks the kernel for a new socket.",
    "bind": "Would give the socket an address.",
    "listen": "Would make it a listening socket.",
    "accept": "Asks for a connection from the queue.",
    "accept4": "Asks for a connection from the queue.",
    "close": "Would give the descriptor back.",
    "shutdown": "Would tell the other side that nothing more comes.",
    **dict.fromkeys(RECEIVES, "Asks for bytes that came in."),
    **dict.fromkeys(("sendto", "sendmsg", "write", "writev", "sendfile"), "Has bytes to send."),
    **dict.fromkeys(WAITS, "Waits for something to happen."),
}
"""What a call wanted that failed, where the words for success would mislead."""


def _failure(call: Call, now: Situation) -> str:
    number = -call.result
    if now.is_known and number == errno.EAGAIN:
        return "Too early: there is nothing to do yet (EAGAIN)."
    fallback = "The kernel refuses: {text} ({name})."
    said = ERRORS.get(number, fallback)
    text = os.strerror(number).lower() if number in errno.errorcode else "an error unheard of"
    said = said.format(name=call.error, text=text)
    if call.is_unfinished:
        said = "The program ended, or was let go, before the kernel had an answer."
    aim = AIMS.get(call.name)
    if aim is None and call.name in WORDS:
        aim = WORDS[call.name](call, now)
    return f"{aim or 'Asks something of the kernel.'} {said}"


def sentence(call: Call, now: Situation) -> str:
    """What the call was for and what came of it."""
    if call.result < 0:
        return _failure(call, now)
    said = WORDS[call.name](call, now) if call.name in WORDS else "Asks something of the kernel."
    if call.encrypted:
        said += " They are encrypted"
        said += "." if now.is_known else " (TLS): only the two ends can read them."
    if call.ns >= LONG_NS and call.name in RECEIVES | {"accept", "accept4", "connect"}:
        said += f" The program stood still for {took(call.ns)} until then."
    return said
