"""A PostgreSQL and a Redis of the test's own: a folder in /tmp, a free port of loopback, ended by
their process ids."""

import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
from running import PATIENCE


def program(name, package):
    """Where it is; the test is skipped when it is not."""
    found = shutil.which(name) or next(iter(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")), None)
    if not found:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return found


def environment():
    """Without a sanitizer's library, which is there for zolal."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def folder(user):
    """In a place that another user may enter, unlike pytest's."""
    path = tempfile.mkdtemp(prefix="zolal-test-")
    try:
        if user:
            os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        yield pathlib.Path(path)
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def running(command, log, ready, **options):
    """Once its log says that it is ready."""
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment(), **options)
    try:
        for _ in range(int(PATIENCE * 50)):
            if ready in log.read_text(errors="replace"):
                break
            assert process.poll() is None, log.read_text(errors="replace")
            time.sleep(0.02)
        else:
            raise AssertionError(f"it does not start: {log.read_text(errors='replace')}")
        yield
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL: the fast end
        process.wait(PATIENCE)


@contextlib.contextmanager
def postgresql():
    """Its address. It refuses to run as root: then it runs as its own user, or as nobody."""
    postgres, initdb = program("postgres", "postgresql"), program("initdb", "postgresql")
    user = None
    if os.getuid() == 0:
        known = {one.pw_name for one in pwd.getpwall()}
        user = "postgres" if "postgres" in known else "nobody"
    options = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    with folder(user) as path:
        options["cwd"] = path
        words = [initdb, "--pgdata", path / "data", "--username", "zolal", "--auth", "trust"]
        made = subprocess.run(
            [*words, "--no-sync"], capture_output=True, text=True, env=environment(), **options
        )
        assert made.returncode == 0, made.stderr
        port = free_port()
        words = [postgres, "-D", path / "data", "-p", str(port), "-k", path]
        words += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with running(words, path / "log", "ready to accept connections", **options):
            yield f"postgresql://zolal@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def redis():
    server = program("redis-server", "redis-server")
    with folder(None) as path:
        port = free_port()
        words = [server, "--bind", "127.0.0.1", "--port", str(port), "--dir", path, "--save", ""]
        with running(words, path / "log", "Ready to accept connections"):
            yield f"redis://127.0.0.1:{port}/0"
