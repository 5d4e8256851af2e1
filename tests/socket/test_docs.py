"""docs/socket.md says what zolal shows: the example's tree, and the table made of its lines."""

import os
import pathlib
import re
import subprocess
import sys

from zolal import socket

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "socket.md").read_text()
TREE = PAGE.partition("program\n")[2].partition("```")[0]
ROWS = [line.split(" | ") for line in PAGE.splitlines() if re.match(r"\| .*\(2\)", line)]


def call_of(line):
    """The call alone, with neither ports nor descriptors."""
    call = re.sub(r"  [\d.]+ (µs|ms|s)\b.*", "", line.lstrip("├└─ "))
    call = re.sub(r":\d{4,5}\b", ":PORT", call)
    call = re.sub(r"(?<=\()\d+", "FD", call)
    return re.sub(r"(?<=^accept4\(FD, 127.0.0.1:PORT\) = )\d+|(?<=, 0\) = )\d+", "FD", call)


def told(text):
    """(call, place) of each line; Python 3.10 does not know of a function's class."""
    lines = [line for line in text.splitlines() if "─ " in line]
    places = [re.split(r"[\d.]+ (?:µs|ms|s)  ", line)[-1] for line in lines]
    return [
        (call_of(line), re.sub(r"socket\.(?=\w+ <)", "", place))
        for line, place in zip(lines, places, strict=True)
    ]


def test_the_example_gives_the_tree():
    done = subprocess.run(
        [sys.executable, "examples/sockets.py"],
        cwd=ROOT,
        env={**os.environ, "ZOLAL_XRAY": "1", "PYTHONPATH": "", "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert told(done.stdout) == told(TREE)
    assert len(told(TREE)) == 17


def test_the_table_is_made_of_the_tree():
    calls = {call for call, _ in told(TREE)}
    for *_, shown in ROWS:
        assert call_of(shown.strip(" |`").replace("\\|", "|")) in calls
    operations = {row[0].strip(" |") for row in ROWS}
    article = "socket bind connect listen accept read write close shutdown getsockopt setsockopt"
    assert set(article.split()) <= operations


def test_the_methods_are_there():
    for row in ROWS:
        for name in re.findall(r"`(?:socket\.)?(\w+)\(", row[2]):
            assert hasattr(socket, name) or hasattr(socket.socket, name)
