#!/usr/bin/env python
"""What the drop-ins cost beside what they stand for: CPU time of a hello, log lines and all, by
make_server and by Django's runserver. Where the original closes each connection, ours is measured
so, too, and with kept ones. And how long a zolal.Server in a program takes to its first answer."""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from measuring import rounds
from measuring.candidates import Candidate
from measuring.load import Sample, measure
from measuring.running import progress, start
from measuring.workloads import HELLOS, Ask, Workload, get
from rich.console import Console
from rich.table import Table

EXAMPLES = """\
examples:
  ./dev bench dropins
  ./dev bench dropins --rounds 10 --json found.json

CPU us: user and system time a request, median (least..most) of the rounds. x: of the original's,
within a round. Starts: milliseconds, the first in each of five new processes, and 100 after it.
"""

APPS = pathlib.Path(__file__).parent / "apps"
PROGRAM = str(APPS / "dropin.py")
CLOSED = (Ask(get(fields=b"Connection: close\r\n"), HELLOS[0].body),)


@dataclass
class Comparison:
    """`original` and `ours`: words of bench/apps/dropin.py. `kept`: is ours measured so?"""

    name: str
    original: str
    ours: str
    kept: bool
    original_is_kept: bool = False


COMPARISONS = [
    Comparison("make_server, closed", "wsgiref", "zolal", kept=False),
    Comparison("make_server, kept", "wsgiref", "zolal", kept=True),
    Comparison("runserver, closed", "django", "zolal.django", kept=False),
    Comparison("runserver, kept", "django", "zolal.django", kept=True, original_is_kept=True),
]


def workload(kept: bool) -> Workload:
    name = "kept" if kept else "closed"
    return Workload(name, name, HELLOS if kept else CLOSED, connections=4, close=not kept)


def candidate(words: str) -> Candidate:
    return Candidate(words, [sys.executable, PROGRAM, words, "{port}"])


def measure_all(count: int, seconds: float) -> dict[tuple[str, bool], list[Sample]]:
    """Of each server, closed or kept: a sample a round."""
    wanted = {(one.original, one.original_is_kept) for one in COMPARISONS}
    wanted |= {(one.ours, one.kept) for one in COMPARISONS}
    servers = {name: candidate(name) for name, _ in sorted(wanted)}
    found: dict[tuple[str, bool], list[Sample]] = {one: [] for one in sorted(wanted)}
    server_core, load_core = rounds.cores()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            for name, server in servers.items():
                row = start(server, workload(False), server_core)
                if row.wrong:
                    sys.exit(f"{name}: {row.wrong}")
            order = list(rounds.rotated(sorted(wanted), count))
            with progress(len(order), "drop-ins") as move:
                for name, kept in order:
                    sample = measure(
                        servers[name], workload(kept), pathlib.Path(folder), load_core, seconds
                    )
                    found[name, kept].append(sample)
                    move(name)
        finally:
            for server in servers.values():
                server.stop()
    return found


def start_ms(count: int) -> list[float]:
    """From the making of a zolal.Server to its first answer, of `count` in one new process."""
    command = [sys.executable, str(APPS / "embedded.py"), str(count)]
    found: list[float] = json.loads(subprocess.check_output(command, timeout=60))
    return found


def cpu(samples: list[Sample]) -> list[float | None]:
    return [sample.cpu_us for sample in samples]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench dropins",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="(default 5)")
    parser.add_argument("--seconds", type=float, default=2, help="in each (default 2)")
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    options = parser.parse_args()
    found = measure_all(options.rounds, options.seconds)
    starts = [start_ms(101) for _ in range(5)]
    table = Table("", "original, CPU us", "zolal, CPU us", "x")
    for one in COMPARISONS:
        theirs = cpu(found[one.original, one.original_is_kept])
        ours = cpu(found[one.ours, one.kept])
        table.add_row(
            one.name,
            rounds.spread([value for value in theirs if value], 1),
            rounds.spread([value for value in ours if value], 1),
            rounds.spread(rounds.ratios(ours, theirs)),
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    first = rounds.spread([one[0] for one in starts], 1)
    later = rounds.spread([ms for one in starts for ms in one[1:]], 1)
    console.print(f"zolal.Server to its first answer: {first} ms; later ones: {later} ms")
    if options.json:
        text: dict[str, object] = {
            f"{name}, {'kept' if kept else 'closed'}": [sample.as_dict() for sample in samples]
            for (name, kept), samples in found.items()
        }
        text["start_ms"] = starts
        pathlib.Path(options.json).write_text(json.dumps(text, indent=1))


if __name__ == "__main__":
    main()
