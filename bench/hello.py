#!/usr/bin/env python
"""Hello over keep-alive: CPU time a request of the server's processes, as ratios.

    ./dev bench hello [--rounds 7] [--seconds 3] [--json FILE]

Candidates: the limit program (bench/limit.c), zolal, zolal without its recorder, bjoern, gunicorn
sync. All run in one go, interleaved, in rotated order; server and load (wrk) on cores of their own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import statistics
import sys
import tempfile

from measuring import rounds
from measuring.candidates import Candidate, Missing, hello_candidates, zolal
from rich.console import Console
from rich.table import Table

BODY = b"Hello, world!\n"
STARTS = 7


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench hello", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds (default 7)")
    parser.add_argument("--seconds", type=float, default=3, help="of load in each (default 3)")
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    return parser.parse_args()


def write_reply(path: pathlib.Path, core: int | None) -> None:
    """The bytes that zolal answers with, for the limit program to send the same."""
    server = zolal()
    server.start(core)
    try:
        path.write_bytes(server.raw_answer())
    finally:
        server.stop()


def check(candidate: Candidate) -> None:
    status, body = candidate.ask()
    if (status, body) != (200, BODY):
        raise Missing(f"it answers {status} and {body[:50]!r}")


def start_all(candidates: list[Candidate], core: int | None) -> dict[str, list[float]]:
    """Start each; those that cannot run are named and left out. Seconds to the first answer."""
    starts: dict[str, list[float]] = {}
    for candidate in list(candidates):
        try:
            starts[candidate.name] = []
            for _ in range(STARTS - 1):
                starts[candidate.name].append(candidate.start(core))
                candidate.stop()
            starts[candidate.name].append(candidate.start(core))
            check(candidate)
        except Missing as reason:
            print(f"left out: {candidate.name}: {reason}", file=sys.stderr)
            candidate.stop()
            candidates.remove(candidate)
    return starts


def table(
    candidates: list[Candidate],
    samples: dict[str, list[rounds.Sample]],
    starts: dict[str, list[float]],
) -> Table:
    shown = Table(title="hello, keep-alive: median (least to most) of the rounds' ratios")
    for column in ("server", "CPU us", "x limit", "x bjoern", "req/s", "p99 us", "start ms"):
        shown.add_column(column, justify="left" if column == "server" else "right", no_wrap=True)
    names = {candidate.name for candidate in candidates}
    for candidate in candidates:
        own = samples[candidate.name]
        to = {
            other: rounds.spread(rounds.ratios(samples, candidate.name, other))
            if other in names
            else "-"
            for other in ("limit", "bjoern")
        }
        shown.add_row(
            candidate.name,
            f"{statistics.median(sample.cpu_us for sample in own):.2f}",
            to["limit"],
            to["bjoern"],
            f"{statistics.median(sample.rate for sample in own):,.0f}",
            f"{statistics.median(sample.p99_us for sample in own):,.0f}",
            f"{statistics.median(starts[candidate.name]) * 1000:.0f}",
        )
    return shown


def main() -> None:
    options = arguments()
    server_core, load_core = rounds.cores()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        reply = pathlib.Path(folder) / "reply"
        write_reply(reply, server_core)
        candidates = hello_candidates(reply)
        starts = start_all(candidates, server_core)
        try:
            samples = rounds.run(
                candidates,
                options.rounds,
                lambda candidate: rounds.load(candidate, load_core, options.seconds),
            )
        finally:
            for candidate in candidates:
                candidate.stop()
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table(candidates, samples, starts))
    if "zolal --no-recorder" in samples:
        found = rounds.ratios(samples, "zolal", "zolal --no-recorder")
        print(f"recorder on against off: {rounds.spread(found, 3)}")
    for name, own in samples.items():
        for problem in {sample.problem for sample in own if sample.problem}:
            print(f"{name}: {problem}")
    if options.json:
        found = {
            name: [dataclasses.asdict(sample) for sample in own] for name, own in samples.items()
        }
        pathlib.Path(options.json).write_text(json.dumps({"samples": found, "starts": starts}))


if __name__ == "__main__":
    main()
