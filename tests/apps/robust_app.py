"""What a server has to bear: long answers, children that live on, applications that fail.

/hello, /stream/N (N bytes, no length), /file/N (N bytes by file_wrapper), /upload (the length of
the body), /slow-read (reads the body and notes how that fails), /ask-failures, /ask-closes (how
often a /stream was closed), /child/KIND (starts a child that lives on: its id), /end-child, /blocks
(memory blocks that the interpreter holds)."""

import gc
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

PLAIN = ("Content-Type", "text/plain")
PIECE = b"0123456789abcdef" * 4096
CHILD_LIFE = 60  # seconds, if nobody ends it before
MOST_FAILURES = 30  # remembered: what a test of leaks asks for may not itself be one

failures = []
closes = 0
children = []


class Stream:
    def __init__(self, size):
        self.left = size

    def __iter__(self):
        return self

    def __next__(self):
        if self.left == 0:
            raise StopIteration
        piece = PIECE if self.left >= len(PIECE) else PIECE[: self.left]
        self.left -= len(piece)
        return piece

    def close(self):
        global closes
        closes += 1


def hello(environ, argument):
    return [b"hello"]


def stream(environ, argument):
    return Stream(int(argument))


def file(environ, argument):
    temporary = tempfile.TemporaryFile()
    temporary.truncate(int(argument))
    return environ["wsgi.file_wrapper"](temporary)


def closed_file(environ, argument):
    temporary = tempfile.TemporaryFile()
    temporary.close()
    return environ["wsgi.file_wrapper"](temporary)


def upload(environ, argument):
    total = 0
    while piece := environ["wsgi.input"].read(20_000):
        total += len(piece)
    return [b"%d" % total]


def slow_read(environ, argument):
    try:
        return [environ["wsgi.input"].read()]
    except OSError as error:
        failures.append(type(error).__name__)
        del failures[:-MOST_FAILURES]
        raise


def ask_failures(environ, argument):
    return [json.dumps(failures).encode()]


def ask_closes(environ, argument):
    return [b"%d" % closes]


def blocks(environ, argument):
    gc.collect()
    return [b"%d" % sys.getallocatedblocks()]


def connect_somewhere():
    """Socket calls of a child: none of its parent's business."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as connection:
            connection.sendall(b"from a child")
    time.sleep(CHILD_LIFE)


def start_subprocess():
    return subprocess.Popen(["sleep", str(CHILD_LIFE)]).pid


def start_subprocess_that_inherits():
    return subprocess.Popen(["sleep", str(CHILD_LIFE)], close_fds=False).pid


def start_multiprocessing():
    process = multiprocessing.get_context("fork").Process(target=connect_somewhere)
    process.start()
    # Nothing here waits for it: os.waitpid does, in end_child.
    multiprocessing.process._children.discard(process)
    return process.pid


def start_fork():
    child = os.fork()
    if child == 0:
        try:
            connect_somewhere()
        finally:
            os._exit(0)
    return child


def child(environ, argument):
    pid = globals()["start_" + argument.replace("-", "_")]()
    children.append(pid)
    return [b"%d" % pid]


def end_child(environ, argument):
    """By SIGKILL, or the signal that is asked for. Answers with the number of those that ended."""
    ended = 0
    for pid in children:
        os.kill(pid, int(argument or signal.SIGKILL))
        ended += has_ended(pid, argument)
    children.clear()
    return [b"%d" % ended]


def has_ended(pid, number=None):
    """Within a few seconds; then it is made to. SIGINT is sent again: CPython's handler forgets one
    that comes before its own work after a fork is done (PyOS_AfterFork_Child)."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        if number and int(number) == signal.SIGINT:
            os.kill(pid, signal.SIGINT)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def fork_and_end(environ, argument):
    """Children that get SIGTERM before they have run; answers with the number of those it ended."""
    ended = 0
    for _ in range(int(argument)):
        pid = os.fork()
        if pid == 0:
            time.sleep(CHILD_LIFE)
            os._exit(0)
        os.kill(pid, signal.SIGTERM)
        if not has_ended(pid):
            break
        ended += 1
    return [b"%d" % ended]


def run_subprocess(environ, argument):
    done = subprocess.run(["echo", "from a child"], capture_output=True, check=True)
    return [done.stdout]


def run_multiprocessing(environ, argument):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return [json.dumps(pool.map(abs, [-1, 2, -3])).encode()]


def fails(environ, argument):
    raise ValueError("intended")


def fails_later(environ, argument):
    yield b"begun"
    raise ValueError("intended")


def application(environ, start_response):
    kind, _, argument = environ["PATH_INFO"][1:].partition("/")
    route = globals()[kind.replace("-", "_")]
    result = route(environ, argument)
    start_response("200 OK", [PLAIN])
    return result
