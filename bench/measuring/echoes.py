"""Echo servers, one a loop, and their client, bench/echo_load."""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
from dataclasses import dataclass, field

from measuring.candidates import APPS, ROOT, START_SECONDS, Candidate, Missing

LIMIT = ROOT / "build" / "plain" / "bench" / "echo_limit"
LOAD = ROOT / "build" / "plain" / "bench" / "echo_load"
NATIVE = "native epoll"
MESSAGE = b"hello"


class EchoServer(Candidate):
    """Ready when an echo came, or with TLS a connection."""

    tls = False

    def greet(self, request: bytes) -> None:
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, timeout=START_SECONDS) as client:
            if self.tls:
                return
            client.sendall(request)
            if client.recv(len(request)) != request:
                raise Missing("its echo is another one")


def echo_server(python: str, loop: str, work: str, certificate: pathlib.Path) -> EchoServer:
    """`python`: the interpreter that has the loop."""
    if loop == NATIVE:
        return EchoServer(loop, [str(LIMIT), "{port}"], peer=False)
    name = loop.removesuffix(" untuned")
    words = [python, str(APPS / "echo_server.py"), name, work, "{port}", str(certificate)]
    server = EchoServer(loop, words, peer=name != "zolal")
    if name != loop:
        server.env = {"MALLOC_MMAP_THRESHOLD_": "131072"}
    server.tls = work == "tls"
    return server


@dataclass
class Figures:
    """Of one loop in one work, a figure a round; None: it gave none. `wrong`: why not."""

    values: list[float | None] = field(default_factory=list)
    wrong: str = ""


class EchoLoad:
    """bench/echo_load, its connections open (each has had an echo), not yet measuring."""

    def __init__(self, server: EchoServer, core: int | None, words: list[str]) -> None:
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        self.process = subprocess.Popen(
            [*pinned, str(LOAD), *words, *(["--tls"] if server.tls else []), str(server.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        ready = self.process.stdout.readline().split()
        if not ready:
            _, said = self.process.communicate()
            raise Missing(said.strip() or "the client did not begin")
        self.opened = int(ready[1])

    def run(self) -> int:
        """Messages, or connections, that came back whole. Missing when one did not."""
        out, said = self.process.communicate("\n")
        if not out:
            raise Missing(said.strip() or "the client ended without a result")
        found: dict[str, int] = json.loads(out)
        if found["wrong"] or found["lost"] or found["unanswered"] or not found["messages"]:
            raise Missing(f"wrong: {found}")
        return found["messages"]

    def end(self) -> None:
        if self.process.returncode is None:
            self.process.communicate()


def cpu_us(
    server: EchoServer, core: int | None, connections: int, seconds: float, churn: bool = False
) -> float:
    """CPU time of the server for each message or, with `churn`, for each connection."""
    words = [
        f"--connections={connections}",
        f"--seconds={seconds}",
        *(["--churn"] if churn else []),
    ]
    load = EchoLoad(server, core, words)
    before = server.cpu_seconds()
    messages = load.run()
    return (server.cpu_seconds() - before) * 1e6 / messages


def idle_bytes(server: EchoServer, core: int | None, count: int) -> float:
    """Memory of each of so many connections that had an echo and are open."""
    warm = EchoLoad(server, core, ["--connections=100"])
    try:
        before = server.pss_kib()
        load = EchoLoad(server, core, [f"--connections={count}"])
        try:
            if load.opened != count:
                raise Missing(f"only {load.opened:,} of {count:,} connections had an echo")
            return (server.pss_kib() - before) * 1024 / count
        finally:
            load.end()
    finally:
        warm.end()
