"""zolal --xray over a real server: every kind of Python call with its file and line."""

import pathlib
import time

import pytest
from http_client import Client, request

APP = "xray_app.py"
STEP = "asks for the next piece"


@pytest.fixture
def visited(serve):
    """What --xray has printed after a visit to each page."""

    def visited(*visits):
        server = serve("xray_app:application", "--xray")
        for visit in visits:
            with Client(server.address) as client:
                visit(client)
        server.stop()
        return server.stdout()

    return visited


def line_of(text):
    """The number of the application's first line with this text."""
    source = (pathlib.Path(__file__).parents[1] / "apps" / APP).read_text().splitlines()
    return next(number for number, line in enumerate(source, 1) if text in line)


def test_each_python_call_has_its_file_and_line(visited):
    def read(client):
        client.send(request("/read", method="POST", body=b"abc"))
        assert client.response("POST").body == b"abc"

    text = visited(lambda client: client.get("/stream"), lambda client: client.get("/write"), read)
    for verb, name, line in (
        ("calls the application", "application", "def application"),
        (STEP, "__iter__", 'yield b"first "'),
        (STEP, "__iter__", 'yield b"second"'),
        ("calls close()", "close", "def close"),
        ("the application reads", "application", ".read()"),
        ("the application writes", "application", 'write(b"written ")'),
        (
            "the application calls start_response",
            "application",
            'write = start_response("200 OK", [])',
        ),
    ):
        shown = [one for one in text.splitlines() if verb in one and name in one]
        # A generator stands at the line of its last yield when it is asked for the next piece.
        lines = {line_of(line), line_of(line) - 1} if verb == STEP else {line_of(line)}
        places = {f"{APP}:{number}" for number in lines}
        assert any(place in one for one in shown for place in places), f"{verb} {places}: {shown}"


def test_a_tree_is_printed_as_soon_as_its_request_is_over(serve):
    server = serve("xray_app:application", "--xray")
    with Client(server.address) as client:
        client.get("/now")
        server.wait_until(lambda: "GET /now" in server.stdout(), "no tree")


def test_the_printer_ends_with_a_server_that_is_killed(serve):
    server = serve("xray_app:application", "--xray")
    (printer,) = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    server.kill()

    def gone():
        try:
            stat = pathlib.Path(f"/proc/{printer}/stat").read_text()
        except FileNotFoundError:
            return True
        return stat.rpartition(") ")[2].startswith("Z")

    server.process.returncode = None  # poll on, although the server is gone
    for _ in range(2000):
        if gone():
            break
        time.sleep(0.01)
    assert gone()
    pathlib.Path(f"/dev/shm/zolal-{server.pid}.trace").unlink(missing_ok=True)
    server.process.returncode = -9
