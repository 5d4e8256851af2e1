"""The servers that are compared, each started on a core of its own and ended by its process id."""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[2]
APPS = ROOT / "bench" / "apps"
BIN = pathlib.Path(sys.executable).parent
LIMIT = ROOT / "build" / "plain" / "bench" / "limit"
START_SECONDS = 20
ANSWER_SECONDS = 5
THREADS = 16


class Missing(Exception):
    """This candidate cannot be run here; the text says why."""


@dataclass
class Candidate:
    """A server. `command`: its words; {port}, {app} (module:attribute), {module}, {attribute},
    {threads} and {folder} (one of its own) in them are filled in. `peer`: not ours. `note`: why it
    is run so. `holds`: a kept connection holds a thread, so that it needs one for each."""

    name: str
    command: list[str]
    peer: bool = True
    note: str = ""
    holds: bool = False
    threads: int = THREADS
    unfit: str = ""  # why it has no part in this workload
    app: str = "plain:hello"
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    port: int = 0
    folder: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    def words(self) -> list[str]:
        module, _, attribute = self.app.partition(":")
        values = {
            "{port}": str(self.port),
            "{app}": self.app,
            "{module}": module,
            "{attribute}": attribute,
            "{threads}": str(self.threads),
            "{folder}": self.folder.name if self.folder else "",
        }
        words = self.command
        for name, value in values.items():
            words = [word.replace(name, value) for word in words]
        return words

    def start(self, core: int | None, request: bytes) -> float:
        """Start it and wait for its first answer. Returns the seconds from exec to that answer."""
        if self.unfit:
            raise Missing(self.unfit)
        if not pathlib.Path(self.command[0]).exists():
            raise Missing(f"{pathlib.Path(self.command[0]).name} is not installed")
        self.folder = tempfile.TemporaryDirectory(prefix="bench-")
        os.chmod(self.folder.name, 0o755)  # Apache gives up being root
        self.port = free_port()
        words = self.words() if core is None else ["taskset", "-c", str(core), *self.words()]
        begin = time.perf_counter()
        with open(self.log(), "wb") as log:
            self.process = subprocess.Popen(
                words,
                cwd=APPS,
                env={
                    **os.environ,
                    "PYTHONPATH": str(APPS),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    **self.env,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while time.perf_counter() - begin < START_SECONDS:
            # Refused while nobody listens, closed by a router whose worker is not there yet.
            with contextlib.suppress(ConnectionError):
                self.greet(request)
                return time.perf_counter() - begin
            if self.process.poll() is not None:
                raise Missing(
                    f"it ended with status {self.process.returncode}: {self.last_words()}"
                )
            time.sleep(0.0005)
        raise Missing(f"no answer within {START_SECONDS} s: {self.last_words()}")

    def greet(self, request: bytes) -> None:
        """Wait for an answer. ConnectionError while nobody gives one."""
        ask(self.port, request, START_SECONDS)

    def log(self) -> pathlib.Path:
        assert self.folder
        return pathlib.Path(self.folder.name) / "log"

    def last_words(self) -> str:
        lines = self.log().read_text(errors="replace").strip().splitlines()
        return lines[-1][:150] if lines else "it said nothing"

    def tree(self) -> list[int]:
        assert self.process
        return process_tree(self.process.pid)

    def cpu_seconds(self) -> float:
        """User and system time of its process tree so far, in which children that have ended are
        counted by the processes that waited for them."""
        return sum(process_seconds(pid) for pid in self.tree())

    def pss_kib(self) -> int:
        """Proportional memory of its process tree."""
        return pss_kib(self.tree())

    def stop(self) -> None:
        if self.process:
            tree = self.tree()
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            for pid in tree[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process = None
        if self.folder:
            self.folder.cleanup()
            self.folder = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, request: bytes, patience: float = ANSWER_SECONDS) -> tuple[int, bytes]:
    """One answer: its status and its body."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as client:
        client.sendall(request)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.read()


def process_tree(pid: int) -> list[int]:
    """The process and its descendants; [] when it is gone."""
    try:
        tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    children = []
    for task in tasks:
        with contextlib.suppress(OSError):  # a thread that has just ended
            children += [int(child) for child in (task / "children").read_text().split()]
    return [pid, *(found for child in children for found in process_tree(child))]


def pss_kib(pids: list[int]) -> int:
    rollups = [pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    lines = [line for rollup in rollups for line in rollup.splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def process_seconds(pid: int) -> float:
    try:
        # The clock of another process, as clock_getcpuclockid(3) makes it: nanoseconds, while the
        # times in /proc are in hundredths of a second.
        own = time.clock_gettime(~pid << 3 | 2)
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0
    return own + (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------------------------------- the rows

BJOERN = "import bjoern, {module}; bjoern.run({module}.{attribute}, '127.0.0.1', {port})"
FASTPYSGI = """
import fastpysgi, {module}
fastpysgi.server.tcp_nodelay = 1
fastpysgi.server.backlog = 2048
fastpysgi.run({module}.{attribute}, "127.0.0.1", {port}, 0)
"""
# pywsgi sends in two pieces with Nagle's algorithm on, which costs 40 ms: its listener is ours.
GEVENT = """
from gevent import monkey; monkey.patch_all()
from gevent import socket
from gevent.pywsgi import WSGIServer
import {module}
listener = socket.create_server(("127.0.0.1", {port}), backlog=2048)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
WSGIServer(listener, {module}.{attribute}, log=None).serve_forever()
"""


@functools.cache
def zolal_has_threads() -> bool:
    command = [str(BIN / "zolal"), "--help"]
    return "--threads" in subprocess.run(command, capture_output=True, text=True).stdout


def zolal(name: str) -> Candidate:
    """`name`: "zolal" and the options that differ from the usual ones."""
    options = shlex.split(name)[1:]
    note = ""
    if "--threads" not in options:
        if zolal_has_threads():
            options += ["--threads", "{threads}"]
        else:
            note = "without --threads, which this version does not have"
    command = [str(BIN / "zolal"), "{app}", "--bind", "127.0.0.1:{port}", *options]
    return Candidate(name, command, peer=False, note=note)


def limit(reply: pathlib.Path, request_len: int, close: bool) -> Candidate:
    """It answers requests of that length with the bytes in `reply`."""
    command = [str(LIMIT), "{port}", str(reply), str(request_len), *(["close"] if close else [])]
    return Candidate("limit", command, peer=False)


def peers(keep: bool = True) -> list[Candidate]:
    """Each in its best setting for one worker process, with 16 threads where it has threads,
    nothing logged. `keep`: connections are kept, as long as the bench takes."""
    python, bind = str(BIN / "python"), "127.0.0.1:{port}"
    threads = ["--threads", "{threads}"]
    gunicorn = [str(BIN / "gunicorn"), "--bind", bind, "--workers", "1", "--backlog", "2048"]
    gunicorn += ["--log-level", "error", "--worker-tmp-dir", "/dev/shm"]
    uwsgi = [str(BIN / "uwsgi"), "--module", "{app}", "--processes", "1", *threads]
    uwsgi += ["--disable-logging", "--listen", "2048", "--tcp-nodelay", "--buffer-size", "16384"]
    uwsgi += ["--die-on-term"]
    mod_wsgi = [str(BIN / "mod_wsgi-express"), "start-server", "--application-type", "module"]
    mod_wsgi += ["{module}", "--callable-object", "{attribute}", "--working-directory", str(APPS)]
    mod_wsgi += ["--python-path", str(APPS), "--server-root", "{folder}/httpd"]
    mod_wsgi += ["--host", "127.0.0.1", "--port", "{port}", "--processes", "1", *threads]
    # The event MPM closes kept connections without a word when its threads are busy.
    mod_wsgi += ["--keep-alive-timeout", "75", "--server-mpm", "worker"]
    if os.getuid() == 0:
        mod_wsgi += ["--user", "www-data", "--group", "www-data"]
    held = "a kept connection holds a thread: it has one for each"
    return [
        Candidate("bjoern", [python, "-c", BJOERN]),
        Candidate("FastPySGI", [python, "-c", FASTPYSGI]),
        Candidate(
            "Granian",
            [
                *[str(BIN / "granian"), "{app}", "--interface", "wsgi", "--http", "1", "--no-ws"],
                *["--host", "127.0.0.1", "--port", "{port}", "--workers", "1", "--no-log"],
                *["--blocking-threads", "{threads}", "--backlog", "2048"],
                *["--backpressure", "20000", "--http1-pipeline-flush"],
            ],
        ),
        Candidate(
            "uWSGI",
            [*uwsgi, "--http11-socket" if keep else "--http-socket", bind],
            note=held,
            holds=keep,
        ),
        Candidate(
            "uWSGI --http",
            [
                *[*uwsgi, "--socket", "{folder}/socket", "--http-to", "{folder}/socket"],
                *["--http-buffer-size", "65536"],
                *["--http", bind, *(["--http-keepalive=75"] if keep else [])],
            ],
            note="with its HTTP router, a process of its own",
        ),
        Candidate("gunicorn sync", [*gunicorn, "--worker-class", "sync", "{app}"]),
        Candidate(
            "gunicorn gthread",
            [
                *[*gunicorn, "--worker-class", "gthread", *threads],
                *["--keep-alive", "75", "--worker-connections", "20000", "{app}"],
            ],
        ),
        Candidate(
            "mod_wsgi",
            [*mod_wsgi, "--embedded-mode", "--max-clients", "{threads}"],
            note=held,
            holds=True,
        ),
        Candidate(
            "mod_wsgi daemon",
            [*mod_wsgi, "--max-clients", "200"],
            note="the application in a process of its own",
        ),
        Candidate(
            "waitress",
            [
                *[str(BIN / "waitress-serve"), f"--listen={bind}", "--threads={threads}"],
                *["--backlog=2048", "--connection-limit=20000", "--asyncore-use-poll"],
                "{app}",
            ],
        ),
        Candidate(
            "cheroot",
            [
                *[str(BIN / "cheroot"), "{app}", "--bind", bind, *threads],
                *["--max-threads", "{threads}", "--timeout", "75", "--request-queue-size", "2048"],
            ],
        ),
        Candidate("gevent", [python, "-c", GEVENT], note="pywsgi"),
    ]


def everyone(keep: bool = True) -> list[Candidate]:
    """All but the limit program, which must be told what to answer."""
    rows = [zolal("zolal")]
    if zolal_has_threads():
        rows.append(zolal("zolal --threads 1"))
    return [*rows, *peers(keep)]
