"""The core's threads without Python, under many clients: tests/race, half of `--minutes` in all."""

import pathlib
import random
import subprocess

import pytest

BUILD = pathlib.Path(__file__).parents[2] / "build"


@pytest.mark.soak
@pytest.mark.parametrize("build", ["plain", "tsan"])
def test_race(build, request, capsys):
    seconds = int(request.config.getoption("--minutes") * 15) + 1
    seed = random.randrange(1_000_000)
    with capsys.disabled():
        # -R: TSan's memory has fixed places.
        subprocess.run(
            ["setarch", "-R", BUILD / build / "tests/race/race"]
            + ["--seconds", str(seconds), "--seed", str(seed)],
            check=True,
        )
