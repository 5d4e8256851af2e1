"""What the tests of the upstream suites have in common: a run by one of the runners here, and what
is asked of each."""

import json
import pathlib
import subprocess
import sys

import pytest

CANNOT_BE_HAD = 77


def run(runner, folder, *arguments, seconds=300):
    """(what became of the process, what it found)."""
    found = folder / "found.json"
    done = subprocess.run(
        [sys.executable, pathlib.Path(__file__).with_name(runner), "--json", found, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    if done.returncode == CANNOT_BE_HAD:
        pytest.skip(done.stdout.strip())
    assert found.exists(), done.stdout[-2000:] + done.stderr[-4000:]
    return done, json.loads(found.read_text())


def names(found, *outcomes):
    return [name for name, (outcome, _) in found["outcomes"].items() if outcome in outcomes]


def check_all_that_applies_passes(done, found, at_least):
    """`at_least`: so many, so that a suite without tests is no success."""
    assert names(found, "failed") == [], done.stdout
    assert done.returncode == 0
    assert len(names(found, "passed")) >= at_least


def check_each_left_calls(found):
    assert [name for name in names(found, "passed") if not found["calls"][name]] == []


def check_exceptions(found, most):
    """They are few (`most`: of those that count), and each has its reason."""
    expected = names(found, "expected")
    assert len(expected) <= most * len(names(found, "passed", "expected"))
    for name in [*expected, *names(found, "uncounted")]:
        assert found["outcomes"][name][1]
    assert all(found["apart"].values())
