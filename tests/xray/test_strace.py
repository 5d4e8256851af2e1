"""What the recorder says of the kernel's calls is what strace(1) says of the same run: names,
comparable arguments, results and order."""

import errno
import os
import re
import shutil
import socket
import struct
import subprocess
import sys

import pytest
from http_client import Client, request

from zolal._zolal import Reader

TRACED = (
    "socket,bind,connect,listen,accept,accept4,shutdown,getsockopt,setsockopt,getsockname,"
    "recvfrom,sendto,sendmsg,sendfile,read,write,close,epoll_create1,epoll_ctl,epoll_wait,"
    "epoll_pwait,eventfd2"
)
LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)(?: (E\w+))?")
OPERATIONS = {"EPOLL_CTL_ADD": 1, "EPOLL_CTL_DEL": 2, "EPOLL_CTL_MOD": 3}


def strace_works(tmp_path_factory):
    if not shutil.which("strace"):
        return "strace is not installed"
    out = tmp_path_factory.mktemp("strace") / "out"
    tried = subprocess.run(["strace", "-o", out, "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.strip()}"


@pytest.fixture(scope="module", autouse=True)
def need_strace(tmp_path_factory):
    if reason := strace_works(tmp_path_factory):
        pytest.skip(reason)


def arguments_of_strace(name, text):
    """The numbers of a call that both sides know, from strace's text of its arguments."""
    fd = re.match(r"(\d+)", text)
    fd = int(fd.group(1)) if fd else None
    if name in ("recvfrom", "sendto", "read", "write"):
        return fd, int(re.search(r'(?:""(?:\.\.\.)?|NULL|0x\w+), (\d+)', text).group(1))
    if name == "sendmsg":
        return fd, tuple(int(length) for length in re.findall(r"iov_len=(\d+)", text))
    if name == "sendfile":
        _, in_fd, offset, count = re.match(r"(\d+), (\d+), \[(\d+)[^]]*\].*, (\d+)$", text).groups()
        return fd, int(in_fd), int(offset), int(count)
    if name == "epoll_ctl":
        operation, target = re.match(r"\d+, (\w+), (\d+)", text).groups()
        return fd, OPERATIONS[operation], int(target)
    if name == "epoll_wait":
        return fd, int(re.search(r", (-?\d+)(?:, NULL, \d+)?$", text).group(1))
    if name == "listen":
        return fd, int(text.split(", ")[1])
    return () if name in ("socket", "epoll_create1", "eventfd2") else (fd,)


def arguments_of_event(event):
    if event.op in ("recvfrom", "sendto", "read", "write", "listen"):
        return event.fd, event.argument
    if event.op == "sendmsg":
        return event.fd, struct.unpack(f"={len(event.args) // 8}Q", event.args)
    if event.op == "sendfile":
        count, offset, in_fd = struct.unpack_from("=QQi", event.args)
        return event.fd, in_fd, offset, count
    if event.op == "epoll_ctl":
        return event.fd, *struct.unpack_from("=ii", event.args)
    if event.op == "epoll_wait":
        return event.fd, struct.unpack("=q", struct.pack("=Q", event.argument))[0]
    return () if event.op in ("socket", "epoll_create1", "eventfd2") else (event.fd,)


def calls_of_strace(text, pid):
    """From the server's first epoll_create1; read, write and close only on its own descriptors."""
    calls, own = [], set()
    for line in text.splitlines():
        found = LINE.match(line)
        if not found or int(found.group(1)) != pid:
            continue
        name = found.group(2).replace("epoll_pwait", "epoll_wait")
        arguments = arguments_of_strace(name, found.group(3))
        result = -getattr(errno, found.group(5)) if found.group(5) else int(found.group(4))
        if name in ("socket", "epoll_create1", "eventfd2", "accept4") and result >= 0:
            own.add(result)
        elif name in ("read", "write", "close") and arguments[0] not in own:
            continue
        if name == "close":
            own.discard(arguments[0])
        calls.append((name, arguments, result))
    names = [name for name, _, _ in calls]
    return calls[names.index("epoll_create1") :]


def calls_of_recording(path):
    reader = Reader(path)
    calls = []
    while events := reader.read():
        assert all(event.kind != "lost" for event in events)
        calls += [
            (event.op, arguments_of_event(event), event.result)
            for event in events
            if event.kind == "call"
        ]
    return calls


def all_closed(calls):
    accepted = [name for name, _, result in calls if name == "accept4" and result >= 0]
    return len(accepted) == len([name for name, _, _ in calls if name == "close"]) > 1


@pytest.fixture
def traced(tmp_path, launch_command):
    """traced(visit): a server under strace, visit(address), its death; then both lists of calls."""

    def traced(visit):
        out = tmp_path / "strace"
        command = ["strace", "-f", "-v", "-s", "0", "-e", f"trace={TRACED}", "-o", str(out)]
        command += [sys.executable, "-m", "zolal", "xray_app:application", "-b", "127.0.0.1:0"]
        command += ["--threads", "1"]  # so that there is one order of calls
        # A clean end would remove the recording: the server is killed, as a crash would.
        server = launch_command(command, env={"XDG_RUNTIME_DIR": str(tmp_path)})
        server.wait_for_start()
        pid = int(re.search(r"\(pid (\d+)\)", server.stderr()).group(1))
        recording = str(tmp_path / f"zolal-{pid}.trace")
        visit(server.address)
        with Client(server.address) as client:  # what came before has been served now
            client.get("/last")
        # Every connection is closed: the server sits in epoll_wait, which neither side has yet.
        server.wait_until(lambda: all_closed(calls_of_recording(recording)), "it has not closed")
        os.kill(pid, 9)
        server.process.wait()
        return calls_of_strace(out.read_text(), pid), calls_of_recording(recording)

    return traced


def visit_keep_alive(address):
    with Client(address) as client:
        for _ in range(3):
            assert client.get("/").body == b"hello"


def visit_stream(address):
    with Client(address) as client:
        assert client.get("/stream").body == b"first second"
        assert client.get("/write").body == b"written returned"


def visit_sendfile(address, path):
    with Client(address) as client:
        assert client.get(f"/file?{path}").body == b"file\n" * 100_000


def visit_and_leave(address):
    with socket.create_connection(address) as client:
        client.sendall(request("/endless"))
        client.recv(1000)
        client.recv(1, socket.MSG_PEEK)  # something is unread at the end: a reset, not an end


def visit_body(address):
    with Client(address) as client:
        body = b"b" * 200_000
        client.send(request("/read", method="POST", body=body))
        assert client.response("POST").body == body


def check(found):
    by_strace, recorded = found
    assert recorded == by_strace
    assert len(recorded) > 15


def test_a_keep_alive_exchange(traced):
    check(traced(visit_keep_alive))


def test_a_streamed_response(traced):
    check(traced(visit_stream))


def test_a_sendfile_download(traced, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"file\n" * 100_000)
    found = traced(lambda address: visit_sendfile(address, path))
    check(found)
    assert any(name == "sendfile" for name, _, _ in found[1])


def test_a_client_that_leaves_in_the_middle(traced):
    found = traced(visit_and_leave)
    check(found)
    gone = {-errno.ECONNRESET, -errno.EPIPE}
    assert any(result in gone for _, _, result in found[1])


def test_a_large_body(traced):
    check(traced(visit_body))
