"""What was measured, as tables, JSON and a plot."""

from __future__ import annotations

import json
import pathlib
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata

from rich.console import Console
from rich.table import Table

from measuring import rounds
from measuring.load import Sample

PACKAGES = (
    "zolal bjoern fastpysgi granian pyuwsgi gunicorn mod_wsgi-standalone waitress cheroot gevent"
    " Flask Django"
).split()
PERCENTILES = ("p50", "p99", "p99.9")


@dataclass
class Row:
    """A candidate under a workload. `wrong`: why there are no samples. `fast`, `paced`: a sample
    for each round, as fast as answers come and at the fixed rate."""

    name: str
    peer: bool
    command: list[str]
    note: str = ""
    wrong: str = ""
    fast: list[Sample] = field(default_factory=list)
    paced: list[Sample] = field(default_factory=list)

    def samples(self) -> list[Sample]:
        return self.fast + self.paced

    def cpu(self) -> list[float | None]:
        return [sample.cpu_us for sample in self.fast]

    def latency(self, name: str) -> list[float]:
        return [sample.latency_ms[name] for sample in self.paced if sample.latency_ms]

    def other_latency(self, name: str) -> list[float]:
        return [sample.other_ms[name] for sample in self.paced if sample.other_ms]

    def verdict(self) -> str:
        """What is wrong with it: of its rounds, the first that has something."""
        if self.wrong:
            return self.wrong
        for sample in self.samples():
            if sample.wrong:
                return sample.wrong
        return next((sample.slow for sample in self.paced if sample.slow), "")

    def is_right(self) -> bool:
        return not self.wrong and not any(sample.wrong for sample in self.samples())


@dataclass
class Measured:
    """A workload and its rows."""

    name: str
    title: str
    rate: float
    rows: list[Row]

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def best_peer(self) -> Row | None:
        """The one that takes the least CPU time of those whose answers are all right."""
        found = [row for row in self.rows if row.peer and row.is_right() and any(row.cpu())]
        return min(found, key=lambda row: rounds.median(row.cpu()) or 0, default=None)


@dataclass
class StartRow:
    """Starting, and what is kept in memory: of each round."""

    name: str
    peer: bool
    command: list[str]
    note: str = ""
    wrong: str = ""
    start_ms: list[float] = field(default_factory=list)
    base_mib: list[float] = field(default_factory=list)
    idle_kib: list[float] = field(default_factory=list)


def number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def significant(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def new_table(title: str, columns: Sequence[str]) -> Table:
    # A title is folded to the table's width: a column that may grow gives it room.
    table = Table(title=title, title_justify="left", caption_justify="left", min_width=110)
    for column in columns:
        words = column in ("server", "answers")
        table.add_column(column, justify="left" if words else "right", no_wrap=column != "answers")
    return table


def speed_table(measured: Measured) -> Table:
    best, limit = measured.best_peer(), measured.row("limit")
    paced = any(row.paced for row in measured.rows)
    columns = ["server", "CPU us", "x limit", "x best peer", "req/s"]
    columns += [f"{name} ms" for name in PERCENTILES] if paced else []
    title = f"{measured.title}; CPU time a request, most requests a second"
    title += f", latency at {measured.rate:,.0f} a second" if paced else ""
    table = new_table(title, [*columns, "answers"])
    for row in measured.rows:
        cells = [
            number(rounds.median(row.cpu())),
            *(
                rounds.spread(rounds.ratios(row.cpu(), other.cpu())) if other else "-"
                for other in (limit, best)
            ),
            number(rounds.median([sample.rate for sample in row.fast]), 0),
        ]
        if paced:
            cells += [significant(rounds.median(row.latency(name))) for name in PERCENTILES]
        verdict = row.verdict()
        answers = f"[red]{verdict}[/red]" if verdict else "right"
        style = "bold" if row.name.startswith("zolal") else ""
        table.add_row(row.name, *cells, answers, style=style)
    if best:
        table.caption = f"median (least..most) of the rounds; best peer: {best.name}"
    return table


def start_table(rows: list[StartRow]) -> Table:
    columns = ["server", "start ms", "base PSS MiB", "KiB an idle connection", "answers"]
    table = new_table("start, from exec to the first answer, and memory", columns)
    for row in rows:
        cells = [
            rounds.spread(row.start_ms, 0),
            rounds.spread(row.base_mib, 1),
            rounds.spread(row.idle_kib, 2),
        ]
        answers = f"[red]{row.wrong}[/red]" if row.wrong else "right" if row.start_ms else "-"
        table.add_row(row.name, *cells, answers, style="bold" if "zolal" in row.name else "")
    return table


def print_tables(measured: list[Measured], starts: list[StartRow], console: Console) -> None:
    for one in measured:
        console.print(speed_table(one))
        console.print()
    if starts:
        console.print(start_table(starts))
        console.print()


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def machine() -> dict[str, str]:
    cpu = [
        line.partition(":")[2].strip()
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "CPU part"))
    ]
    return {
        "cpu": f"{len(cpu)} x {cpu[0]}" if cpu else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def write_json(
    path: str, measured: list[Measured], starts: list[StartRow], options: dict[str, object]
) -> None:
    found = {
        "machine": machine(),
        "options": options,
        "workloads": {one.name: asdict(one) for one in measured},
        "start": [asdict(row) for row in starts],
    }
    pathlib.Path(path).write_text(json.dumps(found, indent=1) + "\n")


# ------------------------------------------------------------------------------------------- plot

OURS, PEERS, RULER = "#0b7285", "#adb5bd", "#dee2e6"


def colour(name: str) -> str:
    return RULER if name == "limit" else OURS if name.startswith("zolal") else PEERS


def draw_bars(axes, names: list[str], values: list[list[float]], title: str, unit: str) -> None:
    """Medians, with a line from the least to the most."""
    middles = [statistics.median(found) if found else 0 for found in values]
    places = range(len(names))
    axes.barh(places, middles, color=[colour(name) for name in names], height=0.7)
    for place, found, middle in zip(places, values, middles, strict=True):
        if found:
            axes.plot([min(found), max(found)], [place, place], color="#495057", linewidth=1)
            text = f" {significant(middle)}"
        else:
            text = " none: see the table"
        axes.text(max(found, default=0), place, text, va="center", fontsize=7)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel(unit, fontsize=8)
    finish(axes)


def finish(axes) -> None:
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)


def draw_latency(axes, rows: list[Row], title: str) -> None:
    """p50, p99 and p99.9 of each, on one line: a dot each, larger ones first."""
    for place, row in enumerate(rows):
        known = row.is_right() and row.paced
        points = [rounds.median(row.latency(name)) for name in PERCENTILES] if known else []
        points = [point for point in points if point]
        if points:
            axes.plot(points, [place] * len(points), color=colour(row.name), linewidth=2)
        for point, size in zip(points, (40, 25, 12), strict=False):
            axes.scatter([point], [place], s=size, color=colour(row.name), zorder=3)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("ms: p50, p99, p99.9", fontsize=8)
    finish(axes)


def draw_workload(axes, measured: Measured) -> None:
    rows = measured.rows
    cpu = [[value for value in row.cpu() if value] if row.is_right() else [] for row in rows]
    names = [row.name for row in rows]
    draw_bars(axes[0], names, cpu, measured.title, "us of CPU time a request")
    if any(row.paced for row in rows):
        draw_latency(axes[1], rows, f"latency at {measured.rate:,.0f} requests a second")
    else:
        axes[1].set_visible(False)


def draw_starts(axes, rows: list[StartRow]) -> None:
    names = [row.name for row in rows]
    columns: list[tuple[str, Callable[[StartRow], list[float]]]] = [
        ("ms from exec to the first answer", lambda row: row.start_ms),
        ("MiB of memory (PSS)", lambda row: row.base_mib),
    ]
    for place, (unit, values) in zip(axes, columns, strict=True):
        draw_bars(place, names, [values(row) for row in rows], "start and memory", unit)


def write_plot(path: str, measured: list[Measured], starts: list[StartRow]) -> None:
    """matplotlib is asked for here alone: it is in requirements/bench.txt only."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    matplotlib.rcParams["svg.hashsalt"] = "zolal"  # the same figures make the same file
    from matplotlib import pyplot

    heights = [len(one.rows) for one in measured] + ([len(starts)] if starts else [])
    figure, grid = pyplot.subplots(
        len(heights),
        2,
        squeeze=False,
        figsize=(11, sum(0.22 * height + 0.8 for height in heights)),
        height_ratios=heights,
        layout="constrained",
    )
    for axes, one in zip(grid, measured, strict=False):
        draw_workload(axes, one)
    if starts:
        draw_starts(grid[-1], starts)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
