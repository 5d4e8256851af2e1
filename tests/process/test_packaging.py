"""What a user gets: a wheel by a plain pip, installed where the checkout is not, that serves."""

import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
VERSION = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello from a wheel"]
"""


def clean_environment():
    """Nothing that could lead Python, pip or the linker back to the checkout or to this test."""
    dropped = (
        "PYTHON",
        "VIRTUAL_ENV",
        "LD_PRELOAD",
        "ASAN_",
        "UBSAN_",
        "LSAN_",
        "MESON",
        "PIP_NO_",
    )
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def run(*command, cwd, timeout=300):
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder outside the checkout, with an empty environment in `env`."""
    place = tmp_path_factory.mktemp("place")
    run(sys.executable, "-m", "venv", place / "env", cwd=place)
    return place


@pytest.fixture(scope="module")
def wheel(place):
    """Built in isolation, as `pip install .` does it: with a compiler and the headers, no more."""
    pip = place / "env/bin/pip"
    run(pip, "wheel", "--no-deps", "--wheel-dir", place / "dist", ROOT, cwd=place, timeout=600)
    (wheel,) = (place / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def bin_folder(place, wheel):
    """bin/ of the environment with the wheel and what it depends on."""
    run(place / "env/bin/pip", "install", wheel, cwd=place, timeout=600)
    return place / "env/bin"


@pytest.mark.timeout(900)
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = {name for name in names if name.startswith("zolal/")}
    inside = {
        name for name in package if name.endswith((".py", ".pyi", ".typed", ".html", ".css", ".so"))
    }
    assert package - inside == set()
    assert any(re.fullmatch(r"zolal/_zolal\.cpython-3\d+-.*\.so", name) for name in package)
    assert "zolal/py.typed" in package
    outside = {name.split("/")[0] for name in names} - {"zolal"}
    assert outside == {f"zolal-{VERSION}.dist-info"}


def test_the_wheel_holds_every_file_of_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "zolal").rglob("*")
        if path.is_file() and path.name != "meson.build" and path.suffix not in (".pyc", ".so")
    ]
    assert [name for name in missing if name not in names] == [], "zolal/meson.build lists them"


@pytest.mark.timeout(900)
def test_the_command_tells_the_version(bin_folder, place):
    assert VERSION in run(bin_folder / "zolal", "--version", cwd=place)


def test_nothing_comes_from_the_checkout(bin_folder, place):
    program = "import sys, zolal, zolal._zolal, zolal.cli\nfor m in list(sys.modules.values()):\n"
    program += "    print(getattr(m, '__file__', None) or '')"
    files = [
        pathlib.Path(line) for line in run(bin_folder / "python", "-c", program, cwd=place).split()
    ]
    assert any(place in file.parents for file in files)
    assert [str(file) for file in files if ROOT in file.parents] == []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, server, log):
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.read()
        except urllib.error.URLError:
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)


def test_it_serves(bin_folder, place):
    (place / "hello.py").write_text(HELLO)
    port, log = free_port(), place / "log"
    command = [bin_folder / "zolal", "hello:application", "--bind", f"127.0.0.1:{port}"]
    with open(log, "wb") as output:
        server = subprocess.Popen(
            command, cwd=place, env=clean_environment(), stdout=output, stderr=output
        )
    try:
        assert get(f"http://127.0.0.1:{port}/", server, log) == b"hello from a wheel"
        server.terminate()
        assert server.wait(30) == 0, log.read_text()
    finally:
        server.kill()
        server.wait()


def test_it_traces(bin_folder, place):
    """With the library, the views and the page that lie in the wheel."""
    command = [bin_folder / "zolal", "trace", "--"]
    assert ", exit code 0" in run(*command, bin_folder / "python", "-c", "", cwd=place)
    (place / "talk.py").write_text("import socket\na, b = socket.socketpair()\na.send(b'hello')\n")
    command[2:2] = ["--as", "tree", "--report", "page.html"]
    said = run(*command, bin_folder / "python", "talk.py", cwd=place)
    assert "<module>  talk.py:3" in said and "sendto(3, 5) = 5" in said
    assert "<style>" in (place / "page.html").read_text()
