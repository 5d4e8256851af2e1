"""examples/hello.c: the core serves HTTP without Python."""

import os
import pathlib
import re
import signal
import subprocess

import pytest
from http_client import Client

ROOT = pathlib.Path(__file__).parents[2]
HELLO = pathlib.Path(os.environ.get("ZOLAL_BUILD") or ROOT / "build/plain") / "examples/hello"


@pytest.fixture
def hello():
    process = subprocess.Popen([HELLO, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    try:
        yield process, int(re.search(r":(\d+)$", process.stdout.readline()).group(1))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_answers_and_ends(hello):
    process, port = hello
    with Client(("127.0.0.1", port)) as client:
        for _ in range(3):
            answer = client.get("/")
            assert (answer.status, answer.body) == (200, b"Hello, world\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_its_errors_are_one_line():
    done = subprocess.run([HELLO, "127.0.0.1"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 3
    assert re.fullmatch(r"hello: address 127\.0\.0\.1 has no port: .*\n", done.stderr)
