"""What strace(1) and the recorder say of one run, in the same words: (call, arguments, result)."""

import collections
import errno
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from running import PATIENCE

from zolal.trace import run
from zolal.trace.store import Folder

TRACED = (
    "%network,read,write,readv,writev,close,poll,ppoll,select,pselect6,epoll_create,epoll_create1,"
    "epoll_ctl,epoll_wait,epoll_pwait,epoll_pwait2,eventfd2,dup,dup2,dup3,fcntl,ioctl,sendfile,"
    "splice,close_range,restart_syscall"
)
LINE = re.compile(r"(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?:<[^>]*>)?(?: (E\w+))?(?: \(.*\))?$")
ON_ANY = {"read", "write", "readv", "writev", "close", "dup", "dup2", "dup3", "fcntl", "ioctl"}
WATCHED = re.compile(r"\d+<(?:socket:|anon_inode:\[event)")


class Call(tuple):
    """(call, arguments, result), as text for whoever reads a difference."""

    def __repr__(self):
        return f"{self[0]}({self[1]}) = {self[2]}"


def only_numbers(text):
    """3<socket:[123]> is 3."""
    return re.sub(r"(\d)<(?:socket|anon_inode|pipe|/)[^>]*>", r"\1", text)


def address(text):
    """What {sa_family=...} says; "" where there is none."""
    if found := re.search(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]*)"\)', text):
        return f"{found[2]}:{found[1]}"
    if found := re.search(r'sin6_port=htons\((\d+)\).*inet_pton\(AF_INET6, "([^"]*)"', text):
        return f"[{found[2]}]:{found[1]}"
    if found := re.search(r'sun_path=(@?)"([^"]*)"', text):
        return f"unix:{found[1]}{found[2]}"
    if "sa_family=AF_UNIX" in text:
        return "unix:"
    if found := re.search(r"sa_family=(AF_\w+)", text):
        return found[1]
    return ""


def listed(*words):
    return ", ".join(word for word in words if word)


def with_address(text, result):
    return listed(text.split(",")[0], address(text))


def found_address(text, result):
    """Of a call that fills one in."""
    return with_address(text, result) if result >= 0 else text.split(",")[0]


def accepted(text, result):
    flags = re.search(r", (SOCK_[A-Z|_]+)$", text)
    return listed(found_address(text, result), ordered(flags[1]) if flags else "")


def data(text, result):
    """fd, "bytes"..., length, flags, address, its length"""
    fd, rest = text.split(", ", 1)
    if rest.startswith('"'):
        rest = re.sub(r'^"(?:[^"\\]|\\.)*"(?:\.\.\.)?', "", rest)
    words = rest.split(", ")
    flags = words[2] if words[2] != "0" else ""
    return listed(fd, words[1], ordered(flags), address(rest))


def plain_data(text, result):
    return f"{text.split(',')[0]}, {text.rsplit(', ', 1)[1]}"


def parts(text, result):
    """sendmsg(2), writev(2): the length of each part."""
    found = re.findall(r"iov_len=(\d+)", text)
    if "msg_name" in text:
        flags = re.search(r"msg_flags=\w+\}, ([\w|]+)$", text) or re.search(r"\}, ([\w|]+)$", text)
        behind = flags[1] if flags and flags[1] != "0" else ""
    else:
        behind = ""
    return listed(f"{text.split(',')[0]}, [{', '.join(found)}]", behind)


def polled(text, result):
    """poll(2): fd and events of each, the time-out."""
    fds = re.findall(r"\{fd=(-?\d+), events=([\w|]+)\}", text)
    timeout = re.search(r"\], \d+, (.*)$", text)
    wait = timeout[1] if timeout else text.rsplit(", ", 1)[1]
    return f"[{', '.join(f'{fd} {bits(events)}' for fd, events in fds[:5])}], timeout {wait} ms"


def bits(text):
    return ordered(re.sub(r"E?POLL", "", text))


def selected(text, result):
    """select(2) as poll(2): fd and events of each, the time-out"""
    found = re.match(r"\d+, (NULL|\[[^]]*\]), (NULL|\[[^]]*\]), (NULL|\[[^]]*\]), (.*)", text)
    events = collections.defaultdict(list)
    for which, name in enumerate(("IN", "OUT", "PRI"), 1):
        for fd in re.findall(r"\d+", found[which]):
            events[int(fd)].append(name)
    shown = [f"{fd} {ordered('|'.join(names))}" for fd, names in sorted(events.items())]
    time = re.match(r"\{tv_sec=(\d+), tv_[un]sec=(\d+)\}", found[4])
    unit = 10**6 if "tv_nsec" in found[4] else 10**3
    wait = int(time[1]) * 1000 - -int(time[2]) // unit if time else -1
    return f"[{', '.join(shown[:5])}], timeout {wait} ms"


def epoll_changed(text, result):
    epoll, operation, fd = text.split(", ")[:3]
    events = re.search(r"events=([\w|]+)", text)
    return f"{epoll}, {operation}, {fd}, {bits(events[1]) if events else '0'}"


def epoll_found(text, result):
    ready = re.findall(r"\{events=([\w|]+), data=(?:0x([0-9a-f]+)|\{u32=(\d+))", text)
    wait = re.search(r", (-?\d+)(?:, (?:NULL|\[\]), \d+)?$", text)
    # Newer straces show all 64 bits as one number, of which most programs set the lower half.
    shown = ", ".join(
        f"{u32 or int(u64, 16) & 0xFFFFFFFF} {bits(events)}" for events, u64, u32 in ready[:6]
    )
    shown = shown if result >= 0 else ""
    return f"{text.split(',')[0]}, [{shown}], timeout {wait[1]} ms"


def option(text, result):
    """level, option, the number"""
    words = text.replace("SOL_IPV6", "IPPROTO_IPV6").replace("SOL_TCP", "IPPROTO_TCP").split(", ")
    value = re.search(r"\[(-?\d+)\]", text)
    return listed(*words[:3], f"[{value[1]}]" if value else "")


def created(text, result):
    family, kind = text.split(", ")[:2]
    return f"{family}, {ordered(kind)}"


def ordered(flags):
    """Of flags the order is nobody's: theirs and ours are sorted."""
    return "|".join(sorted(flags.split("|")))


def paired(text, result):
    return listed(created(text, result), re.search(r"\[[^\]]*\]$", text)[0])


def commanded(text, result):
    """fcntl(2), ioctl(2): the command, and FIONBIO's number"""
    words = text.split(", ")
    value = re.search(r"\[(\d+)\]", text) if words[1] == "FIONBIO" else None
    return listed(*words[:2], value[1] if value else "")


BY_STRACE = {
    "socket": created,
    "socketpair": paired,
    "bind": with_address,
    "connect": with_address,
    "getsockname": found_address,
    "getpeername": found_address,
    "accept": accepted,
    "accept4": accepted,
    "recvfrom": data,
    "sendto": data,
    "read": plain_data,
    "write": plain_data,
    "sendmsg": parts,
    "recvmsg": parts,
    "readv": parts,
    "writev": parts,
    "poll": polled,
    "select": selected,
    "pselect6": selected,
    "epoll_ctl": epoll_changed,
    "epoll_wait": epoll_found,
    "epoll_pwait": epoll_found,
    "setsockopt": option,
    "getsockopt": option,
    "fcntl": commanded,
    "ioctl": commanded,
    "sendfile": lambda text, result: text,
    "listen": lambda text, result: text,
    "shutdown": lambda text, result: text,
    "close": lambda text, result: text,
    "epoll_create": lambda text, result: text,
    "epoll_create1": lambda text, result: text,
    "dup": lambda text, result: text,
}
"""How each call's arguments are written; of others only the first word is compared."""


def recorded_arguments(name, text):
    """What the recorder says, less what strace cannot be compared with."""
    if name == "socket":
        text = text.rsplit(", ", 1)[0]
    elif name == "socketpair":
        text = re.sub(r", \d+, \[", ", [", text)
    elif name in ("poll", "pselect6"):
        text = re.sub(r" = [A-Z|]+", "", text)
    elif name == "fcntl":
        text = ", ".join(text.split(", ")[:2])
    elif name not in BY_STRACE:
        return text.split(", ")[0]
    return re.sub(r"[A-Z_]+(?:\|[A-Z_]+)+", lambda found: ordered(found[0]), text)


def call_of_line(line):
    """One line of strace as Call, or None: it is on something that is not watched."""
    found = LINE.match(line)
    if not found:
        return None
    name, text, result, error = found.groups()
    if result == "?" and not (error or "").startswith("ERESTART"):
        return None  # the thread ended in it
    if name in ON_ANY and not WATCHED.match(text):
        second = text.split(", ")[1] if name in ("dup2", "dup3") else ""
        if not WATCHED.match(second):
            return None
    number = int(result, 0) if result != "?" else -errno.EINTR
    if result == "-1":
        number = -getattr(errno, error)
    text = only_numbers(text)
    write = BY_STRACE.get(name)
    return Call((name, write(text, number) if write else text.split(", ")[0], number))


def add(call, calls):
    """One that is made again after a signal is one, whether the kernel makes it or, the same call,
    the program: strace cannot tell."""
    is_interrupted = bool(calls) and calls[-1][2] == -errno.EINTR
    if is_interrupted and (call[0] == "restart_syscall" or call[:2] == calls[-1][:2]):
        calls[-1] = Call((*calls[-1][:2], call[2]))
    else:
        calls.append(call)


def calls_of(lines):
    """All of a thread."""
    calls = []
    for line in lines:
        if call := call_of_line(line):
            add(call, calls)
    return calls


def without_glibc(calls):
    """Less what the C library does inside itself, where nobody can come in between:
    - getaddrinfo and getfqdn ask the name service's daemon: a UNIX socket, which is not there;
    - they ask the kernel for its addresses: a netlink socket;
    - they order what they have found by the address that it would be reached from (RFC 3484): a
      datagram socket connected to each, and to none (AF_UNSPEC) in between, never written to.
    Each is a socket from socket(2) to close(2), with no other call in between."""
    kept, at = [], 0
    while at < len(calls):
        length = inner_length(calls, at)
        if not length:
            kept.append(calls[at])
        at += length or 1
    return kept


def inner_length(calls, at):
    """How many calls from there on are one such socket's; 0: none."""
    name, text, fd = calls[at]
    if name != "socket":
        return 0
    is_datagram = text in ("AF_INET, SOCK_CLOEXEC|SOCK_DGRAM", "AF_INET6, SOCK_CLOEXEC|SOCK_DGRAM")
    if fd == -errno.EAFNOSUPPORT:
        return 1 if is_datagram else 0  # a kernel without IPv6: one of IPv4 follows
    end = at + 1
    while end < len(calls) and calls[end][1].split(",")[0] == str(fd) and calls[end][0] != "close":
        end += 1
    if end == len(calls) or calls[end][:2] != ("close", str(fd)):
        return 0
    between = [call[0] for call in calls[at + 1 : end]]
    is_daemon = text.startswith("AF_UNIX") and "nscd" in calls[at + 1][1]
    is_kernel = text.startswith("AF_NETLINK") and between[:2] == ["bind", "getsockname"]
    is_order = (
        is_datagram and between[:1] == ["connect"] and set(between) <= {"connect", "getsockname"}
    )
    return end + 1 - at if is_daemon or is_kernel or is_order else 0


def of_strace(folder):
    """tid -> its calls."""
    threads = {}
    for path in folder.glob("strace.*"):
        lines = path.read_text(errors="replace").splitlines()
        calls = without_glibc(calls_of(lines))
        if calls:
            threads[int(path.suffix[1:])] = calls
    return threads


def lines_of(folder, tmp_path):
    """The recording as `zolal xray --as jsonl` tells it."""
    kept = tmp_path / "kept.trace"
    folder.keep(str(kept))
    command = [sys.executable, "-m", "zolal", "xray", str(kept), "--as", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_recording(lines):
    """tid -> its calls."""
    threads = collections.defaultdict(list)
    for line in lines:
        if line["result"] is None:
            continue  # as in call_of_line
        arguments = recorded_arguments(line["call"], line["args"])
        add(Call((line["call"], arguments, line["result"])), threads[line["tid"]])
    return dict(threads)


class Traced:
    """A program under strace with the recorder in it."""

    def __init__(self, command, tmp_path, env=None, library=None):
        self.tmp_path = tmp_path
        self.folder = Folder(command, 1 << 30)
        words = ["strace", "-ff", "--seccomp-bpf", "-y", "-v", "-s", "0", "-e", f"trace={TRACED}"]
        words += ["-e", "signal=none", "-o", str(tmp_path / "strace")]
        traced = run.environment(self.folder, 1 << 28)
        traced["LD_PRELOAD"] = str(library or run.library())
        for name in ("LD_PRELOAD", "ZOLAL_TRACE"):
            words += ["-E", f"{name}={traced.pop(name)}"]
        self.log = tmp_path / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*words, "--", *command],
                env={**os.environ, **(env or {})},
                cwd=tmp_path,
                stdout=log,
                stderr=log,
            )

    def signal(self, number):
        """To the program itself."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        os.kill(int(children.read_text().split()[0]), number)

    def wait(self):
        return self.process.wait(PATIENCE * 3)

    def end(self, number):
        """By a signal. wsgiref's handlers catch KeyboardInterrupt: then another one."""
        for _ in range(int(PATIENCE)):
            self.signal(number)
            try:
                return self.process.wait(1)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"it does not end: {self.log.read_text()}")

    def close(self):
        if self.process.poll() is None:
            self.signal(9)
            self.process.wait(PATIENCE)
        self.folder.remove()

    def both(self):
        """By strace and by the recorder, thread by thread."""
        self.folder.end(0)
        return of_strace(self.tmp_path), of_recording(lines_of(self.folder, self.tmp_path))


def need_strace(tmp_path):
    words = ["strace", "--seccomp-bpf", "-f", "-o", tmp_path / "tried", "true"]
    try:
        tried = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    if tried.returncode != 0:
        pytest.skip(f"strace cannot trace here: {tried.stderr.strip()}")
