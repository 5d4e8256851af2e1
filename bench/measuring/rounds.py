"""Rounds: every candidate once in each, in rotated order, so that a noisy neighbour disturbs all of
them alike; ratios are taken within a round."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from measuring.candidates import Candidate

REQUESTS = re.compile(r"(\d+) requests in")
ERRORS = re.compile(r"Socket errors.*|Non-2xx.*")
LATENCY = re.compile(r"99%\s+([\d.]+)(us|ms|s)")
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass
class Sample:
    """One candidate in one round: microseconds of CPU a request, requests a second, p99 in us."""

    cpu_us: float
    rate: float
    p99_us: float
    problem: str = ""


def cores() -> tuple[int | None, int | None]:
    """A core for the server and another for the load; None, None where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def load(candidate: Candidate, core: int | None, seconds: float, connections: int = 64) -> Sample:
    """Drive it with wrk and count its CPU time."""
    pin = [] if core is None else ["taskset", "-c", str(core)]
    url = f"http://127.0.0.1:{candidate.port}/"
    whole = max(1, round(seconds))
    command = [*pin, "wrk", "-t1", f"-c{connections}", f"-d{whole}s", "--latency", url]
    before = candidate.cpu_seconds()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = candidate.cpu_seconds() - before
    requests = int(found.group(1)) if (found := REQUESTS.search(output)) else 0
    latency = LATENCY.search(output)
    problems = "; ".join(ERRORS.findall(output))
    if requests == 0:
        return Sample(0, 0, 0, problems or "no answers")
    p99 = float(latency.group(1)) * UNITS[latency.group(2)] if latency else 0
    return Sample(used * 1e6 / requests, requests / whole, p99, problems)


def rotated(items: list[Candidate], rounds: int) -> Iterator[tuple[int, Candidate]]:
    for number in range(rounds):
        turn = number % len(items)
        for item in items[turn:] + items[:turn]:
            yield number, item


def run(
    candidates: list[Candidate], rounds: int, measure: Callable[[Candidate], Sample]
) -> dict[str, list[Sample]]:
    """samples[name][round]. A progress bar on a terminal."""
    samples: dict[str, list[Sample]] = {candidate.name: [] for candidate in candidates}
    total = rounds * len(candidates)
    for done, (number, candidate) in enumerate(rotated(candidates, rounds)):
        progress(done, total, f"round {number + 1}, {candidate.name}")
        samples[candidate.name].append(measure(candidate))
    progress(total, total, "")
    return samples


def progress(done: int, total: int, what: str) -> None:
    if sys.stderr.isatty():
        filled = 30 * done // total
        bar = "#" * filled + "." * (30 - filled)
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r[{bar}] {done}/{total} {what:<40}{end}")
        sys.stderr.flush()


def ratios(samples: dict[str, list[Sample]], name: str, to: str) -> list[float]:
    """CPU time of `name` over that of `to`, in each round."""
    pairs = zip(samples[name], samples[to], strict=True)
    return [one.cpu_us / other.cpu_us for one, other in pairs if other.cpu_us > 0]


def spread(values: list[float], digits: int = 2) -> str:
    """ "1.12 (1.10 to 1.20)": median, least, most."""
    if not values:
        return "-"
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
