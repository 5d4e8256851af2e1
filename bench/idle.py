#!/usr/bin/env python
"""What an idle keep-alive connection costs: user memory of the server's processes, per connection.

    ./dev bench idle [--connections 10000]

Each connection has had one answer and stays open. Kernel memory (socket buffers) is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import resource
import socket
import sys
import tempfile

from measuring.candidates import Candidate, Missing, hello_candidates, process_tree
from measuring.rounds import progress

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def private_kib(candidate: Candidate) -> int:
    """Private memory of its process tree, smaps_rollup: Private_Clean and Private_Dirty."""
    assert candidate.process
    total = 0
    for pid in process_tree(candidate.process.pid):
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if "Private_" in line)
    return total


def connect(candidate: Candidate, stack: contextlib.ExitStack, count: int) -> None:
    for done in range(count):
        if done % 500 == 0:
            progress(done, count, candidate.name)
        client = socket.create_connection(("127.0.0.1", candidate.port), timeout=10)
        stack.callback(client.close)
        client.sendall(REQUEST)
        if not client.recv(4096).startswith(b"HTTP/1.1 200"):
            raise Missing("it does not answer")
    progress(count, count, candidate.name)


def measure(candidate: Candidate, count: int) -> None:
    try:
        candidate.start(None)
        with contextlib.ExitStack() as stack:
            connect(candidate, stack, 100)  # what is allocated once is there now
            before = private_kib(candidate)
            connect(candidate, stack, count)
            after = private_kib(candidate)
        each = (after - before) * 1024 / count
        print(
            f"{candidate.name:<20} {before:>8,} KiB before  {after:>8,} KiB after"
            f"  {each:>8.0f} B each"
        )
    except (Missing, OSError) as reason:
        print(f"left out: {candidate.name}: {reason}", file=sys.stderr)
    finally:
        candidate.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench idle", description=__doc__.split("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000, help="(default 10000)")
    count = parser.parse_args().connections
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = count + 400 if hard == resource.RLIM_INFINITY else min(count + 400, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        reply = pathlib.Path(folder) / "reply"
        reply.write_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        for candidate in hello_candidates(reply):
            if candidate.name != "gunicorn sync":  # has no keep-alive
                measure(candidate, count)


if __name__ == "__main__":
    main()
