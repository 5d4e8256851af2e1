#!/usr/bin/env python
"""What `zolal trace` costs, beside strace -f where that is installed: a socket call in C, and in
Python below 1 and 20 frames; a request to wsgiref; the start of a program."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from measuring import rounds
from measuring.candidates import BIN
from measuring.running import progress
from rich.console import Console
from rich.table import Table

ROOT = pathlib.Path(__file__).resolve().parents[1]
APPS = ROOT / "bench/apps"
PAIR = ROOT / "build/plain/bench/pair"
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

EXAMPLES = """\
examples:
  ./dev bench trace
  ./dev bench trace --python "$(command -v python3.13)" --rounds 21

Medians (least..most) of rounds in which each was measured once. A call: ns of CPU, of many short
turns the median; "added" is over the same without. A request: CPU us of the server, and us until
its client has the answer. The start: ms until the program's first line has run.
"""


def ways(kept: pathlib.Path) -> dict[str, list[str]]:
    """What stands before a command, by name."""
    trace = [str(BIN / "zolal"), "trace", "-o", str(kept / "kept")]
    found = {
        "alone": [],
        "zolal trace": [*trace, "--"],
        "zolal trace --calls": [*trace, "--calls", "--"],
        "zolal trace --exact": [*trace, "--exact", "--"],
        "zolal trace --all-syscalls": [*trace, "--all-syscalls", "--"],
    }
    if shutil.which("strace"):
        found["strace -f"] = ["strace", "-f", "-o", str(kept / "strace")]
    return found


def output(command: list[str]) -> list[float]:
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return [float(word) for word in done.stdout.split()]


class Calls:
    """ns of CPU a call."""

    def __init__(self, name: str, command: list[str], turns: int) -> None:
        self.name, self.command, self.turns = name, command, turns

    def measure(self, before: list[str]) -> float:
        # Where each call stops it takes so much longer that there are fewer of them.
        stops = before[:1] == ["strace"] or {"--exact", "--all-syscalls"} & set(before)
        turns, calls = (5, 200) if stops else (self.turns, 2000)
        return statistics.median(output([*before, *self.command, str(turns), str(calls)]))


class Start:
    """ms until the first line has run."""

    name = "the start of Python"

    def __init__(self, python: str) -> None:
        self.command = [python, "-I", "-c", "import time; print(time.time())"]

    def measure(self, before: list[str]) -> float:
        begin = time.time()
        return (output([*before, *self.command])[0] - begin) * 1000


class Requests:
    """One server each way, all at once; each is asked in turn."""

    def __init__(self, python: str, before: list[str], core: int | None) -> None:
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        command = [*pinned, *before, python, "-I", str(APPS / "wsgiref_server.py")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.pid, self.port = map(int, self.process.stdout.readline().split())

    def cpu_us(self) -> float:
        with open(f"/proc/{self.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1000

    def ask(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(REQUEST)
            while client.recv(65536):
                pass

    def measure(self, count: int) -> tuple[float, float]:
        """CPU and time of a request."""
        cpu, times = self.cpu_us(), []
        for _ in range(count):
            begin = time.perf_counter()
            self.ask()
            times.append((time.perf_counter() - begin) * 1e6)
        return (self.cpu_us() - cpu) / count, statistics.median(times)

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self.process.wait()


def measure(options: argparse.Namespace, kept: pathlib.Path) -> dict[str, dict[str, list[float]]]:
    """work -> way -> a figure for each round"""
    python, before = options.python, ways(kept)
    frames = [(depth, "frame" if depth == 1 else "frames") for depth in (1, 20)]
    works: list[Calls | Start] = [Calls("a call in C, ns", [str(PAIR)], 20)]
    for depth, noun in frames:
        command = [python, "-I", str(APPS / "pair.py"), str(depth)]
        works.append(Calls(f"a call below {depth} {noun}, ns", command, 20))
    works.append(Start(python))
    found: dict[str, dict[str, list[float]]] = {
        work.name: {way: [] for way in before} for work in works
    }
    cpu, times = "a request to wsgiref, CPU us", "a request to wsgiref, us"
    found |= {cpu: {way: [] for way in before}, times: {way: [] for way in before}}
    server_core, load_core = rounds.cores()
    if load_core is not None:
        os.sched_setaffinity(0, {load_core})
    servers: dict[str, Requests] = {}
    try:
        for way, words in before.items():
            servers[way] = Requests(python, words, server_core)
            servers[way].measure(50)
        order = list(rounds.rotated(list(before), options.rounds))
        with progress(len(order), "trace") as move:
            for way in order:
                for work in works:
                    found[work.name][way].append(work.measure(before[way]))
                used, waited = servers[way].measure(options.requests)
                found[cpu][way].append(used)
                found[times][way].append(waited)
                move(way)
    finally:
        for server in servers.values():
            server.stop()
    return found


def show(found: dict[str, dict[str, list[float]]]) -> None:
    table = Table("", "how", "figure", "added", "x alone")
    for work, by_way in found.items():
        alone = by_way["alone"]
        for way, figures in by_way.items():
            added = [one - two for one, two in zip(figures, alone, strict=True)]
            ratio = rounds.ratios(figures, alone)
            table.add_row(
                work if way == "alone" else "",
                way,
                rounds.spread(figures, 1),
                "" if way == "alone" else rounds.spread(added, 1),
                "" if way == "alone" else rounds.spread(ratio, 2),
            )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench trace",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--python", default=sys.executable, help="which is traced")
    parser.add_argument("--rounds", type=int, default=11, help="(default 11)")
    parser.add_argument("--requests", type=int, default=200, help="in each (default 200)")
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept:
        found = measure(options, pathlib.Path(kept))
    show(found)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
