"""robust_app, and requests that are counted: /KIND/CLIENT/NUMBER is answered with CLIENT/NUMBER. A
client numbers its requests 1, 2, ...; its last is /done. /strays: those that came twice, or out of
their order, or never, and how many clients have not said that they are done. What CLIENT "left"
asks for is not counted."""

import json
import random
import threading
import time

import robust_app

lock = threading.Lock()
last = {}
strays = []


def count(client, number):
    with lock:
        before = last.get(client, 0)
        last[client] = number
        if number != before + 1:
            strays.append([client, before, number])


def compute(seconds):
    """Python code, which holds the GIL."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


def quick(environ, name):
    return [name]


def block(environ, name):
    time.sleep(random.random() / 50)
    return [name]


def locked(environ, name):
    """Stands in a queue with others."""
    with locked_lock:
        time.sleep(0.001)
    return [name]


locked_lock = threading.Lock()


def busy(environ, name):
    """Mostly for less than the leader may, sometimes for longer."""
    compute(random.random() / random.choice([100, 100, 100, 100, 100, 100, 20]))
    return [name]


def streamed(environ, name):
    yield name
    for _ in range(random.randint(1, 100)):
        if random.random() < 0.1:
            time.sleep(0.001)
        yield b"." * 5000


def helped(environ, name):
    """Another thread reads the body."""
    pieces = []
    helper = threading.Thread(target=lambda: pieces.append(environ["wsgi.input"].read()))
    helper.start()
    helper.join()
    return [name, *pieces]


def failing(environ, name):
    raise ValueError("intended")


def done(environ, name):
    with lock:
        del last[name.decode().split("/")[0]]
    return [name]


VIEWS = {
    "quick": quick,
    "block": block,
    "locked": locked,
    "busy": busy,
    "streamed": streamed,
    "helped": helped,
    "failing": failing,
    "done": done,
}


def application(environ, start_response):
    kind, _, name = environ["PATH_INFO"][1:].partition("/")
    if kind == "strays":
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps([strays, len(last)]).encode()]
    if kind not in VIEWS:
        return robust_app.application(environ, start_response)
    client, _, number = name.partition("/")
    if client != "left":
        count(client, int(number))
    body = VIEWS[kind](environ, name.encode())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body
