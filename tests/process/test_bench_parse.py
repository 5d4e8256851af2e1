"""`./dev bench parse` shows what it should; what it measures is nobody's to say here."""

import json
import pathlib
import subprocess
import sys

import pytest

BENCH = pathlib.Path(__file__).parents[2] / "bench/parse.py"
ROWS = ["wrk's head", "a browser's head", "the same in two segments", "chunks of 16 KB, copied"]
ROWS += ["chunks of 16 KB, only found", "chunks of one byte"]


def bench(tmp_path, *arguments):
    """What it prints, and what it writes with --json."""
    file = tmp_path / "parse.json"
    command = [sys.executable, BENCH, "--rounds", "1", "--json", file, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    for row in ROWS:
        assert row in done.stdout
    return done.stdout, json.loads(file.read_text())


def test_beside_llhttp(tmp_path):
    output, found = bench(tmp_path)
    if not found["llhttp"]:
        assert "left out: llhttp: pip" in output
        pytest.skip("PyPI is out of reach")
    assert "x llhttp" in output and f"{found['llhttp']}, every lenient flag off" in output
    assert len(found["ratios"]) == len(found["ns"]) == len(ROWS)
    assert all(ratio > 0 for ratio in found["ratios"].values())


def test_alone(tmp_path):
    output, found = bench(tmp_path, "--without-llhttp")
    assert "left out: llhttp: --without-llhttp" in output and "x llhttp" not in output
    assert found["llhttp"] is None and found["ratios"] == {}
    assert all(len(took) == 1 and took[0][0] > 0 for took in found["ns"].values())
