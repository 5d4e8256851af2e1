"""Calls at unusual times: from another request, another thread, a signal handler, a finalizer."""

import json
import time

import pytest
from gate import Gate
from http_client import PATIENCE, Client, request

EXPECT = "Expect: 100-continue"


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("waiting_app:application", "--threads=1")


def expecting(target, length):
    """A request whose body comes later."""
    return request(target, EXPECT, f"Content-Length: {length}", method="POST")


def log(server):
    with Client(server.address) as client:
        return json.loads(client.get("/log").body)


def wait_for_note(server, text):
    deadline = time.monotonic() + PATIENCE
    while not (found := [note for note in log(server) if note.startswith(text)]):
        assert time.monotonic() < deadline, f"there is no {text!r}"
    return found


# ---- another request


def test_write_of_an_answer_that_waits(server):
    with Client(server.address, receive_buffer=4096) as waiting, Client(server.address) as client:
        waiting.send(request("/keep-write"))
        response = waiting.head()
        assert client.get("/use-kept-write").body == b"AssertionError"
        for _ in range(100):
            assert b"not yours" not in waiting.piece(response)
        waiting.reset()
        assert client.get("/use-kept-write").body == b"AssertionError"
        assert client.get("/size?2").body == b"ss"


def test_the_body_of_an_answer_that_waits(server):
    with Client(server.address, receive_buffer=4096) as waiting, Client(server.address) as client:
        waiting.send(expecting("/keep-input", 3))
        response = waiting.head("POST")
        assert client.get("/use-kept-input").body == b"OSError EBUSY"
        assert waiting.piece(response)
        assert client.get("/size?2").body == b"ss"


def test_hints_of_an_answer_that_is_over_reach_nobody_else(server):
    with Client(server.address, receive_buffer=4096) as leaving, Client(server.address) as client:
        leaving.send(request("/late-hints"))
        leaving.head()
        client.send(expecting("/read", 3))
        assert client.interim().status == 100
        # While the server waits for the one's body, it closes the other's answer.
        leaving.reset()
        time.sleep(0.2)
        client.send(b"abc")
        response = client.response("POST")
        assert (response.body, response.interim) == (b"3", [])
    (note,) = wait_for_note(server, "hint ")
    assert note != "hint accepted"


# ---- another thread


def test_another_thread_reads_a_body_that_is_here(server):
    with Client(server.address) as client:
        for size in (3, 100_000):
            client.send(request("/thread-reads", method="POST", body=b"x" * size))
            assert json.loads(client.response("POST").body) == [size, ""]


def test_another_thread_cannot_wait_for_a_body(server):
    with Client(server.address) as client:
        client.send(expecting("/thread-reads", 3))
        assert json.loads(client.response("POST").body) == ["OSError EBUSY"]


def test_another_thread_reads_while_the_body_is_waited_for(server):
    with Client(server.address) as client, Gate() as gate:
        client.send(expecting(f"/thread-reads-beside?{gate.path}", 100_000))
        assert client.interim().status == 100
        gate.pass_through()
        gate.arrival()
        client.send(b"x" * 100_000)
        gate.open()
        assert json.loads(client.response("POST").body) == ["OSError EBUSY", 100_000]
        assert client.get("/size?2").body == b"ss"


# ---- a signal handler


def test_what_a_signal_handler_raises_is_raised_by_read(server):
    with Client(server.address) as client:
        client.send(expecting("/alarm-while-reading?0.5", 100))
        assert client.interim().status == 100
        assert client.response("POST").body == b"Alarm"
    with Client(server.address) as client:
        assert client.get("/size?2").body == b"ss"


# ---- finalizers and half-made objects


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/head-with-finalizers", b"as it was"),
        ("/head-with-finalizers-refused", b"as it was"),
        ("/unmade-file-wrapper", b""),
        ("/bytes-without-length", None),
    ],
)
def test_strange_objects(serve, target, body):
    server = serve("strange_app:application")
    with Client(server.address) as client:
        client.send(request(target))
        response = client.response()
        if body is None:
            assert response.status == 500
        else:
            assert (response.status, response.body) == (200, body)
    with Client(server.address) as client:
        assert client.get("/plain").body == b"plain"
