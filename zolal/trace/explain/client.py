"""A server of those here in a process of its own, and the client that asks it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zolal.trace.explain.servers import FOLDER

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from zolal.trace.explain.servers import Server

HOST = "127.0.0.1"
START_SECONDS = 60
ANSWER_SECONDS = 20
END_SECONDS = 5
LINGER_SECONDS = 0.005  # the client's `close` is no part of what the server does for a request
REST_SECONDS = 0.02  # in which the server comes to rest
HELLO = b"hello\n"
# What would change what the servers do.
LEFT_OUT = ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "DJANGO_SETTINGS_MODULE", "ZOLAL_XRAY")
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # which end us, and so the servers


class ExplainError(Exception):
    """A server that could not be run, or does not answer as it should."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def held_back(*numbers: int) -> Iterator[None]:
    """Signals that come meanwhile come at its end."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def end(process: subprocess.Popen[bytes]) -> int:
    """Its exit code, or -signal."""
    process.terminate()
    try:
        return process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # and the workers that it has
        return process.wait()


class Running:
    """One of the servers; start() runs it, the end of `with` ends it. `module`: the application's.
    `variables`: its environment."""

    def __init__(self, server: Server, module: str, variables: dict[str, str]) -> None:
        self.server = server
        self.port = free_port()
        self.status = 0
        arguments = [str(self.port)] if server.is_echo else [module, str(self.port)]
        self.command = [sys.executable, server.path, *arguments]
        self._env = {name: value for name, value in variables.items() if name not in LEFT_OUT}
        if path := self._env.get("PYTHONPATH"):
            self._env["PYTHONPATH"] = ":".join(map(os.path.abspath, path.split(":")))
        self._log = tempfile.TemporaryFile()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process:
            self.status = end(self._process)
        self._log.close()

    def start(self) -> None:
        """Run it until it has answered once. ExplainError, OSError."""
        # Who stops us must not leave one behind that is not known here yet.
        with held_back(*STOPS):
            self._process = process = subprocess.Popen(
                self.command,
                # Where no settings of somebody's project lie.
                cwd=FOLDER,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                # Ctrl-C is ours: we end it.
                start_new_session=True,
            )
        self.pid = process.pid
        self.wait_for_start(process)

    def wait_for_start(self, process: subprocess.Popen[bytes]) -> None:
        """`process` runs the command."""
        last = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ask()
                return
            except ConnectionRefusedError:
                if (status := process.poll()) is not None:
                    raise self._fail(f"ended with status {status} before it served") from None
                if time.monotonic() > last:
                    raise self._fail(f"does not serve after {START_SECONDS} s") from None
                time.sleep(0.02)

    def _fail(self, what: str) -> ExplainError:
        self._log.seek(0)
        lines = self._log.read().decode(errors="backslashreplace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ExplainError(f"{self.server.name} {what}" + (f": {last}" if last else ""))

    def ask(self, path: str = "/", linger: float = 0) -> tuple[bytes, int]:
        """One connection, one request: the answer's body, and the nanoseconds from connect to its
        end. ConnectionRefusedError, ExplainError. `linger`: before it is closed."""
        begin = time.perf_counter_ns()
        try:
            with socket.create_connection((HOST, self.port), ANSWER_SECONDS) as client:
                if self.server.is_echo:
                    client.sendall(HELLO)
                    client.shutdown(socket.SHUT_WR)
                else:
                    words = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
                    client.sendall(words.encode())
                answer = b"".join(iter(lambda: client.recv(65536), b""))
                ns = time.perf_counter_ns() - begin
                time.sleep(linger)
        except ConnectionRefusedError:
            raise
        except OSError as error:
            raise self._fail(f"does not answer ({error})") from None
        head, _, body = answer.rpartition(b"\r\n\r\n")
        is_right = self.server.is_echo or b" 200 " in head.partition(b"\r\n")[0]
        if not is_right or (path == "/" and body != HELLO):
            raise self._fail(f"answers something else, {answer[:60]!r}")
        return body, ns

    def ask_apart(self, count: int) -> list[int]:
        """So many requests, each when the server rests: where each begins, in nanoseconds since the
        epoch, and where the last ends."""
        marks = []
        time.sleep(REST_SECONDS)
        for _ in range(count):
            marks.append(time.time_ns())
            self.ask(linger=LINGER_SECONDS)
            time.sleep(REST_SECONDS)
        return [*marks, time.time_ns()]

    def used(self) -> list[int]:
        """CPU time in nanoseconds; how often the process gave the CPU up to wait, and how often it
        was taken away."""
        if not self.server.is_echo:
            return [int(word) for word in self.ask("/usage")[0].split()]
        with open(f"/proc/{self.pid}/status") as file:
            found = dict(line.split(":", 1) for line in file)
        # clock_getcpuclockid(3): CPUCLOCK_SCHED of the process. It has one thread.
        switches = [int(found[f"{name}voluntary_ctxt_switches"]) for name in ("", "non")]
        return [time.clock_gettime_ns(~self.pid << 3 | 2), *switches]
