"""What the preloaded library and `zolal trace --exact` say of one run, in the same words."""

import json
import os
import subprocess
import sys

from by_strace import lines_of, of_recording, without_glibc
from running import PATIENCE

from zolal.trace import run
from zolal.trace.store import Folder


class Both:
    """A program that has the library in it, under `--exact`."""

    def __init__(self, command, tmp_path, library=None):
        self.tmp_path = tmp_path
        self.folder = Folder(command, 1 << 30)
        self.kept = tmp_path / "exact.trace"
        self.log = tmp_path / "log"
        traced = run.environment(self.folder, 1 << 28)
        traced["LD_PRELOAD"] = str(library or run.library())
        variables = [f"{name}={traced[name]}" for name in ("LD_PRELOAD", "ZOLAL_TRACE")]
        words = [sys.executable, "-m", "zolal", "trace", "--exact", "-o", self.kept, "--"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*map(str, words), "env", *variables, *command],
                cwd=tmp_path,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def end(self, number):
        """By a signal. wsgiref's handlers catch KeyboardInterrupt: then another one."""
        for _ in range(int(PATIENCE)):
            os.killpg(self.process.pid, number)
            try:
                return self.process.wait(1)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"it does not end: {self.log.read_text()}")

    def wait(self):
        return self.process.wait(PATIENCE * 3)

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait(PATIENCE)
        self.folder.remove()

    def both(self):
        """By --exact and by the library, thread by thread."""
        self.folder.end(0)
        words = [sys.executable, "-m", "zolal", "xray", str(self.kept), "--as", "jsonl"]
        done = subprocess.run(words, capture_output=True, cwd=self.tmp_path, check=True)
        exact = of_recording([json.loads(line) for line in done.stdout.splitlines()])
        exact = {tid: without_glibc(calls) for tid, calls in exact.items()}
        library = of_recording(lines_of(self.folder, self.tmp_path))
        return {tid: calls for tid, calls in exact.items() if calls}, library
