"""CPython's test_asyncio on zolal's event loop (run_asyncio.py), and that the run would notice a
defect."""

import json
import pathlib
import subprocess
import sys

import pytest

import zolal

RUNNER = pathlib.Path(__file__).with_name("run_asyncio.py")
NO_TEST_PACKAGE = 77
AT_LEAST = 850
"""Tests that pass (3.10 has 897 of them), so that a package without tests is no success."""

pytestmark = pytest.mark.skipif(
    not hasattr(zolal, "EventLoop"), reason="this zolal has no event loop"
)


def run(folder, *arguments):
    """(what became of the process, what it found)."""
    found = folder / "found.json"
    done = subprocess.run(
        [sys.executable, RUNNER, "--json", found, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode == NO_TEST_PACKAGE:
        pytest.skip(done.stdout.strip())
    assert found.exists(), done.stdout[-2000:] + done.stderr[-4000:]
    return done, json.loads(found.read_text())


def names(found, *outcomes):
    return [name for name, (outcome, _) in found["outcomes"].items() if outcome in outcomes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("upstream"))


@pytest.mark.timeout(1000)
def test_all_that_builds_a_loop_passes(whole):
    done, found = whole
    assert names(found, "failed") == [], done.stdout
    assert done.returncode == 0
    assert len(names(found, "passed")) >= AT_LEAST


def test_every_test_that_passed_left_calls_of_its_loop_in_the_recording(whole):
    _, found = whole
    assert [name for name in names(found, "passed") if not found["calls"][name]] == []


def test_few_are_exceptions_and_each_has_its_reason(whole):
    _, found = whole
    expected = names(found, "expected")
    assert len(expected) <= 0.02 * len(names(found, "passed", "expected"))
    for name in [*expected, *names(found, "uncounted")]:
        assert found["outcomes"][name][1]
    assert all(found["apart"].values())


@pytest.mark.parametrize(
    "defect, test",
    [
        ("byte", "test_sock_lowlevel.EPollEventLoopTests.test_huge_content"),
        ("byte", "test_streams.StreamTests.test_open_connection"),
        ("callback", "test_streams.StreamTests.test_start_server"),
    ],
)
def test_a_defect_turns_it_red(whole, tmp_path, defect, test):
    assert whole[1]["outcomes"][f"test.test_asyncio.{test}"][0] == "passed"
    done, found = run(tmp_path, "--defect", defect, "--hangs-after", "3", test)
    assert done.returncode == 1
    assert len(names(found, "failed")) == len(found["outcomes"]) == 1


@pytest.mark.parametrize("suite", ["test_sock_lowlevel.EPollEventLoopTests", "test_streams"])
def test_with_asyncios_own_loop_nothing_passes(tmp_path, suite):
    done, found = run(tmp_path, "--standard", suite)
    assert names(found, "passed") == []
    assert len(names(found, "failed")) >= 5
    assert done.returncode == 1
