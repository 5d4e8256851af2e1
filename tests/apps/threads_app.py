"""What threads make possible, and what they may not spoil. The query is an argument: a gate's path,
an exception's name. /noted tells what was noted, /most how many /gated there were at once."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import gates

noted = []
released = threading.Event()
lock = threading.Lock()
local = threading.local()
running = most = 0
PIECE = b"x" * 300_000


def on_signal(number, frame):
    os.write(2, b"the signal has come\n")


signal.signal(signal.SIGUSR1, on_signal)
signal.signal(signal.SIGALRM, lambda number, frame: None)


def quick(environ, argument):
    return [b"quick"]


def gated(environ, path):
    global running, most
    with lock:
        running += 1
        most = max(most, running)
    gates.stop(path)
    with lock:
        running -= 1
    return [b"through"]


class Streamed:
    """Lives in one thread from the call to close(): sqlite3 and threading.local depend on it."""

    def __init__(self, path, count):
        self.path, self.left = path, count
        self.database = sqlite3.connect(":memory:")
        self.threads = {threading.get_ident()}
        local.stream = self

    def step(self):
        assert local.stream is self
        self.threads.add(threading.get_ident())
        return self.database.execute("SELECT 1").fetchone()

    def __iter__(self):
        return self

    def __next__(self):
        self.step()
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        if self.path:
            gates.stop(self.path)
        return PIECE

    def close(self):
        self.step()
        self.database.close()
        del local.stream
        noted.append(len(self.threads))


def streamed(environ, argument):
    path, _, count = argument.rpartition(",")
    return Streamed(path, int(count))


def raises(environ, name):
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[name]("intended")


def computes(environ, argument):
    """Until /release is served, by another thread."""
    end = time.monotonic() + gates.PATIENCE
    while not released.is_set() and time.monotonic() < end:
        pass
    return [b"released" if released.is_set() else b"nobody came"]


def alarmed(environ, argument):
    """Waits for /release, while a signal comes each millisecond."""
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    found = released.wait(gates.PATIENCE)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return [b"released" if found else b"nobody came"]


def release(environ, argument):
    released.set()
    return [b"released"]


def said(environ, path):
    """Says so when the gate has let it through, also where nobody is left to get the answer."""
    gates.stop(path)
    os.write(2, b"it has ended\n")
    return [b"through"]


def reads(environ, path):
    """Stops before and behind it."""
    gates.stop(path)
    body = environ["wsgi.input"].read()
    gates.stop(path)
    return [body]


def stuck(environ, path):
    gates.stop(path)
    threading.Event().wait()


def read(environ):
    """Read the body and note how that ends."""
    try:
        noted.append(len(environ["wsgi.input"].read()))
    except OSError as error:
        noted.append(type(error).__name__)


def helped(environ, argument):
    helper = threading.Thread(target=read, args=[environ])
    helper.start()
    helper.join()
    return [json.dumps(noted[-1]).encode()]


def abandoned(environ, path):
    """The helper still reads when the request has ended."""
    threading.Thread(target=read, args=[environ]).start()
    gates.stop(path)
    return [b"no body is needed"]


def late(environ, path):
    """The helper begins to read when the request has ended."""

    def read_later():
        gates.stop(path)
        read(environ)

    threading.Thread(target=read_later).start()
    return [b"no body is needed"]


def forks_and_returns(environ, argument):
    """Both answer; the child has no connection to do it on."""
    os.fork()
    return [b"forked"]


def forks(environ, argument):
    child = os.fork()
    if child == 0:
        os._exit(7)
    _, status = os.waitpid(child, 0)
    return [b"%d" % os.waitstatus_to_exitcode(status)]


def signals(environ, argument):
    """The signal is a thread's: it ends no wait of the main thread, which sleeps by then."""
    threading.Timer(0.5, signal.raise_signal, [signal.SIGUSR1]).start()
    return [b"sent"]


def forks_and_looks(environ, argument):
    """Would Python write the child's signals to a descriptor of its parent's?"""
    child = os.fork()
    if child == 0:
        os._exit(7 if signal.set_wakeup_fd(-1) == -1 else 8)
    _, status = os.waitpid(child, 0)
    return [b"%d" % os.waitstatus_to_exitcode(status)]


def runs(environ, argument):
    return [subprocess.run([sys.executable, "-c", "print(1 + 1)"], stdout=-1, check=True).stdout]


def answer_noted(environ, argument):
    return [json.dumps(noted).encode()]


def answer_most(environ, argument):
    return [b"%d" % most]


VIEWS = {
    "quick": quick,
    "gated": gated,
    "streamed": streamed,
    "raises": raises,
    "computes": computes,
    "alarmed": alarmed,
    "release": release,
    "said": said,
    "reads": reads,
    "stuck": stuck,
    "helped": helped,
    "abandoned": abandoned,
    "late": late,
    "forks": forks,
    "forks-and-looks": forks_and_looks,
    "forks-and-returns": forks_and_returns,
    "signals": signals,
    "runs": runs,
    "noted": answer_noted,
    "most": answer_most,
}


def application(environ, start_response):
    name = environ["PATH_INFO"].split("/")[1]
    body = VIEWS[name](environ, environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body
