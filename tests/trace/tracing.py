"""Programs with and without `zolal trace`."""

import collections
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import pytest

from zolal.trace.load import load

BUILD = pathlib.Path(
    os.environ.get("ZOLAL_BUILD") or pathlib.Path(__file__).parents[2] / "build/plain"
)
ZOLAL = [sys.executable, "-m", "zolal"]
PLAIN = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
PATIENCE = 100
WAY: list[str] = []
"""How programs are traced: what stands behind `zolal trace`."""


def hard(word, program="hard"):
    path = BUILD / "tests/trace" / program
    if not path.exists():
        pytest.skip(f"{path} is not built (ZOLAL_BUILD names another build folder)")
    return [str(path), word]


class Ended(NamedTuple):
    """How a program has ended, and what it said."""

    status: int
    out: bytes
    err: bytes


def run(command, cwd, env=None, **options):
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        cwd=cwd,
        env={**PLAIN, **(env or {})},
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
        check=False,
        **options,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def trace(command, cwd, *options, **how):
    """Its end under `zolal trace`, and the calls of its recording, by their beginning."""
    kept = cwd / "kept.trace"
    ended = run([*ZOLAL, "trace", *WAY, "-o", kept, *options, "--", *command], cwd, **how)
    return ended, load(str(kept)).calls if kept.exists() else []


def counted(calls):
    """How often each call was made."""
    return collections.Counter(call.name for call in calls)


def same(command, cwd, **how):
    """The calls of a program: it has ended, and said, the same as without."""
    plain = run(command, cwd, **how)
    ended, calls = trace(command, cwd, **how)
    assert ended == plain, f"{ended} but {plain}"
    return calls
