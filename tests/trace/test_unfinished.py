"""The calls that were under way when a process ended."""

import json
import signal
import sys

import pytest
from tracing import ZOLAL, hard, run, trace

WAITS = {
    "accept4": "server.accept()",
    "recvfrom": "a.recv(10)",
    "recvmsg": "a.recvmsg(10)",
    "read": "os.read(a.fileno(), 10)",
    "readv": "os.readv(a.fileno(), [bytearray(10)])",
    "sendto": "a.sendall(bytes(1 << 20))",
    "write": "os.write(a.fileno(), bytes(1 << 22))",
    "poll": "poll = select.poll(); poll.register(a, select.POLLIN); poll.poll()",
    "pselect6": "select.select([a], [], [])",
    "epoll_wait": "epoll = select.epoll(); epoll.register(a, select.EPOLLIN); epoll.poll()",
}
PROGRAM = """
import os, select, socket, sys, threading, time
server = socket.create_server(("127.0.0.1", 0))
a, b = socket.socketpair()
a.setblocking(True)
def wait():
    {wait}
thread = threading.Thread(target=wait, daemon=True)
thread.start()
while True:
    of_thread = f"/proc/self/task/{{thread.native_id}}/"
    is_asleep = ") S" in open(of_thread + "stat").read()
    if is_asleep and "futex" not in open(of_thread + "wchan").read(): break
    time.sleep(0.01)
{end}
"""
KILLED = "os.kill(os.getpid(), 9)"


def python(text):
    return [sys.executable, "-c", text]


def unfinished(calls):
    return [call for call in calls if call.is_unfinished]


@pytest.mark.parametrize("name", WAITS)
def test_a_call_that_waits_when_its_process_is_killed(tmp_path, name, way):
    ended, calls = trace(python(PROGRAM.format(wait=WAITS[name], end=KILLED)), tmp_path)
    assert ended.status == -signal.SIGKILL
    [call] = unfinished(calls)
    assert (call.name, call.ns, call.error) == (name, 0, "")
    line = PROGRAM[: PROGRAM.index("{wait}")].count("\n") + 1
    assert [frame.line for frame in call.stack if frame.function == "wait"] == [line]
    assert (call.fd == -1) == (name in ("poll", "pselect6"))
    assert call.tid != call.process.pid


def test_a_call_that_waits_when_its_process_ends(tmp_path, way):
    ended, calls = trace(python(PROGRAM.format(wait=WAITS["accept4"], end="os._exit(7)")), tmp_path)
    assert ended.status == 7
    assert [call.name for call in unfinished(calls)] == ["accept4"]


VIEWS = {
    "tree": "accept4(3, SOCK_CLOEXEC)  unfinished",
    "summary": " accept4",
    "folded": ";accept4 1",
    "html": "The program ended, or was let go, before the kernel had an answer.",
    "perfetto": '"result":null',
}


def test_how_it_is_shown(tmp_path):
    text = PROGRAM.format(wait=WAITS["accept4"], end=KILLED)
    trace(python(text), tmp_path)
    shown = {
        view: run([*ZOLAL, "xray", "kept.trace", "--as", view], tmp_path)
        for view in [*VIEWS, "jsonl"]
    }
    assert {view: ended.status for view, ended in shown.items()} == dict.fromkeys(shown, 0)
    for view, words in VIEWS.items():
        assert words in shown[view].out.decode(), view
    assert b"512" not in shown["summary"].out and b"errors:" not in shown["summary"].out
    lines = [json.loads(line) for line in shown["jsonl"].out.splitlines()]
    [line] = [line for line in lines if line["result"] is None]
    assert (line["call"], line["dur"]) == ("accept4", None)


def test_with_calls_it_stands_inside_its_function(tmp_path):
    command = python(PROGRAM.format(wait=WAITS["recvfrom"], end=KILLED))
    _, calls = trace(command, tmp_path, "--calls")
    [call] = unfinished(calls)
    assert call.outer.function.endswith("recv") and call.outer.outer.function == "wait"


INTERRUPTED = """
import os, select, signal, socket
a, b = socket.socketpair()
woken, wakes = socket.socketpair()
for end in (woken, wakes): end.setblocking(False)
signal.set_wakeup_fd(wakes.fileno())
signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.1)
a.recv(1)
"""


def test_calls_of_signal_handlers_are_over(tmp_path, way):
    """The handler's call begins after, and is over before, that which it interrupts."""
    _, calls = trace(python(INTERRUPTED), tmp_path)
    assert [call.name for call in calls][-2:] == ["recvfrom", "write"]
    assert unfinished(calls) == []


@pytest.mark.parametrize("word", ["threads", "handlers", "vforks", "many_threads", "errors"])
def test_programs_that_end_their_calls_have_none(tmp_path, word, way):
    _, calls = trace(hard(word), tmp_path)
    assert calls and unfinished(calls) == []


def test_a_child_has_no_call_of_its_parent(tmp_path, way):
    """It is forked while another thread waits: that thread is not in the child."""
    end = "if os.fork() == 0: a.send(b'x'); os._exit(0)\nos.wait()\n" + KILLED
    _, calls = trace(python(PROGRAM.format(wait=WAITS["accept4"], end=end)), tmp_path)
    [call] = unfinished(calls)
    assert len({each.process.pid for each in calls}) == 2
    assert call.process is calls[0].process
