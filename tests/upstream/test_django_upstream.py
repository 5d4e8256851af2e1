"""Django's own tests of what serves, on zolal (run_django.py), and that the run would notice a
defect. One version of Python takes some of the versions of Django; the others are skipped."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("django")

RUNNER = pathlib.Path(__file__).with_name("run_django.py")
CANNOT_BE_HAD = 77


def run(folder, *arguments, seconds=300):
    found = folder / "found.json"
    done = subprocess.run(
        [sys.executable, RUNNER, "--json", found, *arguments],
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


def check(done, found, at_least):
    assert names(found, "failed") == [], done.stdout
    assert done.returncode == 0
    assert len(names(found, "passed")) >= at_least
    for name in names(found, "passed"):
        assert found["calls"][name], name
    assert all(found["apart"].values())
    assert all(found["outcomes"][name][1] for name in names(found, "expected"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("version", ["4.2", "5.2", "newest"])
def test_all_that_applies_passes(tmp_path, version):
    check(*run(tmp_path, version), at_least=38)


@pytest.mark.soak
@pytest.mark.parametrize("version", ["4.2", "5.2", "newest"])
def test_with_a_browser(tmp_path, version):
    """The admin, clicked through. Few of all tests are exceptions."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no chromium and chromium-driver")
    pytest.importorskip("selenium")
    done, found = run(tmp_path, "--browser", version, seconds=1500)
    check(done, found, at_least=100)
    expected = names(found, "expected")
    assert len(expected) <= 0.05 * len(names(found, "passed", "expected"))


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
