"""The servers that are compared, each started on a core of its own and ended by its process id."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[2]
APPS = ROOT / "bench" / "apps"
BIN = ROOT / ".venv" / "bin"
PEERS = ROOT / ".venv-bench" / "bin"
LIMIT = ROOT / "build" / "plain" / "bench" / "limit"
START_SECONDS = 20
BJOERN = "import bjoern, hello; bjoern.run(hello.application, '127.0.0.1', {port})"


class Missing(Exception):
    """This candidate cannot be run here; the text says why."""


@dataclass
class Candidate:
    """`command`: its words, with {port} in them. `peer`: not ours."""

    name: str
    command: list[str]
    peer: bool = True
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    port: int = 0

    def start(self, core: int | None) -> float:
        """Start it and wait for its first answer. Returns the seconds from exec to that answer."""
        if not pathlib.Path(self.command[0]).exists():
            raise Missing(f"{self.command[0]} is not installed")
        self.port = free_port()
        words = [word.replace("{port}", str(self.port)) for word in self.command]
        if core is not None:
            words = ["taskset", "-c", str(core), *words]
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            words,
            cwd=APPS,
            env={**os.environ, "PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while time.perf_counter() - begin < START_SECONDS:
            try:
                self.ask()
            except OSError:
                if self.process.poll() is not None:
                    raise Missing(f"it ended with status {self.process.returncode}") from None
                time.sleep(0.0005)
                continue
            return time.perf_counter() - begin
        self.stop()
        raise Missing(f"no answer within {START_SECONDS} s")

    def ask(self) -> tuple[int, bytes]:
        """One request: status and body."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
            return answer.status, answer.read()

    def raw_answer(self) -> bytes:
        """All bytes of one answer over a connection that stays."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return client.recv(1 << 16)

    def cpu_seconds(self) -> float:
        """User and system time of its process tree so far."""
        assert self.process
        ticks = sum(process_ticks(pid) for pid in process_tree(self.process.pid))
        return ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        if not self.process:
            return
        tree = process_tree(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            for pid in tree:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue
            self.process.wait()
        self.process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def process_tree(pid: int) -> list[int]:
    """The process and its descendants; [] when it is gone."""
    try:
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        children = [
            int(child) for task in tasks for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [pid, *(found for child in children for found in process_tree(child))]


def process_ticks(pid: int) -> int:
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def zolal(name: str = "zolal", *options: str) -> Candidate:
    command = [str(BIN / "zolal"), "hello:application", "--bind", "127.0.0.1:{port}", *options]
    return Candidate(name, command, peer=False)


def hello_candidates(reply: pathlib.Path) -> list[Candidate]:
    """The limit program answers with the bytes in `reply`."""
    gunicorn = ["-b", "127.0.0.1:{port}", "hello:application"]
    return [
        Candidate("limit", [str(LIMIT), "{port}", str(reply)], peer=False),
        zolal(),
        zolal("zolal --no-recorder", "--no-recorder"),
        Candidate("bjoern", [str(PEERS / "python"), "-c", BJOERN]),
        Candidate("gunicorn sync", [str(PEERS / "gunicorn"), *gunicorn]),
    ]
