#!/usr/bin/env python
"""What reading a request costs, beside llhttp: nanoseconds a head or a chunk, and their ratios.

    ./dev bench parse [--rounds 20] [--json FILE] [--without-llhttp]

llhttp is the C parser within httptools, whose sources pip fetches into a temporary folder. Both are
built there by the same compiler, with the optimisation of the installed package, and do the same:
strict rules, every slice kept (bench/parse.c). A round measures one right after the other.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tarfile
import tempfile

from measuring.rounds import spread
from rich.console import Console
from rich.table import Table

ROOT = pathlib.Path(__file__).parents[1]

# What `pip install` builds the package with: meson's buildtype=release, and b_ndebug=if-release.
FLAGS = "-std=gnu11 -O3 -DNDEBUG -D_GNU_SOURCE -fPIC -fvisibility=hidden -fno-strict-aliasing"

# The names in bench/parse.c, in words.
WORKLOADS = {
    "wrk": "wrk's head, 1 field",
    "browser": "a browser's head, 16 fields",
    "browser-cut": "the same in two segments",
    "chunks": "chunks of 16 KB, copied out",
    "chunks-found": "chunks of 16 KB, only found",
    "one-byte-chunks": "chunks of one byte, copied out",
}

DIFFERENCES = """\
llhttp leaves unchecked what zolal checks here: Host (there, once, valid), the target's form and
most of its bytes, codings other than chunked, chunked in HTTP/1.0, Expect, the sizes of lines,
head, chunk extensions and trailers. zolal leaves unchecked what llhttp does: whether a method is
known.
Copying chunks is memcpy() on both sides; "only found" is the parsers alone."""

# samples[workload][round]: nanoseconds of zolal and, if it is there, of llhttp.
Samples = dict[str, list[list[float]]]


class Missing(Exception):
    """llhttp cannot be had, and why."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench parse",
        description=__doc__.split("\n")[0],
        epilog="example: ./dev bench parse --rounds 50 --json /tmp/parse.json",
    )
    parser.add_argument("--rounds", type=int, default=20, help="rounds (default 20)")
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    parser.add_argument("--without-llhttp", action="store_true", help="zolal's parser alone")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    return options


def fetch_llhttp(folder: pathlib.Path) -> str:
    """Put llhttp's sources into `folder`. Returns what it is."""
    pip = f"{sys.executable} -m pip --disable-pip-version-check download --quiet --timeout 20"
    command = [*shlex.split(pip), "--no-deps", "--no-binary", "httptools", "httptools"]
    try:
        done = subprocess.run([*command, "-d", folder], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise Missing("pip took too long") from None
    archives = list(folder.glob("httptools-*.tar.gz"))
    if not archives:
        lines = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
        raise Missing(f"pip: {lines[-1] if lines else f'status {done.returncode}'}")
    with tarfile.open(archives[0]) as archive:
        for member in archive:
            path = pathlib.PurePath(member.name)
            if "llhttp" in path.parts and path.suffix in (".c", ".h"):
                (folder / path.name).write_bytes(archive.extractfile(member).read())
    if not (folder / "llhttp.h").exists():
        raise Missing(f"{archives[0].name} holds no llhttp.h")
    header = (folder / "llhttp.h").read_text()
    version = ".".join(re.findall(r"LLHTTP_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header))
    return f"llhttp {version} of {archives[0].name.removesuffix('.tar.gz')}"


def compiler() -> list[str]:
    """The one that meson builds the C library with."""
    found = json.loads((ROOT / "build/plain/meson-info/intro-compilers.json").read_text())
    return found["host"]["c"]["exelist"]


def build(folder: pathlib.Path, llhttp: bool) -> pathlib.Path:
    sources = [ROOT / "bench/parse.c", ROOT / "bench/parse_zolal.c"]
    sources += (ROOT / "src/http").glob("*.c")
    sources += (ROOT / "src/base").glob("*.c")
    if llhttp:
        sources += [ROOT / "bench/parse_llhttp.c", *folder.glob("*.c")]
    command = [*compiler(), *FLAGS.split(), *(["-DLLHTTP"] if llhttp else [])]
    command += ["-I", ROOT / "src", "-I", ROOT / "bench", "-I", folder]
    subprocess.run([*command, "-o", folder / "parse", *sources], check=True)
    return folder / "parse"


def measure(program: pathlib.Path, rounds: int) -> tuple[Samples, dict[str, int]]:
    """The samples, and the bytes in a chunk, 0 for a head."""
    done = subprocess.run([program, str(rounds)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("a parser is wrong: nothing was measured")
    samples: Samples = {}
    sizes = {}
    for line in done.stdout.splitlines():
        name, size, *took = line.split()
        samples.setdefault(name, []).append([float(value) for value in took])
        sizes[name] = int(size)
    return samples, sizes


def table(samples: Samples, sizes: dict[str, int], llhttp: bool) -> Table:
    shown = Table(title="reading a request: best of the rounds; median (least to most) of ratios")
    parsers = ("zolal", "llhttp") if llhttp else ("zolal",)
    shown.add_column("", no_wrap=True)
    for unit in ("ns", "GB/s"):
        for parser in parsers:
            shown.add_column(f"{parser} {unit}", justify="right", no_wrap=True)
    if llhttp:
        shown.add_column("x llhttp", justify="right", no_wrap=True)
    for name, took in samples.items():
        best = [min(sample) for sample in zip(*took, strict=True)]
        row = [f"{value:.1f}" for value in best]
        # Found without being touched, or a byte alone: a rate of bytes says nothing.
        rated = name == "chunks"
        row += [f"{sizes[name] / value:.1f}" if rated else "" for value in best]
        if llhttp:
            row.append(spread([ours / theirs for ours, theirs in took]))
        shown.add_row(WORKLOADS[name], *row)
    return shown


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        folder = pathlib.Path(place)
        llhttp = note = ""
        try:
            if options.without_llhttp:
                raise Missing("--without-llhttp")
            llhttp = fetch_llhttp(folder)
        except Missing as reason:
            note = f"left out: llhttp: {reason}"
        program = build(folder, bool(llhttp))
        samples, sizes = measure(program, options.rounds)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table(samples, sizes, bool(llhttp)))
    print(f"{shlex.join(compiler())} {FLAGS}; rounds: {options.rounds}")
    print(f"{llhttp}, every lenient flag off\n{DIFFERENCES}" if llhttp else note)
    if options.json:
        medians = {
            name: statistics.median(ours / theirs for ours, theirs in took)
            for name, took in samples.items()
            if llhttp
        }
        found = {"llhttp": llhttp or None, "ns": samples, "ratios": medians}
        pathlib.Path(options.json).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
