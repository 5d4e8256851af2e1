"""The interpreters that can be had here."""

import glob
import os
import subprocess
import sys

SUPPORTED = range(10, 15)


def _candidates():
    yield sys.executable
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    for minor in SUPPORTED:
        yield f"/usr/bin/python3.{minor}"
        yield from sorted(glob.glob(f"{root}/versions/3.{minor}.*/bin/python3.{minor}"))


def pythons():
    """One of each minor version, ours first: "3.11" -> its path."""
    found = {}
    for path in _candidates():
        if os.path.exists(path):
            code = "import sys; print('%d.%d' % sys.version_info[:2])"
            done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found.setdefault(done.stdout.strip(), path)
    return found


PYTHONS = pythons()
