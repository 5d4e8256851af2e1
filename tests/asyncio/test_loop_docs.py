"""docs/event-loop.md says what zolal shows: two tasks of the example."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "event-loop.md").read_text()
STORIES = PAGE.partition("examples/event_loop.py\n")[2].partition("```")[0]


def told(text):
    """The stories by their titles: lines without times, ports and descriptors."""
    text = re.sub(r" ?[\d.]+ (µs|ms|s)\b", "", text)
    text = re.sub(r"(?<=127\.0\.0\.1:)\d+", "PORT", text)
    text = re.sub(r"(?<=[(\[])\d+|(?<=_ADD, )\d+|(?<=PORT\) = )\d+", "FD", text)
    text = re.sub(r"socket\.(?=_?\w+( <|\n))", "", text)  # Python 3.10 does not know the class
    return {story.partition("\n")[0]: story for story in text.strip().split("\n\n")}


def test_the_example_tells_the_stories():
    done = subprocess.run(
        [sys.executable, "examples/event_loop.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "", "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    stories = told(STORIES)
    assert len(stories) == 2 and stories.items() <= told(done.stdout).items()


def test_what_it_says_of_the_loop_is_there():
    import zolal

    for name in re.findall(r"\bzolal\.(\w+)\(", PAGE):
        assert hasattr(zolal, name) or name == "EventLoopPolicy"
