"""CPython's test_socket on zolal.socket (run_socket.py), and that the run would notice a defect."""

import json
import pathlib
import subprocess
import sys

import pytest

RUNNER = pathlib.Path(__file__).with_name("run_socket.py")
NO_TEST_PACKAGE = 77


def run(folder, *arguments):
    """(exit status, what it found)."""
    found = folder / "found.json"
    done = subprocess.run(
        [sys.executable, RUNNER, "--json", found, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode == NO_TEST_PACKAGE:
        pytest.skip(done.stdout.strip())
    assert found.exists(), done.stdout[-2000:] + done.stderr[-4000:]
    return done, json.loads(found.read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("upstream"))


def names(found, *outcomes):
    return [name for name, (outcome, _) in found["outcomes"].items() if outcome in outcomes]


@pytest.mark.timeout(400)
def test_all_that_applies_passes(whole):
    done, found = whole
    assert names(found, "failed") == [], done.stdout
    assert done.returncode == 0
    assert len(names(found, "passed")) > 450


def test_every_test_that_passed_left_calls_in_the_recording(whole):
    _, found = whole
    assert [name for name in names(found, "passed") if not found["calls"][name]] == []


def test_few_are_exceptions_and_each_has_its_reason(whole):
    _, found = whole
    expected = names(found, "expected")
    assert len(expected) <= 0.05 * len(names(found, "passed", "expected"))
    for name in [*expected, *names(found, "uncounted")]:
        assert found["outcomes"][name][1]
    assert all(found["apart"].values())


@pytest.mark.parametrize("suite", ["BasicTCPTest", "FileObjectClassTestCase", "BasicUDPTest"])
def test_a_lost_byte_turns_it_red(tmp_path, suite):
    done, found = run(tmp_path, "--defect", suite)
    assert done.returncode == 1
    assert names(found, "failed")


def test_with_the_standard_library_nothing_passes(tmp_path):
    done, found = run(tmp_path, "--standard", "BasicTCPTest")
    assert names(found, "passed") == []
    assert len(names(found, "failed")) >= 9
    assert done.returncode == 1
