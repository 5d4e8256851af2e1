#!/usr/bin/env python
"""zolal's event loop beside the others: echoes, connections, memory, and what a loop takes for
itself."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from measuring import rounds
from measuring.candidates import APPS, Missing
from measuring.echoes import MESSAGE, NATIVE, EchoServer, Figures, cpu_us, echo_server, idle_bytes
from measuring.report import machine, new_table
from measuring.running import progress, raise_descriptor_limit
from rich.console import Console

EXAMPLES = """\
examples:
  ./dev bench loop                                    everything: 12 minutes
  ./dev bench loop sock streams --rounds 3            two works, quickly
  ./dev bench loop micro --only uvloop,rloop,zolal
  ./dev bench loop --python=python3.13 --json found.json
  ./dev bench loop --python=all                       each Python that can be had, in turn

CPU us: user and system time of the server, for each message of 1 KB or each connection; median
(least..most) of the rounds. x native: of a bare epoll loop in C. zolal x: zolal's time over this
loop's. Ratios are taken within a round, whose order is one of chance; server and client have a core
each, and the client never sleeps. "untuned": some loops take 256 KiB for each message that they
receive, which glibc maps and unmaps until a block so large was once freed whole: until the first
connection ends. Here it has been, but for these rows, in which glibc does not learn.
"""

WORKS = {
    "sock": "sock_recv and sock_sendall",
    "protocol": "a protocol",
    "streams": "streams",
    "tls": "streams over TLS",
}
MICRO = "micro"
CONNECTIONS = (16, 256)
CHURNING = 16
LOOPS = [
    "asyncio",
    "asyncio untuned",
    "uvloop",
    "rloop",
    "zloop",
    "aiofastnet on asyncio",
    "aiofastnet on uvloop",
    "zolal",
]
OURS = "zolal"
Table = dict[str, Figures]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench loop",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("works", metavar="WORK", nargs="*", help=f"{' '.join(WORKS)} {MICRO}")
    parser.add_argument("--rounds", type=int, default=7, help="(default 7)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of load in each (default 0.5)")
    parser.add_argument("--idle", type=int, default=1000, help="connections of the memory's")
    parser.add_argument("--only", metavar="LOOP,...", help=f"of {', '.join([NATIVE, *LOOPS])}")
    parser.add_argument(
        "--python", metavar="PYTHON", action="append", help="one that has the loops"
    )
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    options = parser.parse_args()
    options.works = options.works or [*WORKS, MICRO]
    for name in options.works:
        if name not in (*WORKS, MICRO):
            parser.error(f"there is no work {name}; there are: {' '.join(WORKS)} {MICRO}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds are above 0")
    options.loops = [NATIVE, *LOOPS]
    if options.only:
        options.loops = [name.strip() for name in options.only.split(",")]
    options.python = options.python or [sys.executable]
    return options


# -------------------------------------------------------------------------------------- measuring


def in_rounds(names: Iterable[str], count: int, what: str, figure: Callable[[str], float]) -> Table:
    """figure(name) of each, in each round; who has failed once is not asked again."""
    table = {name: Figures() for name in names}
    order = list(rounds.shuffled(list(table), count))
    with progress(len(order), what) as move:
        for name in order:
            value = None
            if not table[name].wrong:
                try:
                    value = figure(name)
                except (Missing, OSError) as reason:
                    table[name].wrong = str(reason)
            table[name].values.append(value)
            move(name)
    return table


def started(
    python: str,
    work: str,
    options: argparse.Namespace,
    folder: pathlib.Path,
    stack: contextlib.ExitStack,
) -> tuple[dict[str, EchoServer], Table]:
    """The servers, and why others are none."""
    core, _ = rounds.cores()
    servers, others = {}, {}
    for loop in options.loops:
        if loop == NATIVE and work == "tls":
            continue
        server = echo_server(python, loop, work, folder / "certificate")
        stack.callback(server.stop)
        try:
            server.start(core, MESSAGE)
            servers[loop] = server
        except (Missing, OSError) as reason:
            others[loop] = Figures([], str(reason).rpartition("status 1: ")[2])
    return servers, others


def measure_work(
    python: str, work: str, options: argparse.Namespace, folder: pathlib.Path
) -> dict[str, Table]:
    """Of each number of connections, "churn" and "idle bytes": a table."""
    _, core = rounds.cores()
    found: dict[str, Table] = {}
    with contextlib.ExitStack() as stack:
        servers, others = started(python, work, options, folder, stack)

        def run(title: str, count: int, figure: Callable[[EchoServer], float]) -> None:
            table = in_rounds(
                servers, count, f"{work}, {title}", lambda name: figure(servers[name])
            )
            found[title] = {
                name: table.get(name) or others[name]
                for name in options.loops
                if name in table or name in others
            }

        for count in CONNECTIONS:
            run(
                str(count),
                options.rounds,
                functools.partial(cpu_us, core=core, connections=count, seconds=options.seconds),
            )
        if work != "tls":
            run(
                "churn",
                options.rounds,
                functools.partial(
                    cpu_us, core=core, connections=CHURNING, seconds=options.seconds, churn=True
                ),
            )
        # Once, by new processes: what the old ones have held they may have kept.
        run("idle bytes", 1, functools.partial(idle_afresh, count=options.idle))
    return found


def idle_afresh(server: EchoServer, count: int) -> float:
    core, load_core = rounds.cores()
    server.stop()
    server.start(core, MESSAGE)
    return idle_bytes(server, load_core, count)


def micro_of(python: str, loop: str, core: int | None) -> dict[str, float]:
    words = [] if core is None else ["taskset", "-c", str(core)]
    words += [python, str(APPS / "loop_micro.py"), loop]
    done = subprocess.run(words, capture_output=True, text=True, cwd=APPS)
    if done.returncode:
        raise Missing((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    return json.loads(done.stdout)


def measure_micro(python: str, options: argparse.Namespace) -> dict[str, Table]:
    """Nanoseconds; of each work a table."""
    core, _ = rounds.cores()
    samples: dict[str, list[dict[str, float]]] = {}

    def figure(loop: str) -> float:
        found = micro_of(python, loop, core)
        samples.setdefault(loop, []).append(found)
        return 0

    asked = in_rounds(
        [name for name in options.loops if name != NATIVE and " " not in name],
        options.rounds,
        MICRO,
        figure,
    )
    works = [work for found in samples.values() for work in found[0]]
    return {
        work: {
            loop: Figures([one[work] for one in samples.get(loop, [])], asked[loop].wrong)
            for loop in asked
        }
        for work in dict.fromkeys(works)
    }


def certify(path: pathlib.Path) -> None:
    """A certificate of this machine's own, and its key."""
    key = path.with_suffix(".key")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", path], check=True, capture_output=True)
    path.write_bytes(key.read_bytes() + path.read_bytes())


# ------------------------------------------------------------------------------------------ telling


def ratio(own: Figures | None, other: Figures | None) -> str:
    middle = rounds.median(rounds.ratios(own.values, other.values)) if own and other else None
    return f"{middle:.2f}" if middle else "-"


def show(
    title: str,
    tables: dict[str, Table],
    digits: int,
    console: Console,
    native: bool = False,
    briefly: bool = False,
) -> None:
    """A row a loop, some columns for each of the tables. `briefly`: the median alone."""
    columns, notes = ["loop"], []
    for name in tables:
        columns += [name, *(["x native"] if native else []), "zolal x"]
    shown = new_table(title, columns)
    for loop in dict.fromkeys(name for table in tables.values() for name in table):
        row = []
        for table in tables.values():
            one = table.get(loop, Figures())
            own = [value for value in one.values if value is not None]
            own = own and [rounds.median(own)] if briefly else own
            row += [rounds.spread(own, digits)]
            row += [ratio(one, table.get(NATIVE))] if native else []
            row += [ratio(table.get(OURS), one) if loop != OURS else ""]
            notes += [f"{loop}: {one.wrong}"] if one.wrong else []
        shown.add_row(loop, *row, style="bold" if loop == OURS else "")
    shown.caption = "\n".join(dict.fromkeys(notes)) or None
    console.print(shown)
    console.print()


def show_work(work: str, found: dict[str, Table], console: Console) -> None:
    echoes = {f"{count} connections": found[str(count)] for count in CONNECTIONS}
    show(f"echo by {WORKS[work]}, CPU us", echoes, 1, console, native=work != "tls")


def show_all(works: dict[str, dict[str, Table]], title: str, what: str, console: Console) -> None:
    """One figure of all the works."""
    tables = {work: found[what] for work, found in works.items() if what in found}
    if tables:
        show(title, tables, 0, console, briefly=True)


def show_micro(found: dict[str, Table], console: Console) -> None:
    names = list(found)
    for part in (names[:4], names[4:]):
        show("ns of CPU, each", {name: found[name] for name in part}, 0, console, briefly=True)


def with_ratios(found: dict[str, Table]) -> dict[str, Any]:
    """For the file: every figure, and the ratios of each round."""
    return {
        title: {
            name: {
                "values": one.values,
                "wrong": one.wrong,
                "x native": rounds.ratios(one.values, table.get(NATIVE, Figures()).values),
                "zolal x": rounds.ratios(table.get(OURS, Figures()).values, one.values),
            }
            for name, one in table.items()
        }
        for title, table in found.items()
    }


VERSIONS = """
import importlib.metadata, json, sys, sysconfig
found = {"python": sys.version, "built with": sysconfig.get_config_var("CONFIG_ARGS")}
for name in ("zolal", "uvloop", "rloop", "zloop", "aiofastnet"):
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = "not installed"
print(json.dumps(found))
"""


def measure_python(
    python: str, options: argparse.Namespace, folder: pathlib.Path, console: Console
) -> dict[str, Any]:
    out = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, check=True)
    versions = json.loads(out.stdout)
    said = ", ".join(f"{name} {one}" for name, one in versions.items() if name != "built with")
    console.print(f"[bold]{said}[/bold]\n")
    found: dict[str, Any] = {"versions": versions, "works": {}}
    works: dict[str, dict[str, Table]] = {}
    for work in options.works:
        if work == MICRO:
            micro = measure_micro(python, options)
            show_micro(micro, console)
            found[MICRO] = with_ratios(micro)
        else:
            works[work] = measure_work(python, work, options, folder)
            show_work(work, works[work], console)
            found["works"][work] = with_ratios(works[work])
    show_all(works, "a connection with one message, CPU us", "churn", console)
    show_all(works, "an idle connection, bytes", "idle bytes", console)
    return found


def main() -> None:
    options = arguments()
    raise_descriptor_limit()
    console = Console(width=None if sys.stdout.isatty() else 150)
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = pathlib.Path(name)
        if "tls" in options.works:
            certify(folder / "certificate")
        for python in options.python:
            found.append(measure_python(os.path.abspath(python), options, folder, console))
    if options.json:
        text = {"machine": machine(), "options": vars(options), "pythons": found}
        pathlib.Path(options.json).write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
