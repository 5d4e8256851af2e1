"""CPython's tests of wsgiref, socketserver and http.server, with zolal in place of these."""

import collections
import json
import os
import pathlib
import subprocess
import sys

import pytest

RUNNER = pathlib.Path(__file__).with_name("run_wsgiref.py")
AT_LEAST = {"test_wsgiref": 20, "test_socketserver": 25, "test_httpservers": 50}
"""Tests that pass, so that a package without tests is no success."""

pytest.importorskip("test.test_wsgiref", reason="this interpreter has no package of its tests")


def run(tmp_path, *arguments):
    """(exit status, outcome -> how many)."""
    found = tmp_path / "found.json"
    command = [sys.executable, str(RUNNER), "--json", str(found), *arguments]
    # In a folder of its own: the tests make files, and zolal is what is installed.
    process = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True
    )
    assert found.exists(), process.stderr.decode(errors="replace")
    print(process.stdout.decode(), process.stderr.decode(errors="replace"))
    outcomes = json.loads(found.read_text())["outcomes"].values()
    return process.returncode, collections.Counter(outcome for outcome, _ in outcomes)


@pytest.mark.parametrize("suite", AT_LEAST)
def test_suite(suite, tmp_path):
    status, counts = run(tmp_path, suite)
    assert status == 0
    assert counts["passed"] >= AT_LEAST[suite]
    assert counts["expected"] <= 0.05 * (counts["passed"] + counts["expected"])


@pytest.mark.parametrize("suite", AT_LEAST)
def test_dropped_byte_is_seen(suite, tmp_path):
    status, counts = run(tmp_path, "--seed-defect", suite)
    assert status == 1 and counts["failed"] > 0
