#!/usr/bin/env python
"""zolal beside the other servers, workload by workload."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import pathlib
import socket
import subprocess
import sys
import tempfile

from measuring import report, rounds
from measuring.candidates import (
    Candidate,
    Missing,
    everyone,
    limit,
    pss_kib,
    zolal,
)
from measuring.load import Load
from measuring.report import Measured, StartRow
from measuring.running import django_database, progress, raise_descriptor_limit, run_workload
from measuring.workloads import HELLOS, WORKLOADS, Workload
from rich.console import Console

START = "start"
EXAMPLES = """\
examples:
  ./dev bench peers                                  everything: 80 minutes
  ./dev bench peers hello --rounds 3 --seconds 1     one workload, quickly
  ./dev bench peers flask django --json found.json --plot found.svg
  ./dev bench peers hello --only limit,zolal,"zolal --no-recorder"
  ./dev bench peers sleep --rate 2500 --only zolal,Granian
  ./dev bench peers start --idle 10000

CPU us: user and system time of all processes of the server, for each right answer. Ratios are taken
within a round; (least..most) are of the rounds. Latency: requests come at a fixed rate, each counts
from the time at which it was due. Server and load have a core each. A server that answers wrongly,
or not at all, is shown so; every answer's status and body are compared.
"""


def workload_lines() -> str:
    lines = [f"  {one.name:<10} {one.title}" for one in WORKLOADS]
    lines.append(f"  {START:<10} time to the first answer, memory, memory of an idle connection")
    return "workloads:\n" + "\n".join(lines) + "\n\n"


def arguments() -> argparse.Namespace:
    names = [one.name for one in WORKLOADS] + [START]
    parser = argparse.ArgumentParser(
        prog="./dev bench peers",
        description=__doc__,
        epilog=workload_lines() + EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", metavar="WORKLOAD", nargs="*", help="(default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="(default 5)")
    parser.add_argument("--seconds", type=float, default=2, help="of load in each (default 2)")
    parser.add_argument("--rate", type=float, help="of the latency's requests, a second")
    parser.add_argument("--no-latency", action="store_true", help="only as fast as possible")
    parser.add_argument("--only", metavar="NAME,...", help="these servers alone")
    parser.add_argument("--idle", type=int, default=1000, help="connections of `start`'s memory")
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    parser.add_argument("--plot", metavar="FILE.svg", help="draw it")
    options = parser.parse_args()
    for name in options.workloads:
        if name not in names:
            parser.error(f"there is no workload {name}; there are: {' '.join(names)}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds are above 0")
    options.workloads = options.workloads or names
    known = ["limit", *(one.name for one in everyone())]
    options.only = [name.strip() for name in options.only.split(",")] if options.only else []
    for name in options.only:
        if name not in known and not name.startswith("zolal "):
            parser.error(f"there is no server {name}; there are: {', '.join(known)}")
    return options


# ------------------------------------------------------------------------------------- candidates


def write_reply(workload: Workload, folder: pathlib.Path, env: dict[str, str]) -> pathlib.Path:
    """The bytes that zolal answers with, for the limit program to send the same."""
    server = zolal("zolal")
    server.app, server.env = workload.app, env
    one, reply, path = workload.asks[0], b"", folder / "reply"
    try:
        server.start(None, one.request)
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
            client.sendall(one.request)
            while not reply.endswith(b"\r\n\r\n" + one.body):
                piece = client.recv(1 << 18)
                if not piece:
                    raise Missing(f"zolal answers {reply[:200]!r}")
                reply += piece
    finally:
        server.stop()
    path.write_bytes(reply)
    return path


def candidates_for(
    workload: Workload, only: list[str], folder: pathlib.Path, env: dict[str, str]
) -> list[Candidate]:
    found = {one.name: one for one in everyone(keep=not workload.close)}
    if not workload.blocks and (not only or "limit" in only):
        reply = write_reply(workload, folder, env)
        ruler = limit(reply, len(workload.asks[0].request), workload.close)
        found = {ruler.name: ruler, **found}
    if only:
        found = {
            name: zolal(name) if name.startswith("zolal ") else found[name]
            for name in only
            if name in found or name.startswith("zolal ")
        }
    for one in found.values():
        one.app, one.env = workload.app, env
        if one.holds and workload.blocks:
            one.unfit = f"left out: it would have {workload.connections} threads, the others 16"
        elif one.holds:
            one.threads = max(one.threads, workload.connections + 4)
    return list(found.values())


# -------------------------------------------------------------------------------------- measuring


def hold_idle(
    candidate: Candidate, count: int, folder: pathlib.Path, stack: contextlib.ExitStack
) -> None:
    """So many connections that had an answer and stay open."""
    workload = Workload("idle", "idle", HELLOS, connections=1, idle=count)
    load = Load(candidate, workload, folder, None)
    stack.callback(load.end)
    if load.idle_answered < count:
        raise Missing(f"only {load.idle_answered:,} of {count:,} idle connections were answered")


def measure_start(candidate: Candidate, row: StartRow, idle: int, core: int | None) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        stack.callback(candidate.stop)
        seconds = candidate.start(core, HELLOS[0].request)
        row.command = candidate.words()
        row.start_ms.append(seconds * 1000)
        row.base_mib.append(candidate.pss_kib() / 1024)
        folder = pathlib.Path(name)
        hold_idle(candidate, 100, folder, stack)  # what is allocated once is there now
        before = candidate.pss_kib()
        hold_idle(candidate, idle, folder, stack)
        row.idle_kib.append((candidate.pss_kib() - before) / idle)


def bare_interpreter() -> StartRow:
    """What an interpreter takes that serves nothing."""
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        row = StartRow("python alone", False, command, base_mib=[pss_kib([process.pid]) / 1024])
        process.communicate()
    return row


def run_start(candidates: list[Candidate], options: argparse.Namespace) -> list[StartRow]:
    """Each alone, so that what it shares with the others is its own."""
    core, _ = rounds.cores()
    rows = {one.name: StartRow(one.name, one.peer, one.command, one.note) for one in candidates}
    with progress(len(candidates) * options.rounds, START) as move:
        for candidate in rounds.rotated(candidates, options.rounds):
            row = rows[candidate.name]
            if not row.wrong:
                try:
                    measure_start(candidate, row, options.idle, core)
                except (Missing, OSError, http.client.HTTPException) as reason:
                    row.wrong = str(reason)
            move(candidate.name)
    return [bare_interpreter(), *rows.values()]


def main() -> None:
    options = arguments()
    raise_descriptor_limit()
    console = Console(width=None if sys.stdout.isatty() else 150)
    measured: list[Measured] = []
    starts: list[StartRow] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = pathlib.Path(name)
        env = django_database(folder) if "django" in options.workloads else {}
        for workload in WORKLOADS:
            if workload.name not in options.workloads:
                continue
            candidates = candidates_for(workload, options.only, folder, env)
            measured.append(run_workload(workload, candidates, options))
            report.print_tables(measured[-1:], [], console)
        if START in options.workloads:
            starts = run_start(candidates_for(WORKLOADS[0], options.only, folder, env), options)
            report.print_tables([], starts, console)
    notes = {row.name: row.note for one in measured for row in one.rows if row.note}
    notes |= {row.name: row.note for row in starts if row.note}
    for name, note in notes.items():
        console.print(f"{name}: {note}")
    if options.json:
        report.write_json(options.json, measured, starts, vars(options))
    if options.plot:
        report.write_plot(options.plot, measured, starts)


if __name__ == "__main__":
    try:
        main()
    except Missing as reason:  # zolal itself, whose bytes the limit program sends
        sys.exit(f"./dev bench peers: {reason}")
