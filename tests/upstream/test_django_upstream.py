"""Django's own tests of what serves, on zolal (run_django.py), and that the run would notice a
defect. One version of Python takes some of the versions of Django; the others are skipped."""

import functools
import shutil

import pytest
import suite_runs
from suite_runs import names

pytest.importorskip("django")

run = functools.partial(suite_runs.run, "run_django.py")


def check(done, found, at_least):
    suite_runs.check_all_that_applies_passes(done, found, at_least)
    suite_runs.check_each_left_calls(found)
    suite_runs.check_exceptions(found, 0.05)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("version", ["4.2", "5.2", "newest"])
def test_all_that_applies_passes(tmp_path, version):
    check(*run(tmp_path, version), at_least=38)


@pytest.mark.soak
@pytest.mark.parametrize("version", ["4.2", "5.2", "newest"])
def test_with_a_browser(tmp_path, version):
    """The admin, clicked through."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromium-driver")
    pytest.importorskip("selenium")
    check(*run(tmp_path, "--browser", version, seconds=1500), at_least=100)


@pytest.mark.timeout(400)
def test_a_lost_byte_turns_it_red(tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("no gcc to make the defect with")
    done, found = run(tmp_path, "--defect", "5.2", "servers.tests.LiveServerDatabase")
    assert done.returncode == 1
    assert names(found, "failed")


@pytest.mark.timeout(400)
def test_with_djangos_classes_nothing_passes(tmp_path):
    """So a test that passes has been served by zolal."""
    done, found = run(
        tmp_path, "--standard", "5.2", "servers", "admin_scripts.tests.ManageRunserver"
    )
    assert names(found, "passed") == []
    assert len(names(found, "failed")) >= 30
    assert done.returncode == 1
