"""One measurement: bench/load asks a running server, whose CPU time is read before and after."""

from __future__ import annotations

import json
import pathlib
import subprocess
from dataclasses import asdict, dataclass, field

from measuring.candidates import ROOT, Candidate
from measuring.workloads import Workload

LOAD = ROOT / "build" / "plain" / "bench" / "load"
DRAIN_SECONDS = 2


@dataclass
class Sample:
    """One candidate in one round. `cpu_us`: CPU time of its processes for each right answer;
    `rate`: right answers a second; `latency_ms`: p50, p99, p99.9 and most, of the first kind of
    request (`other_ms`: of the second). `wrong`: what is wrong with its answers. `slow`: it could
    not keep the rate. Figures are None where nothing was answered."""

    cpu_us: float | None = None
    rate: float = 0
    answers: int = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    other_ms: dict[str, float] = field(default_factory=dict)
    wrong: str = ""
    slow: str = ""

    as_dict = asdict


def percentiles(histogram: list[list[float]]) -> dict[str, float]:
    """Of [microseconds, count] in rising order: {} when empty, else milliseconds."""
    total = sum(count for _, count in histogram)
    found = {}
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("most", 1)):
        seen = 0.0
        for value, count in histogram:
            seen += count
            if seen >= total * share:
                found[name] = value / 1000
                break
    return found


def write_asks(workload: Workload, folder: pathlib.Path) -> list[str]:
    """The files that bench/load reads, and the words that name them."""
    words = []
    for number, ask in enumerate(workload.asks):
        request, body = folder / f"request{number}", folder / f"body{number}"
        request.write_bytes(ask.request)
        body.write_bytes(ask.body)
        words.append(f"{ask.share}:{request}:{body}")
    return words


class Load:
    """bench/load, its connections open (the idle ones answered once), not yet asking."""

    def __init__(
        self,
        candidate: Candidate,
        workload: Workload,
        folder: pathlib.Path,
        core: int | None,
        seconds: float = 0,
        rate: float = 0,
    ) -> None:
        words = [] if core is None else ["taskset", "-c", str(core)]
        words += [str(LOAD), f"--seconds={seconds}", f"--drain={DRAIN_SECONDS}"]
        words += [f"--connections={workload.connections}", f"--pipeline={workload.pipeline}"]
        words += [f"--idle={workload.idle}", *(["--close"] if workload.close else [])]
        words += [f"--rate={rate}"] if rate else []
        words += [str(candidate.port), *write_asks(workload, folder)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        ready = self.process.stdout.readline().split()
        if not ready:
            self.end()
            raise RuntimeError("bench/load did not begin")
        self.idle_answered = int(ready[1])

    def run(self) -> dict:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate()


def measure(
    candidate: Candidate,
    workload: Workload,
    folder: pathlib.Path,
    core: int | None,
    seconds: float,
    rate: float = 0,
) -> Sample:
    """`rate`: 0 is as fast as answers come."""
    load = Load(candidate, workload, folder, core, seconds, rate)
    try:
        before = candidate.cpu_seconds()
        found = load.run()
        used = candidate.cpu_seconds() - before
    finally:
        load.end()
    answers = sum(kind["answers"] for kind in found["kinds"])
    sample = Sample(rate=found["in_time"] / found["seconds"], answers=answers)
    sample.wrong = what_is_wrong(found, workload)
    if candidate.process and candidate.process.poll() is not None:
        sample.wrong = f"it ended with status {candidate.process.returncode}; {sample.wrong}"
        return sample
    share = found["unsent"] / (rate * seconds) if rate else 0
    if share >= 0.05:  # less is a bad moment at the end
        sample.slow = f"too slow for {rate:,.0f} a second: {share:.0%} not even sent"
    if answers:
        sample.cpu_us = used * 1e6 / answers
        latencies = [percentiles(kind["histogram"]) for kind in found["kinds"]]
        sample.latency_ms = latencies[0]
        sample.other_ms = latencies[1] if len(latencies) > 1 else {}
    return sample


def what_is_wrong(found: dict, workload: Workload) -> str:
    said = []
    if found["wrong"]:
        said.append(f"{found['wrong']:,} wrong ({found['first_wrong']})")
    for name, what in (
        ("unanswered", "unanswered"),
        ("lost", "closed on instead of answered"),
        ("refused", "connections refused"),
        ("unclosed", "not closed after the answer"),
    ):
        if found[name]:
            said.append(f"{found[name]:,} {what}")
    if found["idle_answered"] < workload.idle:
        said.append(f"only {found['idle_answered']:,} idle connections were answered once")
    elif found["idle_open"] < workload.idle:
        said.append(f"only {found['idle_open']:,} idle connections were kept")
    return ", ".join(said)
