"""What takes its time, waits in the middle of a call, or goes on without an end. The query
is an argument: a gate's path, a number of seconds or of bytes. /log tells what was noted."""

import errno
import json
import os
import signal
import sys
import threading
import time

import gates

PATIENCE = 30  # seconds
noted = []
kept = {}
released = threading.Event()


def failure(call):
    """What it raises, as a str; "" when it does not."""
    try:
        call()
    except Exception as error:
        number = errno.errorcode.get(getattr(error, "errno", None), "")
        return f"{type(error).__name__} {number}".strip()
    return ""


# ---- bodies


def body_length(environ):
    length = 0
    while piece := environ["wsgi.input"].read(1000):
        length += len(piece)
    return [b"%d" % length]


def read(environ, argument):
    """A failure is passed on."""
    return body_length(environ)


def shared(environ, path):
    """While a line is waited for another thread takes four bytes of it."""
    body = environ["wsgi.input"]
    taken = []

    def take():
        gates.stop(path)
        taken.append(body.read(4))
        gates.stop(path)

    body.readline()
    helper = threading.Thread(target=take)
    helper.start()
    line = body.readline()
    helper.join()
    return [taken[0], b" ", line]


def sleep_then_read(environ, seconds):
    time.sleep(float(seconds))
    return body_length(environ)


def hints_then_read(environ, count):
    """Much to send before the body is asked for."""
    for _ in range(int(count)):
        environ["wsgi.early_hints"]([("Link", "</" + "a" * 8000 + ">")] * 10)
    return body_length(environ)


class Alarm(Exception):
    pass


def alarm_while_reading(environ, seconds):
    def on_alarm(number, frame):
        raise Alarm

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    try:
        return [failure(environ["wsgi.input"].read).encode()]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- threads


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def thread_reads(environ, argument):
    """Before anybody else does."""
    found = []
    thread = in_thread(lambda: found.append(failure(lambda: found.append(read_all(environ)))))
    thread.join(PATIENCE)
    return [json.dumps(found).encode()]


def read_all(environ):
    return len(environ["wsgi.input"].read())


def thread_reads_beside(environ, path):
    """Between two stops at the gate, while the request's own thread waits for its body."""
    found = []

    def beside():
        gates.stop(path)
        found.append(failure(environ["wsgi.input"].read))
        gates.stop(path)

    thread = in_thread(beside)
    found.append(read_all(environ))
    thread.join(PATIENCE)
    return [json.dumps(found).encode()]


# ---- answers


def size(environ, number):
    return [b"s" * int(number)]


def small_items(environ, number):
    return [b"x" * 1024] * int(number)


def sleep(environ, seconds):
    time.sleep(float(seconds))
    return [b"slept"]


def sleep_then_size(environ, argument):
    seconds, _, number = argument.partition(",")
    time.sleep(float(seconds))
    return [b"s" * int(number)]


def gated(environ, path):
    gates.stop(path)
    return [b"through"]


class Endless:
    def __iter__(self):
        return self

    def __next__(self):
        return b"e" * 50_000

    def close(self):
        noted.append("endless closed")


def endless(environ, argument):
    return Endless()


def endless_and_empty(environ, argument):
    yield b"begun"
    while True:
        yield b""


ITEMS = {"rows": (b"row,row\n", 0), "slow": (b"tick\n", 0.01), "empty": (b"", 0)}


def until_released(environ, kind):
    """Goes on until another request, to /release, has come; not for ever, for who waits in vain."""
    item, seconds = ITEMS[kind]
    released.clear()
    end = time.monotonic() + 5
    yield b"begun\n"
    while not released.is_set() and time.monotonic() < end:
        time.sleep(seconds)
        yield item
    yield b"released" if released.is_set() else b"in vain"


def release(environ, argument):
    released.set()
    return [b"thanks"]


# ---- what is kept for another request


def keep_write(environ, argument):
    """With an answer that waits for its client."""
    kept["write"] = environ["tests.write"]
    return Endless()


def use_kept_write(environ, argument):
    return [failure(lambda: kept["write"](b"not yours" * 100_000)).encode()]


def keep_input(environ, argument):
    kept["input"] = environ["wsgi.input"]
    return Endless()


def use_kept_input(environ, argument):
    return [failure(lambda: kept["input"].read()).encode()]


class LateHints(Endless):
    def __init__(self, hint):
        self.hint = hint

    def close(self):
        noted.append("hint " + (failure(lambda: self.hint([("Link", "</late>")])) or "accepted"))


def late_hints(environ, argument):
    return LateHints(environ["wsgi.early_hints"])


# ---- children


def fork_and_return(environ, argument):
    """The child answers as its parent does. Tells how it has ended."""
    pid = os.fork()
    if pid == 0:
        return [b"from the child"]
    end = time.monotonic() + 5
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return [b"ended" if os.WIFEXITED(status) else b"killed"]
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return [b"did not end"]


def process(environ, argument):
    print(f"/process ran in {os.getpid()}", file=sys.stderr, flush=True)
    return [b"%d" % os.getpid()]


def log(environ, argument):
    return [json.dumps(noted).encode()]


def application(environ, start_response):
    route = globals()[environ["PATH_INFO"][1:].replace("-", "_")]
    environ["tests.write"] = start_response("200 OK", [("Content-Type", "text/plain")])
    return route(environ, environ["QUERY_STRING"])
