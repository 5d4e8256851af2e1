"""zolal trace and zolal xray as commands: what they print, and what the program is to notice,
nothing."""

import json
import os
import signal
import subprocess
import sys

import pytest

from zolal.trace import run
from zolal.trace.store import Folder

ECHO = """
import socket, threading

def serve(listener):
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(100))

def ask(address):
    with socket.create_connection(address) as client:
        client.sendall(b"hello")
        print(client.recv(100))

with socket.create_server(("127.0.0.1", 0)) as listener:
    thread = threading.Thread(target=serve, args=(listener,))
    thread.start()
    ask(listener.getsockname())
    thread.join()
"""


def functions(call):
    """Without their classes, of which Python 3.10 does not tell."""
    return [frame["function"].rpartition(".")[2] for frame in call["stack"]]


def test_each_call_stands_under_its_lines(traced):
    run = traced(ECHO)
    assert (run.status, run.out, run.err) == (0, "b'hello'\n", "")
    calls = run.calls
    (accepted,) = [call for call in calls if call["call"] == "accept4"]
    assert functions(accepted)[-2:] == ["serve", "accept"]
    assert accepted["stack"][-2]["line"] == 5
    assert accepted["stack"][-2]["file"].endswith("program.py")
    sent = [call for call in calls if call["call"] == "sendto"]
    assert [functions(call)[-1] for call in sorted(sent, key=lambda call: call["t"])] == [
        "ask",
        "serve",
    ]
    assert {call["args"].split(", ", 1)[1] for call in sent} == {"5"}
    assert {call["result"] for call in sent} == {5}


def test_a_line_of_jsonl_is_a_kernel_call(traced):
    for call in traced(ECHO).calls:
        assert set(call) >= {"t", "dur", "pid", "tid", "call", "args", "result", "fd", "stack"}
        assert call["dur"] >= 0
        assert isinstance(call["result"], int)


def test_the_tree_is_printed_when_it_ends(trace_command, tmp_path):
    (tmp_path / "program.py").write_text(ECHO)
    done = trace_command("--", sys.executable, "program.py")
    assert done.stdout == "b'hello'\n"
    assert "connection from 127.0.0.1:" in done.stderr
    assert "accept4(" in done.stderr
    assert "exit code 0" in done.stderr
    assert "\x1b[" not in done.stderr


def test_summary_counts_by_call_and_by_line(trace_command, tmp_path):
    (tmp_path / "program.py").write_text(ECHO)
    done = trace_command("--summary", "--", sys.executable, "program.py")
    (row,) = [line for line in done.stderr.splitlines() if line.split()[-1:] == ["sendto"]]
    assert row.split()[0] == "2"
    assert "sendto: ask, program.py:11" in done.stderr.replace(str(tmp_path) + "/", "")


@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_exit_code_is_the_programs(trace_command, status):
    assert (
        trace_command("--", sys.executable, "-c", f"raise SystemExit({status})").returncode
        == status
    )


def test_a_signal_is_the_programs(trace_command):
    done = trace_command("--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == -signal.SIGTERM


def test_environment_and_descriptors_are_the_programs(trace_command):
    script = (
        "import os, json; fds = os.listdir('/proc/self/fd');"
        "print(json.dumps([dict(os.environ), sorted(map(int, fds))]))"
    )
    done = trace_command("--", sys.executable, "-c", script, env={"X": "1"})
    environment, fds = json.loads(done.stdout)
    assert environment == {**os.environ, "X": "1"}
    assert fds == [0, 1, 2, 3]  # 3: the folder that is listed


def test_children_are_traced(traced):
    run = traced(
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import socket; socket.socket().close()'])"
    )
    assert [call["call"] for call in run.calls if call["call"] == "socket"] == ["socket"]
    assert "child of" in run.view("tree")


def test_requests_are_told_by_their_names(traced):
    run = traced(
        """
import threading, urllib.request
from wsgiref.simple_server import WSGIRequestHandler, demo_app, make_server

class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass

with make_server("127.0.0.1", 0, demo_app, handler_class=Quiet) as server:
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/a?b").read()
    thread.join()
"""
    )
    tree = run.view("tree")
    assert "GET /a?b 200, " in tree
    assert "  from 127.0.0.1:" in tree
    assert "  to 127.0.0.1:" in tree


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        ((), "which program?", 2),
        (("--", "no-such-program"), "command not found", 127),
        (("--", "./none"), "command not found", 127),
        (("--max-size", "1", "--", "true"), "is not in the range", 2),
        (("--as", "colour", "--", "true"), "invalid choice", 2),
        (("-o", "/no/such/folder/file", "--", "true"), "cannot write the recording", 3),
    ],
)
def test_mistakes_are_said(trace_command, arguments, said, status):
    done = trace_command(*arguments)
    assert said in done.stderr
    assert done.returncode == status


def test_what_is_no_recording_is_said(trace_command, tmp_path):
    (tmp_path / "not.trace").write_text("no recording")
    for name, said in [("not.trace", "is not a recording"), ("none.trace", "No such file")]:
        done = subprocess.run(
            [sys.executable, "-m", "zolal", "xray", name],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (done.returncode, said in done.stderr) == (3, True), done.stderr


def test_nothing_is_left_behind(trace_command, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    trace_command("--", "true", env={"XDG_RUNTIME_DIR": str(runtime)})
    assert list(runtime.iterdir()) == []


def test_a_signal_that_comes_when_the_program_has_just_ended(monkeypatch):
    def waitpid(pid, options, wait=os.waitpid):
        ended = wait(pid, options)
        if ended[0]:
            os.kill(os.getpid(), signal.SIGTERM)  # nobody is there that it could be passed on to
        return ended

    folder = Folder(["false"], 1 << 20)
    try:
        monkeypatch.setattr(os, "waitpid", waitpid)
        assert run.run(["false"], folder, 1 << 20) == 1
    finally:
        folder.remove()


@pytest.mark.skipif(os.geteuid() == 0, reason="root runs them without a change of user")
def test_set_uid_programs_are_refused(trace_command):
    done = trace_command("--", "su", "--help")
    assert "set-uid" in done.stderr
    assert done.returncode == 126
