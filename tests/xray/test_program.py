"""What an application calls by itself stands in its request's tree; zolal run."""

import socket
import subprocess
import sys
import threading

import pytest
from http_client import Client
from running import PATIENCE, UNDER_ASAN

ASKING = """
import os, socket

ADDRESS = ("127.0.0.1", int(os.environ["ASK"]))

def ask():
    with socket.create_connection(ADDRESS) as connection:
        connection.sendall(b"hello")
        return connection.recv(100)

def application(environ, start_response):
    body = ask()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def answering():
    """The port of a server that answers each connection with "hi"."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(100)
                    connection.sendall(b"hi")

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.skipif(UNDER_ASAN, reason="what is preloaded for ASan stands between the calls")
def test_the_applications_own_calls_stand_in_its_requests_tree(serve, tmp_path, answering):
    (tmp_path / "asking.py").write_text(ASKING)
    environment = {"PYTHONPATH": str(tmp_path), "ASK": str(answering)}
    server = serve("asking:application", "--xray", env=environment)
    with Client(server.address) as client:
        assert client.get("/it").body == b"hi"
        server.wait_until(lambda: "GET /it" in server.stdout(), "no tree")
    server.stop()
    tree = server.stdout().split("GET /it", 1)[1].split("\n\n")[0]
    inside = tree.split("calls the application")[1].split("start_response")[0]
    for call in ("socket(AF_INET", f", 127.0.0.1:{answering}) = 0", ", 100) = 2", "close("):
        assert inside.count(call) == 1, tree
    assert "ask, asking.py:7" in inside.replace(str(tmp_path) + "/", "")
    assert tree.count("accept4(") >= 1
    assert tree.count("sendto(") == 2, "the server's own calls are recorded once"


def run_program(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "zolal", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        cwd=folder,
    )


LOOP = """
import asyncio, sys

async def main():
    print(type(asyncio.get_running_loop()).__module__, sys.argv)
    await asyncio.sleep(0)

asyncio.run(main())
sys.exit(3)
"""


def test_run_puts_asyncio_on_zolal(tmp_path):
    (tmp_path / "program.py").write_text(LOOP)
    done = run_program("program.py", "--xray", "-m", folder=tmp_path)
    assert done.stdout == "zolal.event_loop ['program.py', '--xray', '-m']\n", done.stderr
    assert done.returncode == 3
    done = run_program("-m", "program", "more", folder=tmp_path)
    assert "more" in done.stdout, done.stderr


@pytest.mark.skipif(UNDER_ASAN, reason="what is preloaded for ASan stands between the calls")
def test_run_with_xray_shows_the_standard_librarys_calls(tmp_path):
    (tmp_path / "program.py").write_text(
        "import socket\ndef make():\n    return socket.socket()\nmake().close()\n"
    )
    done = run_program("--xray", "program.py", folder=tmp_path)
    assert "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0) = " in done.stdout
    assert "__init__ < make, program.py:3" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("none.py",), ("--speed", "x.py")])
def test_run_says_what_is_wrong(tmp_path, arguments):
    done = run_program(*arguments, folder=tmp_path)
    assert done.returncode in (2, 3)
    assert done.stderr.startswith("zolal: ")
