"""`./dev bench ablation`: that its edits still fit the sources, and that what is built of them is
what runs. What it measures is not looked at."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from measuring import candidates, variants, workloads  # noqa: E402
from measuring.ablations import ABLATION_WORKLOADS, ABLATIONS  # noqa: E402

SOURCES = variants.sources()


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda one: one.name)
def test_each_edit_fits_once(ablation):
    variants.edited(SOURCES, variants.all_edits(ablation))
    assert ablation.edits or ablation.options
    known = [one.name for one in ABLATION_WORKLOADS]
    assert all(name in known for name in ablation.workloads.split())
    if ablation.code:
        assert variants.code_lines(ablation, SOURCES) > ablation.loose


@pytest.mark.parametrize("text", [b"", b"here here"])
def test_an_edit_that_does_not_fit(text):
    with pytest.raises(candidates.Missing, match="times, not once"):
        variants.edited({"src/x.c": text}, (("x.c", "here", "there"),))


def test_names_are_told_apart():
    names = [one.name for one in ABLATIONS]
    assert len(set(names)) == len(names) and not any("," in name for name in names)


# What is built is built in a test's time, and slowly where the machine has other work.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def built():
    """Compiling everything takes half a minute; the next one compiles a file."""
    return variants.of(variants.named("known field blocks"))


def test_one_round(built, tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, str(ROOT / "bench" / "ablation.py"), "hello", "--rounds", "1"]
    command += ["--seconds", "0.2", "--only", "known field blocks", "--json", str(found)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = json.loads(found.read_text())["workloads"]["hello"]["rows"]
    names = [row["name"] for row in rows]
    assert names == ["shipped", "shipped, once more", "without known field blocks"]
    for row in rows:
        assert row["wrong"] == "" and row["fast"][0]["wrong"] == ""
        assert row["fast"][0]["answers"] > 0 and row["fast"][0]["cpu_us"] > 0
    assert names[2] in run.stdout


def test_what_was_built_is_what_runs(built):
    try:
        built.start(None, workloads.HELLOS[0].request)
        maps = pathlib.Path(f"/proc/{built.process.pid}/maps").read_text()
        assert f"{variants.FOLDER}/known-field-blocks/zolal/_zolal." in maps
        assert "site-packages/zolal/" not in maps
    finally:
        built.stop()
