#!/usr/bin/env python
"""What an application takes by itself, called in a loop without any server: what no server can be
below."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import pathlib
import sys
import tempfile
import time
from wsgiref.util import setup_testing_defaults

from measuring import rounds
from measuring.candidates import APPS
from measuring.running import django_database
from measuring.workloads import WORKLOADS, Workload

EXAMPLES = """\
examples:
  ./dev bench application                    Flask and Django, as ./dev bench peers serves them
  ./dev bench application django --rounds 20

CPU us: user and system time of a call, its answer read to the end and closed; median (least..most)
of the rounds.
"""


def environ_of(workload: Workload) -> dict:
    target = workload.asks[0].request.split(b" ")[1].decode()
    environ = {"PATH_INFO": target, "HTTP_HOST": "127.0.0.1", "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environ)
    return environ


def call(application, environ: dict) -> bytes:
    answer = application(environ, lambda status, headers, exc_info=None: None)
    try:
        return b"".join(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()


def measure(workload: Workload, count: int, seconds: float) -> list[float]:
    module, _, attribute = workload.app.partition(":")
    application = getattr(importlib.import_module(module), attribute)
    environ = environ_of(workload)
    if call(application, environ.copy()) != workload.asks[0].body:
        sys.exit(f"{workload.app} gives another body than it should")
    found = []
    for _ in range(count):
        begin, end, calls = time.process_time(), time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            for _ in range(20):
                call(application, environ.copy())
            calls += 20
        found.append((time.process_time() - begin) * 1e6 / calls)
    return found


def main() -> None:
    names = ["flask", "django"]
    parser = argparse.ArgumentParser(
        prog="./dev bench application",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", metavar="WORKLOAD", nargs="*", help="(default: both)")
    parser.add_argument("--rounds", type=int, default=10, help="(default 10)")
    parser.add_argument("--seconds", type=float, default=0.5, help="in each (default 0.5)")
    options = parser.parse_args()
    if unknown := set(options.workloads) - set(names):
        parser.error(f"there is no {unknown.pop()}; there are: {' '.join(names)}")
    core, _ = rounds.cores()
    if core is not None:
        os.sched_setaffinity(0, {core})
    sys.path.insert(0, str(APPS))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.environ |= django_database(pathlib.Path(folder))
        for workload in WORKLOADS:
            if workload.name in (options.workloads or names):
                found = measure(workload, options.rounds, options.seconds)
                print(f"{workload.title}: {rounds.spread(found, 1)} us of CPU a call")


if __name__ == "__main__":
    main()
