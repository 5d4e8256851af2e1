"""Instructions of a server in user space, as valgrind's callgrind counts them: nearly the same in
every run, so that what is too small for a clock can be seen."""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator

from measuring.candidates import BIN, Candidate, Missing
from measuring.running import check
from measuring.workloads import Workload

WARM = 100  # batches
COUNTED = 1000  # requests
PATIENCE_S = 20


def receive(client: socket.socket, size: int, end: bytes) -> bytes:
    """So many bytes, or where `size` is 0 as many as there are until `end`."""
    reply = bytearray()
    while len(reply) < size if size else not reply.endswith(end):
        piece = client.recv(1 << 18)
        if not piece:
            raise Missing(f"the server closed, after {bytes(reply[:100])!r}")
        reply += piece
    return bytes(reply)


def connections(port: int, close: bool) -> Iterator[socket.socket]:
    """The connection for each batch of requests: one for all of them, or a new one each time."""
    while True:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
            yield client
            while not close:
                yield client


def reply_size(port: int, workload: Workload) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        client.sendall(workload.asks[0].request)
        return len(receive(client, 0, b"\r\n\r\n" + workload.asks[0].body))


def ask_often(port: int, workload: Workload, size: int, batches: int) -> None:
    """One batch after the other, so that every run is the same."""
    with contextlib.closing(connections(port, workload.close)) as clients:
        for _, client in zip(range(batches), clients, strict=False):
            client.sendall(workload.asks[0].request * workload.pipeline)
            receive(client, size * workload.pipeline, b"")


def control(candidate: Candidate, *words: str) -> None:
    assert candidate.process
    command = ["vgdb", f"--pid={candidate.process.pid}", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)


def count(candidate: Candidate, workload: Workload) -> float:
    valgrind = shutil.which("valgrind")
    assert valgrind and candidate.env
    options = ["--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file={folder}/count"]
    candidate.command = [valgrind, *options, str(BIN / "python"), *candidate.command]
    candidate.env["PYTHONHASHSEED"] = "0"
    candidate.threads = 1
    try:
        candidate.start(None, workload.asks[0].request)
        wrong = check(candidate, workload)
        if wrong:
            raise Missing(wrong)
        size, batches = reply_size(candidate.port, workload), COUNTED // workload.pipeline
        ask_often(candidate.port, workload, size, WARM)
        control(candidate, "instrumentation", "on")
        ask_often(candidate.port, workload, size, batches)
        control(candidate, "instrumentation", "off")
        control(candidate, "dump")
        assert candidate.folder
        with open(f"{candidate.folder.name}/count.1") as dump:
            found = re.search(r"^totals: (\d+)", dump.read(), re.M)
        assert found
        return int(found[1]) / (batches * workload.pipeline)
    finally:
        candidate.stop()


def count_all(
    candidates: list[Candidate], workload: Workload, move: Callable[[str], None]
) -> dict[str, float | str]:
    """The figure of each, or why there is none."""
    found: dict[str, float | str] = {}
    for candidate in candidates:
        try:
            found[candidate.name] = count(candidate, workload)
        except (Missing, OSError, subprocess.SubprocessError, http.client.HTTPException) as reason:
            found[candidate.name] = str(reason)
        move(candidate.name)
    return found
