"""The walk of another process sees what that process says of itself."""

import errno
import json
import os
import pathlib
import subprocess
import sys
import time

import looking
import pytest

HERE = pathlib.Path(__file__).parent

CHILD = """
import json, os, sys, threading, time
sys.path.insert(0, sys.argv[1])
import looking

def report(kind):
    frames = [(f.named.name, f.named.file, f.named.first_line, f.line)
              for f in looking.frames_of_python()]
    line = json.dumps([kind, threading.get_native_id(), frames]) + "\\n"
    os.write(1, line.encode()); sys.stdin.readline()

def generator(kind):
    yield report(kind)

class Class:
    def méthode(self, kind):
        return sorted([1], key=lambda _: list(generator(kind)))

def deep(level, kind):
    return Class().méthode(kind) if level == 0 else deep(level - 1, kind)
"""

WITH_THREADS = """
threads = [threading.Thread(target=deep, args=(n, f"thread {n}")) for n in range(3)]
for thread in threads:
    thread.start()
deep(10, "main")
"""

AFTER_FORK = """
pid = os.fork()
if pid == 0:
    deep(3, "child")
    os._exit(0)
os.waitpid(pid, 0)
"""


@pytest.fixture
def start():
    children = []

    def start(script):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD + script, str(HERE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def find(pid):
    result = looking.library.probe_find_remote(pid)
    if result in (-errno.EPERM, -errno.EACCES, -errno.ENOSYS) and not may_read(pid):
        pytest.skip("reading another process's memory is not allowed here")
    return result


def may_read(pid):
    try:
        with open(f"/proc/{pid}/mem", "rb"):
            return True
    except OSError:
        return False


def check(tid, expected):
    """A thread that said where it was, and now waits, is there still, but for the lines of the
    function that says it, and what that calls."""
    for _ in range(100):  # till it waits
        end, keys = looking.walk_remote(tid)
        found = [
            [f.named.name, f.named.file, f.named.first_line, f.line]
            for f in looking.seen(keys, is_remote=1)
        ]
        if found[-len(expected) + 1 :] == expected[1:]:
            break
        time.sleep(0.02)
    assert end == looking.ALL
    assert found[-len(expected) + 1 :] == expected[1:]
    assert found[-len(expected)][:3] == expected[0][:3]


def test_each_thread(start):
    child = start(WITH_THREADS)
    reports = [json.loads(child.stdout.readline()) for _ in range(4)]
    assert find(child.pid) == 0
    version = looking.library.probe_version(1).decode()
    assert version.split(".")[:2] == [str(part) for part in sys.version_info[:2]]
    for _ in range(2):
        for _, tid, frames in reports:
            check(tid, frames)
    assert looking.walk_remote(child.pid + 100000) == (looking.NO_THREAD, [])


def test_a_child_of_fork(start):
    child = start(AFTER_FORK)
    _, tid, frames = json.loads(child.stdout.readline())
    assert find(tid) == 0
    check(tid, frames)


BUSY = """
import itertools
def one(): return sum(x for x in range(20))
def two(): exec("def new(): return one()\\nnew()", globals())
print(flush=True)
for _ in itertools.count():
    one(); two(); deep_call = [two() for _ in range(3)]
"""


def test_one_that_does_not_stand_still(start):
    """Whatever comes out, the reader is unharmed, and what it could read is well-formed."""
    child = start(BUSY)
    child.stdout.readline()
    assert find(child.pid) == 0
    ends = []
    for _ in range(3000):
        end, keys = looking.walk_remote(child.pid)
        looking.seen(keys, is_remote=1)
        ends.append(end)
    assert looking.ALL in ends


def test_no_python():
    child = subprocess.Popen(["sleep", "60"])
    try:
        time.sleep(0.2)
        assert find(child.pid) == -errno.ENOENT
    finally:
        child.kill()
        child.wait()


def test_no_process():
    child = subprocess.Popen(["true"])
    child.wait()
    assert looking.library.probe_find_remote(child.pid) == -errno.ESRCH


def test_an_old_python():
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")  # as ./dev looks for them
    old = sorted(pathlib.Path(root).glob("versions/3.[6-9].*/bin/python3"))
    if not old:
        pytest.skip("there is no older Python")
    for python in old:
        child = subprocess.Popen(
            [python, "-c", "print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={},
        )
        child.stdout.readline()
        try:
            assert find(child.pid) == -errno.ENOSYS
            assert looking.library.probe_version(1) == b"older"
        finally:
            child.communicate(b"\n")
