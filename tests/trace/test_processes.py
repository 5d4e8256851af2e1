"""Programs that start others: one recording, with a tree of processes, however they are started."""

import collections
import signal
import subprocess
import sys
import time

import databases
import pytest
from pythons import PYTHONS
from running import PATIENCE
from tracing import PLAIN, ZOLAL, hard, run, same

from zolal.trace.load import load

TALK = "import socket; a, b = socket.socketpair(); a.send(b'x'); b.recv(1)"
MAIN = f"""
import os, socket, subprocess, sys
def talk():
    a, b = socket.socketpair()
    a.send(b"x")
    b.recv(1)
def exit_code(status):
    return os.waitstatus_to_exitcode(status)
child = [sys.executable, "-S", "-c", {TALK!r}]
text = " ".join([child[0], child[1], child[2], "'" + child[3].replace("'", '"') + "'"])
"""
"""Each way of starting talks in the child; the parent talks afterwards, on what it had before."""

WAYS = {
    "fork": """
if os.fork() == 0:
    talk()
    os._exit(3)
print(exit_code(os.wait()[1]))""",
    "fork_exec": """
if os.fork() == 0:
    os.execv(child[0], child)
print(exit_code(os.wait()[1]))""",
    "fork_of_a_fork": """
if os.fork() == 0:
    if os.fork() == 0:
        talk()
        os._exit(4)
    os._exit(exit_code(os.wait()[1]))
print(exit_code(os.wait()[1]))""",
    "run": "print(subprocess.run(child).returncode)",
    "run_close_fds": "print(subprocess.run(child, close_fds=False).returncode)",
    "run_pass_fds": """
show = "import os, sys; print(os.fstat(int(sys.argv[1])).st_size); " + child[3]
file = open(__file__)
print(file.fileno(), flush=True)
words = [sys.executable, "-c", show, str(file.fileno())]
print(subprocess.run(words, pass_fds=[file.fileno()]).returncode)""",
    "run_new_session": "print(subprocess.run(child, start_new_session=True).returncode)",
    "run_preexec": "print(subprocess.run(child, preexec_fn=lambda: os.chdir('/')).returncode)",
    "run_with_environment": "print(subprocess.run(child, env={}).returncode)",
    "run_shell": "print(subprocess.run(text, shell=True).returncode)",
    "posix_spawn": """
print(exit_code(os.waitpid(os.posix_spawn(child[0], child, {}), 0)[1]))""",
    "posix_spawnp": """
child[0] = "python3"  # which may be a script
print(exit_code(os.waitpid(os.posix_spawnp(child[0], child, os.environ), 0)[1]))""",
    "system": "print(os.system(text))",
    "popen": "print(os.popen(text).close())",
    "spawnv": "print(os.spawnv(os.P_WAIT, child[0], child))",
    "fork_in_a_thread": """
import threading
def fork():
    talk()
    if os.fork() == 0:
        talk()
        os._exit(0)
    os.write(1, b"%d\\n" % exit_code(os.wait()[1]))
threads = [threading.Thread(target=fork) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()""",
}
CALLS_OF_THE_REST = {"fork_in_a_thread": 8}
"""How often a process but the last one's parent talks: once, but for these."""


HOW = [(version, "library") for version in PYTHONS] + [(next(iter(PYTHONS)), "exact")]
"""Interpreters, and how they are traced."""


@pytest.mark.parametrize("version, way", HOW, indirect=["way"])
@pytest.mark.parametrize("start", WAYS)
def test_each_way_to_start_a_program(tmp_path, start, version, way):
    program = tmp_path / "program.py"
    text = MAIN + "own = socket.socketpair()\n" + WAYS[start]
    text += "\nown[0].send(b'parent')\nprint(own[0].fileno(), own[1].recv(6))\n"
    program.write_text(text)
    same([PYTHONS[version], "-W", "ignore", program], tmp_path)
    trace = load(str(tmp_path / "kept.trace"))
    [root] = trace.roots
    assert {call.tid for call in trace.calls if call.process is root} >= {root.pid}
    sent = [call for call in trace.calls if call.name == "sendto"]
    assert len(sent) == 1 + CALLS_OF_THE_REST.get(start, 1)
    assert [call.process for call in sent if call.args.startswith(("3, 6", "4, 6"))] == [root]
    by_process = counted_by_process(sent)
    for process in trace.processes:
        if process is not root and id(process) in by_process:
            assert process.python


def counted_by_process(calls):
    return collections.Counter(id(call.process) for call in calls)


MULTIPROCESSING = """
import multiprocessing, os, socket, sys
def work(number):
    a, b = socket.socketpair()
    a.send(b"x" * number)
    return len(b.recv(100))
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        print(pool.map(work, range(1, 21)))
"""


@pytest.mark.parametrize("version, way", HOW, indirect=["way"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path, method, version, way):
    program = tmp_path / "program.py"
    program.write_text(MULTIPROCESSING)
    same([PYTHONS[version], "-W", "ignore", program, method], tmp_path)
    trace = load(str(tmp_path / "kept.trace"))
    work = [call for call in trace.calls if call.stack and call.stack[-1].function == "work"]
    sizes = [call.result for call in work if call.name == "sendto"]
    assert sorted(sizes) == list(range(1, 21))
    assert all(call.process is not trace.roots[0] for call in work)
    assert len(trace.roots) == 1


def test_a_vfork_child_leaves_its_parent_alone(tmp_path, way):
    """It has the parent's memory, but not its descriptors; what it writes there is seen. What it
    calls is recorded where that can be told apart."""
    calls = same(hard("vforks"), tmp_path)
    parent = [call for call in calls if call.process is calls[0].process]
    assert [call.name for call in parent] == ["socketpair", "sendto", "recvfrom"]
    assert [call.name for call in calls if call not in parent] == (["close"] if way else [])


def test_forks_in_threads_that_record(tmp_path, way):
    calls = same(hard("fork_in_threads"), tmp_path)
    by_process = counted_by_process(call for call in calls if call.name == "sendto")
    assert sorted(by_process.values()) == [20] * 40 + [40_000]
    assert len(load(str(tmp_path / "kept.trace")).roots) == 1


def test_gunicorn_with_four_workers(tmp_path):
    pytest.importorskip("gunicorn")
    (tmp_path / "app.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '5')])\n"
        "    return [b'hello']\n"
    )
    port, kept = databases.free_port(), tmp_path / "kept.trace"
    words = [sys.executable, "-m", "gunicorn", "-w", "4", "-b", f"127.0.0.1:{port}", "app:app"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [*ZOLAL, "trace", "-o", kept, "--", *words], cwd=tmp_path, env=PLAIN, stderr=log
        )
    try:
        visit = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}').read()"
        for _ in range(int(PATIENCE * 10)):
            if run([sys.executable, "-c", visit], tmp_path).status == 0:
                break
            time.sleep(0.1)
        for _ in range(10):
            assert run([sys.executable, "-c", visit], tmp_path).status == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
    trace = load(str(kept))
    [root] = trace.roots
    assert len(root.children) == 4
    assert not any(child.children for child in root.children)
    lines = [call.first_line for call in trace.calls if call.first_line.startswith("GET / ")]
    assert len(lines) == 11


def test_a_kill_leaves_what_was_there(tmp_path, way):
    """SIGKILL, in the middle of the calls of eight threads: each is there up to its last."""
    text = """
import os, socket, threading, time
def talk(number):
    a, b = socket.socketpair()
    for count in range(1, 10 ** 9):
        a.send(b"x")
        b.recv(1)
        counts[number] = count
counts = [0] * 8
for number in range(8):
    threading.Thread(target=talk, args=[number]).start()
time.sleep(0.2)
os.write(1, repr(counts).encode())
os.kill(os.getpid(), 9)
"""
    kept = tmp_path / "kept.trace"
    words = [*ZOLAL, "trace", *way, "-o", kept, "--", sys.executable, "-c", text]
    ended = run(words, tmp_path)
    assert ended.status == -9
    least = sorted(eval(ended.out))
    calls = load(str(kept)).calls
    found = collections.Counter(call.tid for call in calls if call.name == "recvfrom")
    assert len(found) == 8
    for count, recorded in zip(least, sorted(found.values()), strict=True):
        assert recorded >= count > 0


def test_many_short_programs(tmp_path, way):
    text = "import os, subprocess\nfor _ in range(30): subprocess.run(['/bin/true'])"
    same([sys.executable, "-c", text], tmp_path)
    trace = load(str(tmp_path / "kept.trace"))
    programs = [process for process in trace.processes if process.program == ["/bin/true"]]
    assert len(programs) == 30
    assert trace.failures == 0
