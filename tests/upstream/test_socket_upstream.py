"""CPython's test_socket on zolal.socket (run_socket.py), and that the run would notice a defect."""

import functools

import pytest
import suite_runs
from suite_runs import names

run = functools.partial(suite_runs.run, "run_socket.py")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("upstream"))


@pytest.mark.timeout(400)
def test_all_that_applies_passes(whole):
    suite_runs.check_all_that_applies_passes(*whole, at_least=450)


def test_every_test_that_passed_left_calls_in_the_recording(whole):
    suite_runs.check_each_left_calls(whole[1])


def test_few_are_exceptions_and_each_has_its_reason(whole):
    suite_runs.check_exceptions(whole[1], 0.05)


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
