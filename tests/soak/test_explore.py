"""Every interleaving of server/lead.c, with up to four requests (tests/explore): some minutes, some
gigabytes."""

import pathlib
import subprocess

import pytest

EXPLORER = pathlib.Path(__file__).parents[2] / "build/plain/tests/explore/explore_lead"


@pytest.mark.soak
def test_explore(capsys):
    with capsys.disabled():
        print()
        subprocess.run([EXPLORER, "all"], check=True)
