#!/usr/bin/env python
"""Each optimisation taken out by itself, and other ways to hand over the loop, beside the shipped
server."""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
from dataclasses import asdict

from measuring import instructions, report, rounds, variants
from measuring.ablations import ABLATION_WORKLOADS, ABLATIONS, Ablation
from measuring.candidates import Candidate, Missing
from measuring.report import Measured, number, significant
from measuring.running import progress, raise_descriptor_limit, run_workload
from measuring.workloads import Workload
from rich.console import Console
from rich.table import Table

SHIPPED = "shipped"
AGAIN = "shipped, once more"
EXAMPLES = """\
examples:
  ./dev bench ablation                                   everything: 20 minutes
  ./dev bench ablation fields cookie --rounds 5
  ./dev bench ablation --only "known field blocks,environ template" --json found.json
  ./dev bench ablation sleep mixed chance                the ways to hand over the loop
  ./dev bench ablation --only "known field blocks" --instructions

A copy of the sources is edited as bench/measuring/ablations.py says, and the extension built from
it, below build/ablation. CPU us: as in ./dev bench peers. without/with: its ratio to the shipped
server, taken within a round, median (least..most): above 1, the optimisation saves time. Rounds are
short and many, since what else a machine does changes within seconds. What
`shipped, once more` shows is noise. "(nor X)": X is out as well, also of what it is compared with.
Instructions: of the server in user space, as valgrind counts them, one request after the
other, with one thread; the kernel is not in them, nor is what it maps (clock_gettime), and the ways
to hand over are left out.
Lines: of code, without comments and blank ones: functions and files that only the optimisation
needs, and, counted by hand, what it takes in others.
"""


def arguments() -> argparse.Namespace:
    names = [one.name for one in ABLATION_WORKLOADS]
    lines = [f"  {one.name:<43}{'way, ' if one.way else ''}{one.workloads}" for one in ABLATIONS]
    parser = argparse.ArgumentParser(
        prog="./dev bench ablation",
        description=__doc__,
        epilog="\n".join(["ablations and their workloads:", *lines, "", EXAMPLES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", metavar="WORKLOAD", nargs="*", help="(default: all)")
    parser.add_argument("--rounds", type=int, default=20, help="(default 20)")
    parser.add_argument("--seconds", type=float, default=0.25, help="in each (default 0.25)")
    parser.add_argument("--only", metavar="NAME,...", help="these ablations alone, none for ''")
    parser.add_argument(
        "--instructions", action="store_true", help="count instructions instead of time (valgrind)"
    )
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    options = parser.parse_args()
    for name in options.workloads:
        if name not in names:
            parser.error(f"there is no workload {name}; there are: {' '.join(names)}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds are above 0")
    if options.instructions and not shutil.which("valgrind"):
        parser.error("--instructions: valgrind is not installed")
    options.workloads = options.workloads or names
    known = [one.name for one in ABLATIONS]
    if options.only is None:
        options.only = known
    else:
        options.only = [name.strip() for name in options.only.split(",") if name.strip()]
    for name in options.only:
        if name not in known:
            parser.error(f"there is no ablation {name}; there are: {', '.join(known)}")
    return options


def chosen(workload: Workload, options: argparse.Namespace) -> list[Ablation]:
    """Those of this workload, and before them what they are compared with."""
    found = [
        one
        for one in ABLATIONS
        if one.name in options.only
        and workload.name in one.workloads.split()
        and not (options.instructions and one.way)
    ]
    others = {one.over for one in found if one.over} - {one.name for one in found}
    return [*(variants.named(name) for name in sorted(others)), *found]


def candidates_for(workload: Workload, ablations: list[Ablation]) -> list[Candidate]:
    makers = [
        lambda: variants.shipped(SHIPPED),
        lambda: variants.shipped(AGAIN),
        *(lambda one=one: variants.of(one) for one in ablations),
    ]
    found = []
    with progress(len(makers), f"{workload.name}, building") as move:
        for make in makers:
            found.append(make())
            found[-1].app = workload.app
            move(found[-1].name)
    return found


def base_of(name: str, ablations: list[Ablation]) -> str:
    """The row that a row is compared with; "" for none."""
    for one in ablations:
        if one.title() == name:
            return variants.named(one.over).title() if one.over else SHIPPED
    return SHIPPED if name == AGAIN else ""


def lines_of(name: str, ablations: list[Ablation], texts: variants.Texts) -> str:
    for one in ablations:
        if one.title() == name and (one.code or one.loose):
            return str(variants.code_lines(one, texts))
    return ""


def time_table(measured: Measured, ablations: list[Ablation], texts: variants.Texts) -> Table:
    paced = any(row.paced for row in measured.rows)
    columns = ["server", "CPU us", "without/with", "req/s"]
    columns += ["p50 ms", "p99 ms"] if paced else []
    title = f"{measured.title}; CPU time a request, most requests a second"
    title += f", latency at {measured.rate:,.0f} a second" if paced else ""
    table = report.new_table(title, [*columns, "lines", "answers"])
    for row in measured.rows:
        base = measured.row(base_of(row.name, ablations))
        ratios = rounds.ratios(row.cpu(), base.cpu()) if base else []
        cells = [
            number(rounds.median(row.cpu())),
            rounds.spread(ratios, 3) if base else "",
            number(rounds.median([sample.rate for sample in row.fast]), 0),
        ]
        if paced:
            cells += [significant(rounds.median(row.latency(name))) for name in ("p50", "p99")]
        verdict = row.verdict()
        answers = f"[red]{verdict}[/red]" if verdict else "right"
        table.add_row(row.name, *cells, lines_of(row.name, ablations, texts), answers)
    return table


def count_table(
    workload: Workload,
    counted: dict[str, float | str],
    ablations: list[Ablation],
    texts: variants.Texts,
) -> Table:
    """`counted`: instructions of each, or why there is no figure."""
    columns = ["server", "instructions", "without - with", "without/with", "lines"]
    table = report.new_table(f"{workload.title}; instructions a request", columns)
    for name, found in counted.items():
        base = counted.get(base_of(name, ablations))
        lines = lines_of(name, ablations, texts)
        if isinstance(found, str):
            table.add_row(name, f"[red]{found}[/red]", "", "", lines)
        elif not isinstance(base, float):
            table.add_row(name, number(found, 0), "", "", lines)
        else:
            table.add_row(
                name, number(found, 0), f"{found - base:+,.0f}", f"{found / base:.3f}", lines
            )
    return table


def measure(workload: Workload, candidates: list[Candidate], options: argparse.Namespace):
    paced = workload.name in ("mixed", "chance", "long")
    wanted = argparse.Namespace(
        rounds=options.rounds, seconds=options.seconds, rate=None, no_latency=not paced
    )
    return run_workload(workload, candidates, wanted)


def main() -> None:
    options = arguments()
    raise_descriptor_limit()
    console = Console(width=None if sys.stdout.isatty() else 150)
    texts = variants.sources()
    found: dict[str, dict] = {"machine": report.machine(), "options": vars(options)}
    found |= {"workloads": {}, "instructions": {}}
    for workload in ABLATION_WORKLOADS:
        ablations = chosen(workload, options)
        if workload.name not in options.workloads or (options.only and not ablations):
            continue
        candidates = candidates_for(workload, ablations)
        if options.instructions:
            with progress(len(candidates), f"{workload.name}, counting") as move:
                counted = instructions.count_all(candidates, workload, move)
            found["instructions"][workload.name] = counted
            console.print(count_table(workload, counted, ablations, texts))
        else:
            measured = measure(workload, candidates, options)
            found["workloads"][workload.name] = asdict(measured)
            console.print(time_table(measured, ablations, texts))
        console.print()
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except Missing as reason:
        sys.exit(f"./dev bench ablation: {reason}")
