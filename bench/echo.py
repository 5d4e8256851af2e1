#!/usr/bin/env python
"""zolal echo beside a bare epoll loop: CPU time of the server a message, on a core of its own, with
clients that never sleep on another."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

from measuring import rounds
from measuring.candidates import BIN, Missing
from measuring.echoes import LIMIT, MESSAGE, EchoLoad, EchoServer
from measuring.running import progress
from rich.console import Console
from rich.table import Table

EXAMPLES = """\
examples:
  ./dev bench echo
  ./dev bench echo --connections 16 --bytes 16384 --rounds 20

CPU us: user and system time a message, median (least..most) of the rounds. x limit: of the bare
loop's, within a round.
"""


def candidates() -> list[EchoServer]:
    zolal = [str(BIN / "zolal"), "echo", "--bind", "127.0.0.1:{port}"]
    return [
        EchoServer("limit", [str(LIMIT), "{port}"]),
        EchoServer("zolal echo", zolal, peer=False),
        EchoServer("without the recorder", [*zolal, "--no-recorder"], peer=False),
    ]


def measure(server: EchoServer, connections: int, core: int | None, size: int, seconds: float):
    """CPU microseconds a message, and messages a second."""
    words = [f"--connections={connections}", f"--size={size}", f"--seconds={seconds}"]
    load = EchoLoad(server, core, words)
    before = server.cpu_seconds()
    messages = load.run()
    used = server.cpu_seconds() - before
    return used * 1e6 / messages, messages / seconds


def measure_all(options: argparse.Namespace) -> dict[int, dict[str, list[tuple[float, float]]]]:
    """Of each number of connections and each server: a pair for each round."""
    servers = candidates()
    server_core, load_core = rounds.cores()
    found = {many: {one.name: [] for one in servers} for many in options.connections}
    try:
        for server in servers:
            server.start(server_core, MESSAGE)
        order = list(rounds.rotated(servers, options.rounds))
        with progress(len(order) * len(found), "echo") as move:
            for server in order:
                for many, rows in found.items():
                    sample = measure(server, many, load_core, options.bytes, options.seconds)
                    rows[server.name].append(sample)
                    move(f"{server.name}, {many}")
    except Missing as reason:
        sys.exit(str(reason))
    finally:
        for server in servers:
            server.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench echo",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 256])
    parser.add_argument("--bytes", type=int, default=64, help="of a message (default 64)")
    parser.add_argument("--rounds", type=int, default=9, help="(default 9)")
    parser.add_argument("--seconds", type=float, default=1, help="in each (default 1)")
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    options = parser.parse_args()
    found = measure_all(options)
    table = Table("connections", "server", "CPU us", "x limit", "messages/s")
    for many, rows in found.items():
        limit = [cpu for cpu, _ in rows["limit"]]
        for name, samples in rows.items():
            cpu = [one for one, _ in samples]
            rate = rounds.median([one for _, one in samples]) or 0
            shown = (rounds.spread(cpu), rounds.spread(rounds.ratios(cpu, limit), 3))
            table.add_row(str(many), name, *shown, f"{rate:,.0f}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
