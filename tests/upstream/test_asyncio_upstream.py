"""CPython's test_asyncio on zolal's event loop (run_asyncio.py), and that the run would notice a
defect."""

import functools

import pytest
import suite_runs
from suite_runs import names

AT_LEAST = 850  # 3.10 has 897
run = functools.partial(suite_runs.run, "run_asyncio.py", seconds=900)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("upstream"))


@pytest.mark.timeout(1000)
def test_all_that_builds_a_loop_passes(whole):
    suite_runs.check_all_that_applies_passes(*whole, AT_LEAST)


def test_every_test_that_passed_left_calls_of_its_loop_in_the_recording(whole):
    suite_runs.check_each_left_calls(whole[1])


def test_few_are_exceptions_and_each_has_its_reason(whole):
    suite_runs.check_exceptions(whole[1], 0.02)


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
