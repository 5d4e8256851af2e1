"""Printing a recording while it grows, by another process: so it costs the server nothing."""

from __future__ import annotations

import os
import subprocess
import sys


class Follower:
    """Prints the journeys in the recording at `path`, or `calls`: each kernel call as it happens,
    to standard output, until close() or the end of the recording's process. `program`: the path of
    what the application calls by itself, or ""."""

    def __init__(self, path: str, calls: bool = False, program: str = "") -> None:
        self.path = path
        # By its path: with -m a folder named zolal in the current one would come first.
        printer = os.path.join(os.path.dirname(__file__), "__main__.py")
        # By descriptor: a server that ends at once may have removed the file before the printer is
        # up.
        paths = [path, program] if program else [path]
        recordings = [os.open(each, os.O_RDONLY | os.O_CLOEXEC) for each in paths]
        try:
            command = [sys.executable, printer, "--follow", "--until-input"]
            command += ["--calls"] if calls else []
            command += [f"/dev/fd/{recording}" for recording in recordings]
            self._process = subprocess.Popen(
                command,
                pass_fds=recordings,
                stdin=subprocess.PIPE,
                env={**os.environ, "ZOLAL_TRACE": ""},  # the printer is nobody's program
            )
        finally:
            for recording in recordings:
                os.close(recording)

    def close(self) -> None:
        """Let it print what there is, and wait for that."""
        self._process.communicate(b"end\n")
