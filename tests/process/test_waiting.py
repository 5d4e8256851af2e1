"""Who waits, and who keeps others waiting: patience is for clients, and everybody has a turn."""

import contextlib
import json
import os
import re
import signal
import sys
import time

import pytest
from gate import Gate
from http_client import PATIENCE, Client, request

EXPECT = "Expect: 100-continue"


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("waiting_app:application")


def expecting(target, length):
    """A request whose body comes later."""
    return request(target, EXPECT, f"Content-Length: {length}", method="POST")


def assert_it_serves(server):
    with Client(server.address) as client:
        assert client.get("/size?2").body == b"ss"


def log(server):
    with Client(server.address) as client:
        return json.loads(client.get("/log").body)


# ---- a turn for everybody


@pytest.mark.parametrize("kind", ["rows", "slow", "empty"])
def test_others_are_answered_while_an_iterable_goes_on(server, kind):
    with Client(server.address) as client:
        client.send(request(f"/until-released?{kind}", version="1.0"))
        response = client.head()
        client.piece(response)
        with Client(server.address) as other:
            assert other.get("/release").body == b"thanks"
        while client.piece(response):
            response.pieces[:] = [response.body[-20:]]
        assert response.body.endswith(b"released")


def test_an_endless_iterable_of_nothing_does_not_hold_up_the_end(serve):
    server = serve("waiting_app:application", "--graceful-timeout=0.2")
    with Client(server.address) as client:
        client.send(request("/endless-and-empty"))
        client.piece(client.head())
        assert_it_serves(server)
        server.stop()


def test_head_of_an_endless_iterable(serve):
    server = serve("waiting_app:application")
    with Client(server.address) as client:
        assert client.get("/endless", method="HEAD").status == 200
        assert log(server) == ["endless closed"]
        assert client.get("/size?2").body == b"ss"


def test_a_list_of_many_small_items(server):
    """More than may wait in memory for a client."""
    count = 70_000
    with Client(server.address) as client:
        response = client.get(f"/small-items?{count}", version="1.0")
        assert response.body == b"x" * 1024 * count


# ---- patience for clients only


def test_a_client_that_falls_silent_where_100_continue_waits_to_be_sent(serve):
    """It has taken what blocked the 100, and must send now."""
    server = serve("waiting_app:application", "--body-timeout=0.3", "--send-timeout=60")
    with Client(server.address, receive_buffer=4096) as client:
        client.send(expecting("/hints-then-read?400", 100))
        time.sleep(0.2)  # the kernel's buffers fill
        while client.interim().status != 100:
            pass
        assert_it_serves(server)
        assert client.response("POST").status == 408


def test_a_pipeline_that_falls_silent_where_100_continue_waits_to_be_sent(serve):
    server = serve("waiting_app:application", "--body-timeout=0.2", "--send-timeout=60")
    for count in range(20, 80, 4):
        with Client(server.address, receive_buffer=4096) as client:
            client.send(request("/size?60000") * count + expecting("/read", 100))
            time.sleep(0.05)
            for _ in range(count):
                assert len(client.response().body) == 60_000
            assert client.interim().status == 100
            assert_it_serves(server)
            assert client.response("POST").status == 408


def test_a_slow_call_does_not_use_up_the_patience_to_send(serve):
    server = serve("waiting_app:application", "--send-timeout=1")
    with Client(server.address, receive_buffer=10_000) as client:
        client.get("/size?2")
        client.send(request("/sleep-then-size?1.5,20000000"))
        for _ in range(2):
            assert_it_serves(server)
        assert len(client.response().body) == 20_000_000


def test_a_slow_call_does_not_use_up_the_patience_of_an_idle_connection(serve):
    server = serve("waiting_app:application", "--keep-alive=1")
    with Client(server.address) as client:
        assert client.get("/sleep?1.5").body == b"slept"
        assert_it_serves(server)
        assert client.get("/size?2").body == b"ss"


def test_requests_that_came_while_the_application_was_slow_are_answered(serve):
    """However long ago their connections' patience would have been over."""
    server = serve("waiting_app:application", "--keep-alive=1")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.address)) for _ in range(200)]
        for client in clients:
            assert client.get("/size?2").body == b"ss"
        gate, slow = stack.enter_context(Gate()), stack.enter_context(Client(server.address))
        slow.send(request(f"/gated?{gate.path}"))
        gate.arrival()
        for client in clients:
            client.send(request("/size?3"))
        time.sleep(1.5)
        gate.open()
        for client in clients:
            assert client.response().body == b"sss"
        assert slow.response().body == b"through"


def test_a_slow_call_does_not_count_for_the_rate_of_a_body(serve):
    server = serve("waiting_app:application", "--body-timeout=1", "--body-rate=1000000")
    with Client(server.address) as client:
        client.send(expecting("/sleep-then-read?1.5", 400))
        assert client.interim().status == 100
        client.send(b"x" * 200)
        time.sleep(0.1)
        client.send(b"x" * 200)
        assert client.response("POST").body == b"400"


def test_another_request_does_not_count_for_the_rate_of_a_body(serve):
    """Both wait for a body, and nobody has asked the second client for its."""
    server = serve("waiting_app:application", "--body-timeout=1", "--body-rate=500", "--threads=1")
    with Client(server.address) as first, Client(server.address) as second:
        first.send(expecting("/read", 2500))
        assert first.interim().status == 100
        second.send(expecting("/read", 400))
        for _ in range(5):
            first.send(b"x" * 500)
            time.sleep(0.3)
        assert first.response("POST").body == b"2500"
        assert second.interim().status == 100
        second.send(b"x" * 200)
        time.sleep(0.1)
        second.send(b"x" * 200)
        assert second.response("POST").body == b"400"


def test_a_client_that_sends_nothing_does_not_hold_up_the_end(serve):
    server = serve("waiting_app:application", "--graceful-timeout=1", "--body-timeout=0")
    with Client(server.address) as client:
        client.send(expecting("/read", 100))
        assert client.interim().status == 100
        server.stop()
    assert server.process.returncode == 0


@pytest.mark.parametrize("rest", [b"\n", b"gh\nanother\n"])
def test_a_line_that_another_thread_has_taken_some_of(serve, rest):
    server = serve("waiting_app:application", "--threads=2")
    with Client(server.address) as client, Gate() as gate:
        client.send(expecting(f"/shared?{gate.path}", 100))
        assert client.interim().status == 100
        client.send(b"a line\nabcdef")
        gate.arrival()
        for _ in range(3):
            assert_it_serves(server)  # meanwhile what there is of the second line has been read
        gate.open()
        gate.pass_through()
        client.send(rest)
        assert client.response("POST").body == b"abcd ef" + rest.partition(b"\n")[0] + b"\n"


EMBEDDED = """
import os, sys
from waiting_app import application
from zolal import _zolal

server = _zolal.Server()
address = server.listen("127.0.0.1:0")
print(f"serves it on http://{address} (pid {os.getpid()})", file=sys.stderr, flush=True)
try:
    server.run(application)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("target", ["/read", "/gated"])
def test_ctrl_c_in_a_call_ends_a_server_that_is_embedded(launch_command, target):
    """Whose signals are Python's."""
    server = launch_command([sys.executable, "-c", EMBEDDED])
    try:
        server.wait_for_start()
        with Client(server.address) as client, Gate() as gate:
            client.send(expecting(f"{target}?{gate.path}", 100))
            if target == "/gated":
                gate.arrival()
            else:
                assert client.interim().status == 100
            server.process.send_signal(signal.SIGINT)
            assert client.response("POST").status == 500
        assert server.process.wait(PATIENCE) == 0
        assert server.stdout() == "interrupted\n"
    finally:
        server.kill()


# ---- what the log says of clients that left


def test_a_client_that_left_has_its_line_in_the_access_log(serve, tmp_path):
    path = tmp_path / "log"
    server = serve("waiting_app:application", "--access-logfile", str(path))
    with Client(server.address) as client:
        client.send(expecting("/read?nested", 100))
        assert client.interim().status == 100
        client.reset()
    with Client(server.address) as client, Gate() as gate:
        client.send(request(f"/gated?{gate.path}"))
        gate.arrival()
        client.reset()
        gate.open()
        assert_it_serves(server)
    server.stop()
    lines = [line.partition('] "')[2] for line in path.read_text().splitlines()]
    assert len(lines) == 3, lines
    assert [line for line in lines if line.startswith('POST /read?nested HTTP/1.1" 499 0 ')]
    assert [line for line in lines if line.startswith("GET /gated?")]


def test_a_line_with_large_fields_is_not_lost(serve, tmp_path):
    path = tmp_path / "log"
    limits = ["request-line", "request-field-size", "request-head"]
    server = serve(
        "waiting_app:application",
        "--access-logfile",
        str(path),
        *[f"--limit-{name}=300000" for name in limits],
    )
    large = "\xff" * 60_000
    with Client(server.address) as client:
        assert client.get("/size?2", f"User-Agent: {large}", f"Referer: {large}").status == 200
        assert client.get("/log?" + "a" * 70_000).status == 200
        assert client.get("/size?3").status == 200
    server.stop()
    first, second, third = path.read_text().splitlines()
    assert '"GET /size?2 HTTP/1.1" 200 2 "\\xff' in first
    assert '"GET /log?aaa' in second
    assert '"GET /size?3 HTTP/1.1" 200 3 "-" "-"' in third


def test_a_client_that_resets_where_the_application_reads_is_no_error(serve):
    server = serve("waiting_app:application")
    with Client(server.address) as client:
        client.send(expecting("/read", 100))
        assert client.interim().status == 100
        client.send(b"x" * 50)
        client.reset()
    assert_it_serves(server)
    assert "Traceback" not in server.stderr()


def test_half_a_body_is_the_clients_error(serve):
    """When the application passes on what it was told by."""
    server = serve("waiting_app:application")
    with Client(server.address) as client:
        client.send(expecting("/read", 100))
        assert client.interim().status == 100
        client.send(b"x" * 50)
        client.send_end()
        assert client.response("POST").status == 400
        client.expect_end()
    assert_it_serves(server)
    assert "Traceback" not in server.stderr()


# ---- children


def test_a_child_that_returns_serves_nothing(serve):
    """What waited when it was made is its parent's to answer."""
    # The child of a process with threads ends without what these held: no leak of ours.
    options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    server = serve("waiting_app:application", env={"ASAN_OPTIONS": options})
    with contextlib.ExitStack() as stack:
        reading, forking, *others = [stack.enter_context(Client(server.address)) for _ in range(5)]
        reading.send(expecting("/read", 3))
        assert reading.interim().status == 100
        # All these wait for that call to end.
        forking.send(request("/fork-and-return") + request("/process") * 3)
        for other in others:
            other.send(request("/process"))
        reading.send(b"abc")
        assert reading.response("POST").body == b"3"
        assert forking.response().body == b"ended"
        for client in [forking] * 3 + others:
            assert client.response().body == b"%d" % server.pid
    ran = re.findall(r"/process ran in (\d+)", server.stderr())
    assert ran == [str(server.pid)] * 6
    assert_it_serves(server)
