"""zolal trace -p PID: a program that runs, seen from outside, and left as it was."""

import contextlib
import errno
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import sys
import time

import pytest
from pythons import PYTHONS
from running import PATIENCE
from test_exact import status_of, wait_for, written
from test_undisturbed import needs_reach, needs_root, python
from tracing import PLAIN, ZOLAL, counted, run

from zolal.trace import exact
from zolal.trace.load import load

SERVER = """
import socketserver, sys
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(100):
            self.request.sendall(data)
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
with Server(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, env=PLAIN, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


class Attached:
    """zolal trace -p, as soon as it is there."""

    def __init__(self, pid, cwd, *options):
        self.kept = cwd / "kept.trace"
        words = [*ZOLAL, "trace", "-o", self.kept, *options, "-p", pid]
        self.process = subprocess.Popen(
            [str(word) for word in words], cwd=cwd, env=PLAIN, stderr=subprocess.PIPE, text=True
        )
        self.said = self.process.stderr.readline()

    def end(self, number=signal.SIGINT):
        """What it has said and recorded."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        _, err = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, err) == (0, "")
        return load(str(self.kept))


def ask(port, text=b"hello"):
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(text)
        assert client.recv(100) == text


def check_untouched(process):
    assert process.poll() is None
    assert status_of(process.pid, "TracerPid") == "0"
    for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
        assert "T" not in (task / "stat").read_text().rpartition(")")[2].split()[0].upper()


@pytest.mark.parametrize("version", PYTHONS)
def test_a_server_with_threads(tmp_path, version):
    with running([PYTHONS[version], "-c", SERVER]) as server:
        port = int(server.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as before:
            before.sendall(b"before")
            assert before.recv(100) == b"before"
            attached = Attached(server.pid, tmp_path)
            assert "Ctrl-C" in attached.said and str(server.pid) in attached.said
            before.sendall(b"within")
            assert before.recv(100) == b"within"
            for _ in range(3):
                ask(port)
            trace = attached.end()
            check_untouched(server)
            before.sendall(b"behind")
            assert before.recv(100) == b"behind"
        ask(port)
    assert trace.runs_on and trace.ended == "detached, it runs on"
    counts = counted(trace.calls)
    assert counts["accept4"] == 3
    sent = [call for call in trace.calls if call.name == "sendto"]
    assert [call.result for call in sorted(sent, key=lambda call: call.begin_ns)] == [6, 5, 5, 5]
    assert {call.stack[-1].function.rpartition(".")[2] for call in sent} == {"handle"}
    assert {call.stack[-1].line for call in sent} == {6}
    assert len({call.tid for call in sent}) == 4


WAITS = """
import socket
server = socket.create_server(("127.0.0.1", 0))
def wait():
    server.accept()
print(flush=True)
wait()
"""


def test_what_it_waits_in_is_shown(tmp_path):
    with running(python(WAITS)) as server:
        server.stdout.readline()
        wait_for(lambda: status_of(server.pid, "State").startswith("S"))
        for tenths in range(20):
            attached = Attached(server.pid, tmp_path)
            time.sleep(tenths / 10)  # it has to go back into its call
            trace = attached.end()
            check_untouched(server)
            if trace.calls:
                break
    [call] = trace.calls
    assert (call.name, call.is_unfinished, call.stack[-2].function) == ("accept4", True, "wait")


def test_what_is_printed(tmp_path):
    with running(python(SERVER)) as server:
        port = int(server.stdout.readline())
        process = subprocess.Popen(
            [*ZOLAL, "trace", "-p", str(server.pid)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=PLAIN,
        )
        process.stderr.readline()
        ask(port)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        check_untouched(server)
    assert "detached, it runs on" in err and "exit code" not in err
    assert "accept4(" in err and "handle" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_us_lets_it_go(tmp_path, number):
    with running(python(SERVER)) as server:
        server.stdout.readline()
        assert Attached(server.pid, tmp_path).end(number).runs_on
        check_untouched(server)


def test_killed_we_leave_it_untouched(tmp_path):
    with running(python(SERVER)) as server:
        port = int(server.stdout.readline())
        attached = Attached(server.pid, tmp_path)
        attached.process.kill()
        wait_for(lambda: status_of(server.pid, "TracerPid") == "0")
        check_untouched(server)
        ask(port)
        attached.process.communicate()


def test_a_tracer_that_is_killed_leaves_it_untouched(tmp_path):
    with running(python(SERVER)) as server:
        port = int(server.stdout.readline())
        attached = Attached(server.pid, tmp_path)
        os.kill(int(status_of(server.pid, "TracerPid")), signal.SIGKILL)
        attached.wait()
        wait_for(lambda: status_of(server.pid, "TracerPid") == "0")
        check_untouched(server)
        ask(port)


@pytest.mark.parametrize(
    "end, said", [("sys.exit(3)", "exit code 3"), ("os.kill(os.getpid(), 9)", "signal 9")]
)
def test_its_end_is_ours(tmp_path, end, said):
    text = "import os, socket, sys\na, b = socket.socketpair()\nprint('ready', flush=True)\n"
    text += f"sys.stdin.readline()\na.send(b'x')\n{end}"
    with running(python(text), stdin=subprocess.PIPE) as program:
        program.stdout.readline()
        attached = Attached(program.pid, tmp_path)
        program.stdin.write(b"\n")
        program.stdin.close()
        trace = attached.wait()
    assert trace.ended == said
    assert counted(trace.calls)["sendto"] == 1


FORKS = """
import os, socket, sys
a, b = socket.socketpair()
print("ready", flush=True)
sys.stdin.readline()
if os.fork() == 0:
    a.send(b"child")
    sys.stdin.readline()
    os._exit(0)
os.wait()
"""


def test_its_children_are_let_go_too(tmp_path):
    with running(python(FORKS), stdin=subprocess.PIPE) as program:
        program.stdout.readline()
        attached = Attached(program.pid, tmp_path)
        program.stdin.write(b"\n")
        program.stdin.flush()
        children = pathlib.Path(f"/proc/{program.pid}/task/{program.pid}/children")
        wait_for(lambda: children.read_text().split())
        child = int(children.read_text().split()[0])
        wait_for(lambda: pathlib.Path(f"/proc/{child}/wchan").exists())
        wait_for(lambda: status_of(child, "State").startswith("S"))
        trace = attached.end()
        assert status_of(child, "TracerPid") == status_of(program.pid, "TracerPid") == "0"
        program.stdin.write(b"\n")
        program.stdin.close()
        assert program.wait(PATIENCE) == 0
    [sent] = [call for call in trace.calls if call.name == "sendto"]
    assert sent.process.pid == child and sent.process.is_child


def test_one_that_stands_still_stays_so(tmp_path):
    with running(python(SERVER)) as server:
        port = int(server.stdout.readline())
        server.send_signal(signal.SIGSTOP)
        wait_for(lambda: status_of(server.pid, "State").startswith("T"))
        attached = Attached(server.pid, tmp_path)
        time.sleep(0.1)
        attached.end()
        wait_for(lambda: status_of(server.pid, "State").startswith("T"))
        server.send_signal(signal.SIGCONT)
        ask(port)


FIRST_ENDS = """
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
static void *talk(void *unused)
{
    int pair[2];
    char byte;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    puts("ready");
    fflush(stdout);
    for (;;) {
        send(pair[0], "x", 1, 0);
        recv(pair[1], &byte, 1, 0);
        usleep(1000);
    }
}
int main(void)
{
    pthread_t id;
    pthread_create(&id, NULL, talk, NULL);
    pthread_exit(NULL);
}
"""


def test_one_whose_first_thread_has_ended(tmp_path):
    with running([written(tmp_path, FIRST_ENDS, "-pthread")]) as program:
        program.stdout.readline()
        wait_for(lambda: status_of(program.pid, "State").startswith("Z"))
        attached = Attached(program.pid, tmp_path)
        time.sleep(0.1)
        trace = attached.end()
        assert trace.runs_on and counted(trace.calls)["sendto"] > 0
        attached = Attached(program.pid, tmp_path)
        program.kill()
        assert attached.wait().ended == "signal 9"


def test_every_call_of_one_that_runs(tmp_path):
    text = "import os, sys\nprint('ready', flush=True)\nsys.stdin.readline()\nos.stat('/etc')"
    with running(python(text), stdin=subprocess.PIPE) as program:
        program.stdout.readline()
        attached = Attached(program.pid, tmp_path, "--all-syscalls")
        program.stdin.write(b"\n")
        program.stdin.close()
        trace = attached.wait()
    assert any(call.args.startswith('AT_FDCWD, "/etc"') for call in trace.calls)


def test_once_more(tmp_path):
    with running(python(SERVER)) as server:
        port = int(server.stdout.readline())
        for _ in range(5):
            attached = Attached(server.pid, tmp_path)
            ask(port)
            assert counted(attached.end().calls)["accept4"] == 1
        check_untouched(server)


# ------------------------------------------------------------------------------ what is refused


def refused(pid, cwd, how=()):
    ended = run([*how, *ZOLAL, "trace", "-p", pid], cwd)
    assert (ended.status, ended.out) == (126, b""), ended.err
    assert b"Traceback" not in ended.err
    return ended.err.decode()


def test_no_such_process(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert "there is no such process" in refused(gone.pid, tmp_path)


def test_a_zombie(tmp_path):
    process = subprocess.Popen(["true"])
    wait_for(lambda: status_of(process.pid, "State").startswith("Z"))
    assert "zombie" in refused(process.pid, tmp_path)
    process.wait()


def test_one_that_is_traced_already(tmp_path):
    with running(python(SERVER)) as server:
        server.stdout.readline()
        attached = Attached(server.pid, tmp_path)
        said = refused(server.pid, tmp_path)
        assert "traced already" in said and status_of(server.pid, "TracerPid") in said
        attached.end()


NOBODY = """
import os, sys
os.setgroups([]); os.setgid({gid}); os.setuid({uid})
os.environ.pop("XDG_RUNTIME_DIR", None)
os.execv(sys.argv[1], sys.argv[1:])
"""


@needs_root
@needs_reach
def test_another_user_s(tmp_path):
    nobody = pwd.getpwnam("nobody")
    text = NOBODY.format(uid=nobody.pw_uid, gid=nobody.pw_gid)
    with running(python(SERVER)) as server:
        server.stdout.readline()
        said = refused(server.pid, "/", [sys.executable, "-c", text])
        assert "another user" in said and "sudo" in said
        check_untouched(server)


@needs_root
@needs_reach
def test_one_that_hides(tmp_path):
    """PR_SET_DUMPABLE: its user may not trace it, and root may."""
    nobody = pwd.getpwnam("nobody")
    become = NOBODY.format(uid=nobody.pw_uid, gid=nobody.pw_gid)
    hides = "import ctypes, time; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print(1, flush=True)"
    words = [sys.executable, "-c", become, "/usr/bin/python3", "-c", hides + "; time.sleep(99)"]
    with running(words) as program:
        program.stdout.readline()
        said = refused(program.pid, "/", [sys.executable, "-c", become])
        assert "CAP_SYS_PTRACE" in said and "docker run --cap-add SYS_PTRACE" in said
        Attached(program.pid, tmp_path).end()


@pytest.mark.parametrize(
    "scope, said",
    [
        (1, "sudo sysctl kernel.yama.ptrace_scope=0"),
        (2, "sudo sysctl kernel.yama.ptrace_scope=1"),
        (3, "nobody may trace until the machine starts anew"),
    ],
)
def test_what_yama_forbids(monkeypatch, scope, said):
    """A security module that is not there on every machine."""
    monkeypatch.setattr(exact, "yama_scope", lambda: scope)
    monkeypatch.setattr(exact, "may_trace_anything", lambda: False)
    assert said in exact.why_not(os.getppid(), exact.NotTraced(errno.EPERM))
    ours = exact.why_not_ours(exact.NotTraced(errno.EPERM))
    assert (said in ours) == (scope > 1)


def test_what_does_not_go_together(tmp_path):
    for words, said in (
        (["-p", "1", "--", "true"], b"there is no command"),
        (["-p", "x"], b"not the number of a process"),
        (["-p", "0"], b"not the number of a process"),
        (["-p", "1", "--calls"], b"--calls needs the library"),
    ):
        ended = run([*ZOLAL, "trace", *words], tmp_path)
        assert ended.status == 2 and said in ended.err, ended.err
