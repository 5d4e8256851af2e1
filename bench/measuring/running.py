"""A workload with its candidates, all of them running all the time, measured in rounds."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from measuring import rounds
from measuring.candidates import APPS, Candidate, Missing, ask
from measuring.load import measure
from measuring.report import Measured, Row
from measuring.workloads import Workload


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 20000 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def django_database(folder: pathlib.Path) -> dict[str, str]:
    """Made once: the environment that names it."""
    path = folder / "entries.sqlite3"
    env = {"BENCH_DATABASE": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(APPS / "django_app.py")]
    subprocess.run(command, check=True, env={**os.environ, **env})
    folder.chmod(0o755)
    return env


def describe(status: int, body: bytes) -> str:
    return f"{status}, {len(body)} bytes, {hashlib.sha256(body).hexdigest()[:12]}"


def check(candidate: Candidate, workload: Workload) -> str:
    """One request of each kind: "", or what is wrong with the answer."""
    for one in workload.asks:
        try:
            status, body = ask(candidate.port, one.request)
        except (OSError, http.client.HTTPException) as reason:
            return f"no answer: {reason}"
        if (status, body) != (200, one.body):
            return f"wrong: {describe(status, body)} instead of {describe(200, one.body)}"
    return ""


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal; the function moves it on, to the name that is given."""
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda name: bar.update(task, advance=1, description=f"{what}: {name}")


def start(candidate: Candidate, workload: Workload, core: int | None) -> Row:
    row = Row(candidate.name, candidate.peer, candidate.command, candidate.note)
    try:
        candidate.start(core, workload.asks[0].request)
        row.wrong = check(candidate, workload)
    except (Missing, OSError, http.client.HTTPException) as reason:
        row.wrong = str(reason)
    row.command = candidate.words()
    return row


def run_workload(
    workload: Workload, candidates: list[Candidate], options: argparse.Namespace
) -> Measured:
    """All of them run all the time; who cannot, or answers wrongly, has a row that says so."""
    server_core, load_core = rounds.cores()
    rate = 0 if options.no_latency else options.rate or workload.rate
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        with progress(len(candidates), f"{workload.name}, starting") as move:
            for candidate in candidates:
                stack.callback(candidate.stop)
                rows[candidate.name] = start(candidate, workload, server_core)
                move(candidate.name)
        measured = [one for one in candidates if not rows[one.name].wrong]
        order = list(rounds.rotated(measured, options.rounds)) if measured else []
        with progress(len(order), workload.name) as move:
            for candidate in order:
                row = rows[candidate.name]
                of_load = (candidate, workload, folder, load_core, options.seconds)
                row.fast.append(measure(*of_load))
                if rate:
                    row.paced.append(measure(*of_load, rate))
                move(candidate.name)
    return Measured(workload.name, workload.title, rate, list(rows.values()))
