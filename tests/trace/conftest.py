"""Programs that are run under zolal trace."""

import json
import os
import subprocess
import sys

import pytest
import tracing
from running import PATIENCE

WAYS = {"library": [], "exact": ["--exact"]}
"""How a program may be traced."""


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """The options for it, which tracing.trace uses."""
    options = WAYS[request.param]
    monkeypatch.setattr(tracing, "WAY", options)
    return options


class Traced:
    """A program that has run. `calls`: the lines of --as jsonl."""

    def __init__(self, done, file, env):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.file, self._env = file, env

    def view(self, name):
        done = subprocess.run(
            [sys.executable, "-m", "zolal", "xray", str(self.file), "--as", name],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            cwd=self.file.parent,
            env=self._env,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def calls(self):
        return [json.loads(line) for line in self.view("jsonl").splitlines()]


@pytest.fixture
def trace_command(tmp_path):
    """trace_command(*arguments, env={}): run `zolal trace` with these, to its end."""

    def trace_command(*arguments, env=None):
        return subprocess.run(
            [sys.executable, "-m", "zolal", "trace", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
        )

    return trace_command


@pytest.fixture
def traced(trace_command, tmp_path):
    """traced(text or command, env={}): run a Python program, or a command; keep the recording."""

    def traced(program, *options, env=None):
        file = tmp_path / "run.trace"
        command = program
        if isinstance(program, str):
            (tmp_path / "program.py").write_text(program)
            command = [sys.executable, "program.py"]
        done = trace_command("-o", file, *options, "--", *command, env=env)
        return Traced(done, file, {**os.environ, **(env or {})})

    return traced
