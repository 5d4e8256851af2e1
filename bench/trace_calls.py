#!/usr/bin/env python
"""What zolal trace --calls costs: CPU time of a request to wsgiref, of a Python call and of a C
call, without a tracer, with one, and with --calls.

The server serves requests that are in its socket already, so that nobody waits; each way has a
process of its own, and they take turns. Shown: the least of the rounds, and the median of what it
is of the untraced one in the same round."""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

PROGRAM = r"""
import json, sys, time
from wsgiref import simple_server

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]

class Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass

def requests(count):
    import socket
    server = simple_server.make_server("127.0.0.1", 0, app, handler_class=Quiet)
    address, used = server.server_address, 0.0
    for i in range(count + count // 5):
        client = socket.create_connection(address)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        at = time.thread_time()
        server.handle_request()
        used += (time.thread_time() - at) * (i >= count // 5)
        client.close()
    return used / count

def python():
    pass

def loop(count, call):
    at = time.thread_time()
    for _ in range(count):
        call()
    return (time.thread_time() - at) / count

count = int(sys.argv[1])
loops = [min(loop(count * 10, call) for _ in range(3)) for call in (python, globals)]
json.dump([requests(count), *loops], open(sys.argv[2], "w"))
"""
WAYS = {"untraced": None, "trace": [], "trace --calls": ["--calls"]}
WHAT = ("request", "Python call", "C call")


def measure(python: str, options: list[str] | None, count: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        found = pathlib.Path(folder, "found.json")
        command = [python, "-c", PROGRAM, str(count), str(found)]
        if options is not None:
            zolal = shutil.which("zolal", path=pathlib.Path(sys.executable).parent)
            recording = str(pathlib.Path(folder, "trace"))
            command = [str(zolal), "trace", *options, "-o", recording, "--", *command]
        subprocess.run(command, check=True)
        return [float(each) for each in json.loads(found.read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="an interpreter; may be given again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    for python in options.python or ["/usr/bin/python3"]:
        found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, words in WAYS.items():
                found[way].append(measure(python, words, options.requests))
        print(python)
        for i, what in enumerate(WHAT):
            for way in WAYS:
                seconds = min(each[i] for each in found[way])
                ratios = [
                    each[i] / bare[i]
                    for each, bare in zip(found[way], found["untraced"], strict=True)
                ]
                ratio = statistics.median(ratios)
                print(f"  {what:12} {way:14} {seconds * 1e6:9.3f} us  x{ratio:.2f}")


if __name__ == "__main__":
    main()
