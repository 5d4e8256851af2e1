"""Servers for the tests: each a process of its own, on an address of its own, ended by its id."""

import os
import resource
import shutil
import ssl
import subprocess
import sys

import pytest
from running import APPS, PATIENCE, THREADS, UNDER_ASAN, Server

if UNDER_ASAN:
    # What is preloaded for ASan must come first: no server may start anew with another before it.
    os.environ.setdefault("ZOLAL_XRAY_FOLDER", "")


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
def own_limit():
    """As many descriptors as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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


@pytest.fixture
def tls_contexts(tmp_path):
    """TLS of a server and of a client that trusts it."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the certificate, is not installed")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += " -keyout key.pem -out cert.pem -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return server, ssl.create_default_context(cafile=tmp_path / "cert.pem")
