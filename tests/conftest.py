"""Servers for the tests: each a process of its own, on an address of its own, ended by its id."""

import os
import signal
import subprocess
import sys

import pytest
from running import APPS, PATIENCE, SERVES, THREADS, parse


class Server:
    """A zolal process. `addresses`: of each listener, (host, port) or the path of a UNIX socket;
    `address`: the first. `stdout()`, `stderr()`: what it has said so far."""

    def __init__(self, folder, command, env):
        self._out, self._err = folder / "stdout", folder / "stderr"
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            # In a folder without a zolal/, so that what is installed is what is tested.
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=err)

    @property
    def pid(self):
        return self.process.pid

    def stdout(self):
        return self._out.read_text(errors="replace")

    def stderr(self):
        return self._err.read_text(errors="replace")

    def wait_until(self, condition, what):
        """Poll until condition() is true; it may not come to be only for so long."""
        for _ in range(int(PATIENCE * 100)):
            found = condition()
            if found:
                return found
            try:
                self.process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            if found := condition():
                return found
            break
        raise AssertionError(f"{what}: status {self.process.poll()}, stderr:\n{self.stderr()}")

    def wait_for_start(self):
        found = self.wait_until(lambda: SERVES.search(self.stderr()), "the server did not start")
        self.addresses = [parse(one) for one in found.group(1).split(" and ")]
        self.address = self.addresses[0]
        return self

    def stop(self, expect=0):
        """SIGTERM, and the status that must follow; None: any. Later calls do nothing."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end it; stderr:\n{self.stderr()}") from None
        assert expect is None or status == expect, f"status {status}, stderr:\n{self.stderr()}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def launch_command(tmp_path_factory):
    """launch_command(command, env={}): start a process finding tests/apps. The caller ends it."""

    def launch_command(command, env=None):
        folder = tmp_path_factory.mktemp("server")
        path = os.pathsep.join(filter(None, [str(APPS), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, **(env or {})}
        return Server(folder, command, environment)

    return launch_command


def pytest_addoption(parser):
    parser.addoption(
        "--minutes", type=float, default=10, help="how long the soak takes (./dev soak)"
    )


@pytest.fixture(scope="session")
def launch(launch_command):
    """launch(*arguments, env={}): start zolal with these arguments. The caller ends it."""

    def launch(*arguments, env=None):
        return launch_command([sys.executable, "-m", "zolal", *arguments], env)

    return launch


@pytest.fixture
def outcome_of(launch_command):
    """outcome_of(script): what a Python program that ends itself, and well, has said on standard
    output and on standard error."""

    def outcome_of(script):
        process = launch_command([sys.executable, "-c", script])
        try:
            assert process.process.wait(PATIENCE) == 0, process.stderr()
            return process.stdout(), process.stderr()
        finally:
            process.kill()

    return outcome_of


def serving(launch):
    """serve(target, *arguments, bind="127.0.0.1:0", env={}): a running server of an application in
    tests/apps. What the test has not stopped must end well at its end."""
    servers = []

    def serve(target, *arguments, bind="127.0.0.1:0", env=None):
        binds = [bind] if isinstance(bind, str) else bind
        options = [option for one in binds for option in ("--bind", one)]
        if THREADS and not any("--threads" in argument for argument in arguments):
            options += ["--threads", THREADS]
        server = launch(target, *options, *arguments, env=env)
        servers.append(server)
        return server.wait_for_start()

    try:
        yield serve
        for server in servers:
            server.stop()
    finally:
        for server in servers:
            server.kill()


@pytest.fixture
def serve(launch):
    yield from serving(launch)


@pytest.fixture(scope="module")
def serve_module(launch):
    yield from serving(launch)
